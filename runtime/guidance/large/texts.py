"""The texts of a request as a denoiser wants them: each is read once, kept, and put together as the cameras stand."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interactive3d.runtime.guidance.large.families import Family, TextEmbedding, stacked
from interactive3d.runtime.guidance.large.prompts import VIEWS, blend, camera_angles, mixed, view_name, view_prompt
from interactive3d.runtime.guidance.large.reading import unread
from interactive3d.runtime.guidance.protocol import ScoreRequest
from interactive3d.runtime.settings import LargeSettings

CACHED_TEXTS = 128


@dataclass(frozen=True)
class Condition:
    """What is asked for and what is guided away from. Embeddings are kept by text, so that views share them."""

    prompt: str
    negative: str


class Texts:
    """Embeddings by text. With ``taking_turns``, encoders and denoiser are on the device one after the other."""

    def __init__(self, pipeline: Any, family: Family, device: torch.device, tell: Callable[[str], None]) -> None:
        self.pipeline, self.family, self.device, self.tell = pipeline, family, device, tell
        self.taking_turns = False
        self._kept: OrderedDict[str, TextEmbedding] = OrderedDict()
        self._checked: set[tuple[Condition, bool, bool]] = set()

    # -- what the user should know --------------------------------------------------------------------------------------
    def check(self, condition: Condition, large: LargeSettings) -> None:
        """Says what of the texts is not read, and what of the settings has no effect with this model."""
        key = (condition, large.views, large.perp_neg)
        if key in self._checked:
            return
        self._checked.add(key)
        longest = view_prompt(condition.prompt, max(VIEWS, key=len)) if large.views else condition.prompt
        missed = unread(self.family.readers(), longest)
        if missed is not None:
            views = ", or the views cannot be told apart" if large.views else ""
            self.tell(missed.told(f"the prompt {shortened(condition.prompt)}") + views)
        one_text = f"no effect with {self.family.name}: its guidance is an input of the network, which takes one text"
        if large.perp_neg and self.family.distilled:
            self.tell(f"large.perp_neg has {one_text}")
        elif large.perp_neg and not large.views:
            self.tell("large.perp_neg has no effect while large.views is off: it tells the views apart")
        if condition.negative and self.family.distilled:
            self.tell(f"avoid has {one_text}")
        elif condition.negative and (missed := unread(self.family.readers(), condition.negative)) is not None:
            self.tell(missed.told(f"avoid {shortened(condition.negative)}"))

    # -- one text -------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def embedding(self, text: str) -> TextEmbedding:
        """The text's embedding, kept."""
        if text not in self._kept:
            self._kept[text] = self._encoded(text).to(self.device)
            if len(self._kept) > CACHED_TEXTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(text)
        return self._kept[text]

    def _encoded(self, text: str) -> TextEmbedding:
        if not self.taking_turns:
            return self.family.encode(text, self.device)
        encoders = [getattr(self.pipeline, name) for name in self.family.texts]
        modules = [module for module in encoders if isinstance(module, nn.Module)]
        denoiser = getattr(self.pipeline, self.family.denoiser)
        denoiser.to("cpu")
        for module in modules:
            module.to(self.device)
        try:
            return self.family.encode(text, self.device)
        finally:
            for module in modules:
                module.to("cpu")
            denoiser.to(self.device)

    # -- a batch --------------------------------------------------------------------------------------------------------
    def positive(self, request: ScoreRequest) -> TextEmbedding:
        """The prompt as each camera sees it."""
        prompt = request.condition.prompt
        found = []
        for camera in request.cameras:
            if not request.large.views:
                found.append(self.embedding(prompt))
                continue
            angles = camera_angles(camera)
            if not request.large.perp_neg:
                found.append(self.embedding(view_prompt(prompt, view_name(*angles))))
                continue
            asked = blend(*angles)
            first, second = (self.embedding(view_prompt(prompt, view)) for view in asked.views)
            pooled = (
                None
                if first.pooled is None or second.pooled is None
                else mixed(first.pooled, second.pooled, asked.share)
            )
            found.append(TextEmbedding(mixed(first.words, second.words, asked.share), pooled))
        return stacked(found)

    def against(self, request: ScoreRequest) -> list[tuple[TextEmbedding, Tensor]]:
        """Perp-Neg's negative prompts and their weights, one for each camera."""
        asked = [blend(*camera_angles(camera)).against for camera in request.cameras]
        prompt = request.condition.prompt
        found = []
        for place in range(len(asked[0])):
            texts = [self.embedding(view_prompt(prompt, row[place][0])) for row in asked]
            found.append((stacked(texts), torch.tensor([row[place][1] for row in asked])))
        return found

    def untold(self, request: ScoreRequest, negative: str) -> TextEmbedding:
        """The negative prompt for every camera."""
        return stacked([self.embedding(negative)] * len(request.cameras))


def shortened(text: str, most: int = 40) -> str:
    """A text in quotes, cut where it is long."""
    return f"“{text if len(text) <= most else text[: most - 1].rstrip() + '…'}”"
