"""A CLIP model of transformers as the judge of pictures against texts (paper table 1: CLIP R-Precision)."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from interactive3d.runtime.guidance.large.loading import first_line, quiet_libraries, resolve
from interactive3d.runtime.guidance.large.problems import LargeModelProblem, hub_problem
from interactive3d.runtime.guidance.large.reading import Reader, Unread, unread
from interactive3d.runtime.guidance.names import NETWORK

WHAT_FOR = "judge clip"
OPEN_CLIP = "open_clip_config.json"
# What CLIP's pictures were normalised with, where a model does not say.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class ClipJudge:
    """Likeness of pictures and texts by CLIP. Make one with ``load``."""

    def __init__(self, model: Any, tokenizer: Any, name: str, mean: tuple[float, ...], deviation: tuple[float, ...]):
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.side = int(model.config.vision_config.image_size)
        self.mean, self.deviation = mean, deviation
        self._texts: tuple[tuple[str, ...], Tensor] | None = None

    @classmethod
    def load(cls, asked: str, folder: Path = Path(), device: torch.device | str = "cpu") -> "ClipJudge":
        """The model of a hub id or a folder.

        Raises:
            LargeModelProblem: not installed, missing, gated, offline, not a CLIP, or weights that are no safetensors.
        """
        own = [
            p for p in (folder / asked, Path(asked)) if (p / OPEN_CLIP).is_file() and not (p / "config.json").exists()
        ]
        if own:
            raise LargeModelProblem(f"{WHAT_FOR}: {own[0]} is in open_clip's own layout; name it as open_clip:{asked}")
        quiet_libraries(WHAT_FOR)
        from transformers import AutoConfig, AutoTokenizer, CLIPModel

        source = resolve(asked, folder, WHAT_FOR, marker=NETWORK)
        try:
            kind = AutoConfig.from_pretrained(source).model_type
            if kind != "clip":
                raise LargeModelProblem(
                    f"{WHAT_FOR}: {asked!r} is a {kind} model; name a CLIP of transformers, such as openai/clip-vit-base-patch32 or "
                    f"laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
                )
            model = CLIPModel.from_pretrained(source, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(source)
        except LargeModelProblem:
            raise
        except Exception as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            known = hub_problem(error, asked, WHAT_FOR) or hub_problem(cause, asked, WHAT_FOR)
            raise known or LargeModelProblem(
                f"{WHAT_FOR}: {asked!r} cannot be loaded from {source}: {first_line(error)}; name the id or the folder "
                f"of a CLIP model with safetensors"
            ) from error
        mean, deviation = normalisation(source)
        return cls(model.eval().to(device), tokenizer, f"clip:{asked}", mean, deviation)

    def unread(self, text: str) -> Unread | None:
        """What the model does not read of a text, or None."""
        return unread([Reader(self.tokenizer, int(self.model.config.text_config.max_position_embeddings))], text)

    @torch.no_grad()
    def score(self, images: Float[Tensor, "b 3 h w"], prompts: list[str]) -> Float[Tensor, "b p"]:
        """CLIP's logits: scaled cosine of picture and text. Pictures are 0 .. 1, square, of any size."""
        model = self.model
        device = model.logit_scale.device
        if self._texts is None or self._texts[0] != tuple(prompts):
            # An evaluation asks for the same list with every object.
            tokens = self.tokenizer(prompts, padding=True, truncation=True, return_tensors="pt").to(device)
            read = model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
            self._texts = tuple(prompts), F.normalize(model.text_projection(read), dim=-1)
        small = F.interpolate(
            images.float(), (self.side, self.side), mode="bicubic", antialias=True, align_corners=False
        )
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.deviation))
        seen = model.vision_model(pixel_values=((small.clamp(0, 1) - mean) / deviation).to(device)).pooler_output
        pictures = F.normalize(model.visual_projection(seen), dim=-1)
        return (model.logit_scale.exp() * pictures @ self._texts[1].T).cpu()


def normalisation(source: Path | str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that a model's pictures are brought to; CLIP's own where it does not say."""
    path = source / "preprocessor_config.json" if isinstance(source, Path) else None
    if path is None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

        try:
            path = Path(hf_hub_download(str(source), "preprocessor_config.json"))
        except (EntryNotFoundError, HfHubHTTPError):
            return MEAN, DEVIATION
    if not path.is_file():
        return MEAN, DEVIATION
    said = json.loads(path.read_text(encoding="utf-8"))
    return tuple(said.get("image_mean", MEAN)), tuple(said.get("image_std", DEVIATION))
