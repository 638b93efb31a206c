"""Segment Anything in the place of the embedded segmenter: the predictor of the segment-anything package with a checkpoint's path, or
transformers' model by hub id or folder (paper 3.1.1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool

from interactive3d.runtime.guidance.large.loading import first_line, quiet_libraries, resolve
from interactive3d.runtime.guidance.large.problems import LargeModelProblem, hub_problem, need
from interactive3d.runtime.guidance.names import NETWORK
from interactive3d.runtime.scene.segmenter import Segmenter, View

WHAT_FOR = "segmenter sam"
KINDS = ("vit_h", "vit_l", "vit_b")
# What Segment Anything's pictures are normalised with, display values.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def load_segmenter(choice: str, folder: Path, device: torch.device | str) -> Segmenter:
    """The segmenter of ``sam:CHECKPOINT.pth`` or ``sam:ID_OR_FOLDER``.

    Raises:
        LargeModelProblem: another choice, or what it names cannot be loaded.
    """
    kind, _, model = choice.partition(":")
    if kind != "sam" or not model:
        raise LargeModelProblem(
            f"segmenter {choice!r}: expected embedded, sam:CHECKPOINT.pth (segment-anything) or sam:ID_OR_FOLDER (transformers)"
        )
    if Path(model).suffix in (".pth", ".pt"):
        return CheckpointSam(model, folder, device)
    return HubSam(model, folder, device)


class CheckpointSam:
    """segment-anything's own predictor. Checkpoints are read as tensors only, so that a pickle runs no code."""

    def __init__(self, model: str, folder: Path, device: torch.device | str) -> None:
        package = need("segment_anything", WHAT_FOR, "pip install segment-anything torchvision")
        tried = list(
            dict.fromkeys(((folder / Path(model).expanduser()).absolute(), Path(model).expanduser().absolute()))
        )
        path = next((p for p in tried if p.is_file()), None)
        if path is None:
            raise LargeModelProblem(
                f"{WHAT_FOR}: there is no checkpoint {' nor '.join(str(p) for p in tried)}; name the file"
            )
        kind = next((k for k in KINDS if k in path.name), None)
        if kind is None:
            raise LargeModelProblem(
                f"{WHAT_FOR}: the name of {path} does not say which model it is of; keep one of {', '.join(KINDS)} in it"
            )
        network = package.sam_model_registry[kind]()
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:
            raise LargeModelProblem(
                f"{WHAT_FOR}: {path} is no whole checkpoint of {kind}: {first_line(error)}; download it again"
            ) from error
        self.predictor = package.SamPredictor(network.eval().to(device))
        self.name = f"Segment Anything, {path.name}"

    def mask(self, view: View, clicks: Sequence[tuple[float, float]]) -> Bool[np.ndarray, "h w"]:
        """The mask that the model believes in most."""
        self.predictor.set_image((view.color * 255 + 0.5).astype(np.uint8))
        masks, scores, _ = self.predictor.predict(
            point_coords=np.asarray(clicks, dtype=np.float32),
            point_labels=np.ones(len(clicks), dtype=np.int64),
            multimask_output=True,
        )
        return np.asarray(masks[int(np.argmax(scores))], dtype=bool)


class HubSam:
    """transformers' Segment Anything, safetensors only."""

    def __init__(self, asked: str, folder: Path, device: torch.device | str) -> None:
        quiet_libraries(WHAT_FOR)
        from transformers import SamModel

        source = resolve(asked, folder, WHAT_FOR, marker=NETWORK)
        try:
            self.model: Any = SamModel.from_pretrained(source, use_safetensors=True)
        except Exception as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise (
                hub_problem(error, asked, WHAT_FOR)
                or hub_problem(cause, asked, WHAT_FOR)
                or LargeModelProblem(
                    f"{WHAT_FOR}: {asked!r} cannot be loaded from {source}: {first_line(error)}; name a Segment Anything "
                    f"model with safetensors, such as facebook/sam-vit-base"
                )
            ) from error
        self.model.eval().to(device)
        self.device = torch.device(device)
        config: Any = self.model.config.vision_config
        self.side = int(config.image_size)
        self.name = f"Segment Anything, {asked}"

    @torch.no_grad()
    def mask(self, view: View, clicks: Sequence[tuple[float, float]]) -> Bool[np.ndarray, "h w"]:
        """The mask that the model believes in most. Pictures are square."""
        height, width = view.coverage.shape
        picture = torch.from_numpy(view.color).float().permute(2, 0, 1)[None]
        large = F.interpolate(picture, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
        points = torch.tensor(clicks, dtype=torch.float32) * torch.tensor([self.side / width, self.side / height])
        found = self.model(
            pixel_values=((large - mean) / deviation).to(self.device),
            input_points=points[None, None].to(self.device),
            input_labels=torch.ones(1, 1, len(clicks), dtype=torch.long, device=self.device),
            multimask_output=True,
        )
        best = int(found.iou_scores[0, 0].argmax())
        logits = F.interpolate(found.pred_masks[0, 0, best][None, None], (height, width), mode="bilinear")
        return (logits[0, 0] > 0).cpu().numpy()
