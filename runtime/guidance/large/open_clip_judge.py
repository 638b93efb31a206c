"""A CLIP in open_clip's own layout (open_clip_config.json, open_clip_model.safetensors) as a judge, by the open_clip package."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.large.clip_judge import DEVIATION, MEAN
from interactive3d.runtime.guidance.large.loading import PICKLES, first_line, resolve
from interactive3d.runtime.guidance.large.problems import LargeModelProblem, hub_problem, need

WHAT_FOR = "judge open_clip"
INSTALL = "pip install 'interactive3d[open-clip]' (it brings torchvision, which must fit the installed torch)"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
# Configuration, weights, and the files of a tokenizer; never the pickles that lie beside them.
WANTED = (CONFIG, WEIGHTS, "*.json", "*.txt", "*.model")


class OpenClipJudge:
    """Likeness of pictures and texts by a model of open_clip: CLIP, CoCa, SigLIP. Make one with ``load``."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        said = getattr(model.visual, "preprocess_cfg", None) or {}
        size = said.get("size") or model.visual.image_size
        self.size = (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.mean, self.deviation = tuple(said.get("mean") or MEAN), tuple(said.get("std") or DEVIATION)
        self.smooth = "bilinear" if said.get("interpolation") == "bilinear" else "bicubic"
        self._texts: tuple[tuple[str, ...], Tensor] | None = None

    @classmethod
    def load(cls, asked: str, folder: Path = Path(), device: torch.device | str = "cpu") -> "OpenClipJudge":
        """The model of a hub id or a folder; its safetensors only.

        Raises:
            LargeModelProblem: not installed, missing, gated, offline, in another layout, or weights that are no safetensors.
        """
        package = need("open_clip", WHAT_FOR, INSTALL)
        source = resolve(asked, folder, WHAT_FOR, marker=CONFIG)
        place = source if isinstance(source, Path) else _fetched(asked)
        if not (place / WEIGHTS).is_file():
            pickles = [p.name for pattern in PICKLES for p in place.glob(pattern)]
            why = f"only a pickle ({pickles[0]}), which may run any code when it is loaded" if pickles else "no weights"
            raise LargeModelProblem(
                f"{WHAT_FOR}: {asked!r} has {why}; name a model whose folder or page lists {WEIGHTS}"
            )
        try:
            # The package would look for weights of any kind by itself, and for those of single towers on the hub.
            model = package.create_model(f"local-dir:{place}", load_weights=False, pretrained_text=False)
            package.load_checkpoint(model, str(place / WEIGHTS), weights_only=True)
            tokenizer = package.get_tokenizer(f"local-dir:{place}")
        except Exception as error:
            raise hub_problem(error, asked, WHAT_FOR) or LargeModelProblem(
                f"{WHAT_FOR}: {asked!r} cannot be loaded from {place}: {first_line(error)}; "
                f"name the id or the folder of a model of open_clip, whole"
            ) from error
        return cls(model.eval().to(device), tokenizer, f"open_clip:{asked}")

    @torch.no_grad()
    def score(self, images: Float[Tensor, "b 3 h w"], prompts: list[str]) -> Float[Tensor, "b p"]:
        """The model's logits: scaled cosine of picture and text. Pictures are 0 .. 1, square, of any size."""
        device = self.model.logit_scale.device
        small = F.interpolate(images.float(), self.size, mode=self.smooth, antialias=True, align_corners=False)
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.deviation))
        pictures = self.model.encode_image(((small.clamp(0, 1) - mean) / deviation).to(device), normalize=True)
        if self._texts is None or self._texts[0] != tuple(prompts):
            tokens = self.tokenizer(prompts).to(device)
            self._texts = tuple(prompts), self.model.encode_text(tokens, normalize=True)
        logits = self.model.logit_scale.exp() * pictures @ self._texts[1].T
        bias = getattr(self.model, "logit_bias", None)
        return (logits if bias is None else logits + bias).float().cpu()


def _fetched(asked: str) -> Path:
    """The model's snapshot in the cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(asked, allow_patterns=list(WANTED)))
    except Exception as error:
        problem = hub_problem(error, asked, WHAT_FOR)
        if problem is None:
            raise
        raise problem from error
