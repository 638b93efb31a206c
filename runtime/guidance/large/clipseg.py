"""CLIPSeg of transformers: the pixels that a text names."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool

from interactive3d.runtime.guidance.large.clip_judge import normalisation
from interactive3d.runtime.guidance.large.loading import first_line, quiet_libraries, resolve
from interactive3d.runtime.guidance.large.problems import LargeModelProblem, hub_problem
from interactive3d.runtime.guidance.names import NETWORK
from interactive3d.runtime.scene.segmenter import View

WHAT_FOR = "segment by text"
LIKELY = 0.5


class ClipSeg:
    """A text-prompted segmenter; safetensors only."""

    def __init__(self, asked: str, folder: Path, device: torch.device | str) -> None:
        quiet_libraries(WHAT_FOR)
        from transformers import AutoTokenizer, CLIPSegForImageSegmentation

        source = resolve(asked, folder, WHAT_FOR, marker=NETWORK)
        try:
            self.model: Any = CLIPSegForImageSegmentation.from_pretrained(source, use_safetensors=True)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(source)
        except Exception as error:
            raise hub_problem(error, asked, WHAT_FOR) or LargeModelProblem(
                f"{WHAT_FOR}: {asked!r} cannot be loaded from {source}: {first_line(error)}; name a CLIPSeg model with "
                f"safetensors, such as CIDAS/clipseg-rd64-refined"
            ) from error
        self.model.eval().to(device)
        self.device = torch.device(device)
        config: Any = self.model.config.vision_config
        self.side = int(config.image_size)
        self.mean, self.deviation = normalisation(source)
        self.name = f"CLIPSeg, {asked}"

    @torch.no_grad()
    def mask_of(self, view: View, text: str) -> Bool[np.ndarray, "h w"]:
        """Pixels that the text more likely names than not."""
        picture = torch.from_numpy(view.color).float().permute(2, 0, 1)[None]
        large = F.interpolate(picture, (self.side, self.side), mode="bicubic", antialias=True, align_corners=False)
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.deviation))
        tokens = self.tokenizer([text], padding=True, truncation=True, return_tensors="pt").to(self.device)
        logits = self.model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            pixel_values=((large.clamp(0, 1) - mean) / deviation).to(self.device),
        ).logits.reshape(1, 1, self.side, self.side)
        fitted = F.interpolate(logits, view.coverage.shape, mode="bilinear", align_corners=False)
        return (fitted[0, 0].sigmoid() > LIKELY).cpu().numpy()
