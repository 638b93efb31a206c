"""Scores pictures against texts, apart from the prior."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from interactive3d.runtime.guidance.judge.network import JudgeConfig, JudgeNetwork, Seen
from interactive3d.runtime.guidance.objects.captions import parse

WEIGHTS = Path(__file__).parent / "weights"


class Attributes(NamedTuple):
    """Probabilities of kind (B, kinds) and of main colour (B, colours), in the order of `Judge.kinds` and `Judge.colours`."""

    kind: Tensor
    colour: Tensor


@dataclass(frozen=True)
class Judge:
    """The trained judge. Pictures are (B, 3, H, W) in 0..1, of a whole object on any background, at any size from 64 up."""

    network: JudgeNetwork

    @staticmethod
    def load(folder: Path | str = WEIGHTS, device: torch.device | str = "cpu") -> "Judge":
        """The judge that ships with the package, or the one in `folder`.

        Raises:
            ValueError: the folder has no weights, or they do not fit their configuration.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        if not (folder / "config.json").exists():
            raise ValueError(f"folder: expected a judge's config.json and model.safetensors, got {folder}")
        network = JudgeNetwork(JudgeConfig.from_json(json.loads((folder / "config.json").read_text())))
        tensors = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
        missing = set(dict(network.named_parameters())) - set(tensors)
        if missing:
            raise ValueError(f"folder: the weights in {folder} lack {sorted(missing)[:3]}; train the judge again")
        network.load_state_dict(tensors, strict=False)
        return Judge(network.eval().to(device))

    @property
    def kinds(self) -> tuple[str, ...]:
        return self.network.config.kinds

    @property
    def colours(self) -> tuple[str, ...]:
        return self.network.config.colours

    @torch.no_grad()
    def score(self, images: Float[Tensor, "b 3 h w"], prompts: list[str]) -> Float[Tensor, "b p"]:
        """Logits of how well each prompt fits each picture: likeness of the embeddings, plus what the attribute heads say of the
        kind and the colours that the prompt names (log-probabilities)."""
        seen = self.network.picture(self._fit(images))
        texts = self.network.text(self.network.tokens(prompts))
        return self.network.log_scale.exp() * seen.embedding @ texts.T + self._named(seen, prompts)

    def rank(self, images: Float[Tensor, "v 3 h w"], prompts: list[str]) -> Int[Tensor, "p"]:
        """Prompts from the best to the worst for the views of one object, by mean score."""
        return self.score(images, prompts).mean(dim=0).argsort(descending=True)

    @torch.no_grad()
    def attributes(self, images: Float[Tensor, "b 3 h w"]) -> Attributes:
        """Probabilities of the kind and of the main colour of each picture."""
        features = self.network.picture(self._fit(images)).features
        return Attributes(self.network.kind_head(features).softmax(1), self.network.colour_head(features).softmax(1))

    @torch.no_grad()
    def part_colour(self, images: Float[Tensor, "b 3 h w"], kind: str, part: str) -> Float[Tensor, "b c"]:
        """Probabilities that a part shows and has a colour, for pictures of objects of this kind; what is missing to 1 is the
        probability that it does not show, so that a sum over views is led by those that see it.

        Raises:
            ValueError: the kind has no such part.
        """
        names = self.network.config.parts
        if (kind, part) not in names:
            known = ", ".join(p for k, p in names if k == kind) or "no parts"
            raise ValueError(f"part: a {kind} has {known}, got {part!r}")
        seen = self.network.picture(self._fit(images))
        return self._part(self.network.part_head.look(seen.maps), names.index((kind, part))).softmax(1)[:, :-1]

    def _part(self, places: Tensor, part: int) -> Tensor:
        rows = torch.arange(len(places), device=places.device)
        return self.network.part_head(places, rows, torch.full_like(rows, part))

    def _fit(self, images: Tensor) -> Tensor:
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
        size = self.network.config.picture
        images = images.to(self.network.log_scale)
        if images.shape[-2:] == (size, size):
            return images
        # Averages over areas, so that a picture enlarged by a whole factor scores as it did before.
        return functional.interpolate(images, size=(size, size), mode="area")

    def _named(self, seen: Seen, prompts: list[str]) -> Tensor:
        """(B, P) log-probabilities of the kind, the main colour and the named parts' colours of each prompt."""
        config = self.network.config
        kind = self.network.kind_head(seen.features).log_softmax(1)
        colour = self.network.colour_head(seen.features).log_softmax(1)
        places = self.network.part_head.look(seen.maps)
        total = torch.zeros(len(kind), len(prompts), device=kind.device)
        for column, prompt in enumerate(prompts):
            asked = parse(prompt)
            if asked.kind not in config.kinds:
                continue
            total[:, column] += kind[:, config.kinds.index(asked.kind)] + colour[:, config.colours.index(asked.colour)]
            for part, name in asked.part_colours:
                told = self._part(places, config.parts.index((asked.kind, part))).softmax(1)
                # A view that does not show the part says as little for one colour as for another.
                hidden = told[:, -1] / len(config.colours)
                total[:, column] += (told[:, config.colours.index(name)] + hidden).log()
        return total
