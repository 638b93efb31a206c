"""The judge's networks: a small convolutional picture encoder and a small convolutional text encoder over words."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from interactive3d.runtime.guidance.objects.words import COLOURS, KINDS, PARTS, normalise, vocabulary

PADDING, UNKNOWN = 0, 1


@dataclass(frozen=True)
class JudgeConfig:
    """Sizes and words of a judge; everything that its weights depend on."""

    picture: int = 64
    channels: tuple[int, ...] = (24, 56, 112, 224)
    word: int = 96
    embedding: int = 160
    longest: int = 32
    words: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of_objects() -> "JudgeConfig":
        """The configuration for the words of the object library."""
        words = sorted({word for group in vocabulary().values() for word in group})
        parts = tuple((kind, part) for kind in KINDS for part in PARTS[kind])
        return JudgeConfig(words=tuple(words), kinds=KINDS, colours=tuple(COLOURS), parts=parts)

    def to_json(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> "JudgeConfig":
        def frozen(value: Any) -> Any:
            return tuple(frozen(item) for item in value) if isinstance(value, list) else value

        return JudgeConfig(**{name: frozen(value) for name, value in values.items()})


def feature_count(config: JudgeConfig) -> int:
    """Numbers that the picture encoder gives the heads: means and maxima of its last two stages."""
    return 2 * (config.channels[-1] + config.channels[-2])


@dataclass(frozen=True)
class Seen:
    """What the picture encoder gives: a unit embedding (B, e), pooled features (B, f) and maps of the last three stages."""

    embedding: Float[Tensor, "b e"]
    features: Float[Tensor, "b f"]
    maps: tuple[Tensor, ...]


class PartHead(nn.Module):
    """Colour logits of asked parts, the last for "not seen": every part has learned where to look (attention over the maps, taught
    by the renders' labels), how colours look is shared by all."""

    def __init__(self, config: JudgeConfig, key: int = 48, width: int = 112) -> None:
        super().__init__()
        self.key = key
        self.project = nn.ModuleList(nn.Conv2d(channels, key + width, 1) for channels in config.channels[-3:])
        self.asked, self.about = nn.Embedding(len(config.parts), key), nn.Embedding(len(config.parts), width)
        self.hidden, self.colour = nn.Linear(width, width), nn.Linear(width, len(config.colours) + 1)
        nn.init.zeros_(self.about.weight)

    def look(self, maps: tuple[Tensor, ...]) -> Float[Tensor, "b d p"]:
        """Keys and values of every place, made once per picture."""
        size = maps[0].shape[-2:]
        levels = [project(level) for project, level in zip(self.project, maps, strict=True)]
        spread = [functional.interpolate(level, size=size, mode="nearest") for level in levels[1:]]
        return (levels[0] + sum(spread)).flatten(2)

    def forward(
        self, places: Float[Tensor, "b d p"], rows: Int[Tensor, "n"], parts: Int[Tensor, "n"]
    ) -> Float[Tensor, "n c+1"]:
        """`places` from `look`; `rows` are the pictures asked about, `parts` the numbers of the parts in the configuration."""
        weights, values = self.attention(places, rows, parts).exp(), places[:, self.key :][rows]
        found = functional.relu(torch.einsum("np,nvp->nv", weights, functional.relu(values)) + self.about(parts))
        return self.colour(functional.relu(self.hidden(found)))

    def attention(
        self, places: Float[Tensor, "b d p"], rows: Int[Tensor, "n"], parts: Int[Tensor, "n"]
    ) -> Float[Tensor, "n p"]:
        """Log-probabilities of where each asked part is."""
        keys = places[:, : self.key][rows]
        return torch.einsum("nk,nkp->np", self.asked(parts), keys).mul(self.key**-0.5).log_softmax(1)


class PictureEncoder(nn.Module):
    """(B, 3, 64, 64) in 0..1 -> `Seen`."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        width = 12
        for stage, channels in enumerate(config.channels):
            strides = (1,) if stage == 0 else (2, 1)
            for stride in strides:
                layers += [nn.Conv2d(width, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
                width = channels
        self.body = nn.Sequential(*layers)
        self.embed = nn.Linear(feature_count(config), config.embedding)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Seen:
        here, maps = images * 2 - 1, []
        ends = {len(self.body) - 1 - 6 * back for back in range(3)}
        for index, layer in enumerate(self.body):
            here = layer(here)
            if index in ends:
                maps.append(here)
        pooled = [pool(level) for level in (maps[-1], maps[-2]) for pool in (_mean, _largest)]
        features = torch.cat(pooled, dim=1)
        return Seen(functional.normalize(self.embed(features), dim=1), features, tuple(maps))


def _mean(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))


def _largest(maps: Tensor) -> Tensor:
    return maps.amax((2, 3))


class TextEncoder(nn.Module):
    """Word numbers (B, n) -> a unit embedding. Convolutions over neighbours tell whose colour a colour word is."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        width = config.word
        self.words = nn.Embedding(len(config.words) + 2, width, padding_idx=PADDING)
        self.first = nn.Conv1d(width, 2 * width, 5, padding=2)
        self.second = nn.Conv1d(2 * width, 2 * width, 3, padding=1)
        self.hidden = nn.Linear(4 * width, 2 * width)
        self.embed = nn.Linear(2 * width, config.embedding)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b e"]:
        mask = (tokens != PADDING).unsqueeze(1).to(self.words.weight.dtype)
        hidden = self.words(tokens).transpose(1, 2)
        hidden = functional.relu(self.first(hidden)) * mask
        hidden = (hidden + functional.relu(self.second(hidden))) * mask
        pooled = torch.cat([hidden.sum(2) / mask.sum(2).clamp(min=1), hidden.amax(2)], dim=1)
        return functional.normalize(self.embed(functional.relu(self.hidden(pooled))), dim=1)


class JudgeNetwork(nn.Module):
    """Both encoders and the attribute heads (kind, main colour, colour of every part of every kind)."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        self.picture, self.text = PictureEncoder(config), TextEncoder(config)
        features = feature_count(config)
        self.kind_head = nn.Linear(features, len(config.kinds))
        self.colour_head = nn.Linear(features, len(config.colours))
        self.part_head = PartHead(config)
        self.log_scale = nn.Parameter(torch.tensor(2.7))
        self._number = {word: index + 2 for index, word in enumerate(config.words)}

    def tokens(self, texts: list[str]) -> Int[Tensor, "b n"]:
        """Word numbers of the texts, padded."""
        rows = [[self._number.get(word, UNKNOWN) for word in normalise(text)][: self.config.longest] for text in texts]
        wide = max(1, *(len(row) for row in rows))
        return torch.tensor([row + [PADDING] * (wide - len(row)) for row in rows], device=self.log_scale.device)
