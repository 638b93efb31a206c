"""Words to vectors: a tokenizer over the project's own vocabulary and a small transformer."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interactive3d.runtime.guidance.embedded.layers import Attention, FeedForward

PAD, BEGIN, UNKNOWN = 0, 1, 2
SPECIAL = ("<pad>", "<begin>", "<unknown>")


@dataclass(frozen=True)
class Tokens:
    """Token numbers of a batch of captions, padded; `mask` is true on real tokens."""

    ids: Int[Tensor, "b m"]
    mask: Bool[Tensor, "b m"]

    def to(self, device: torch.device | str) -> "Tokens":
        return Tokens(self.ids.to(device), self.mask.to(device))


class WordTokenizer:
    """One number per word; words not in the vocabulary become `<unknown>`."""

    def __init__(self, words: Iterable[str], length: int = 32):
        self.words = (*SPECIAL, *(w for w in words if w not in SPECIAL))
        self.length = length
        self._number = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __call__(self, captions: Sequence[Sequence[str]]) -> Tokens:
        """Numbers of normalised captions (lists of words), `<begin>` first, cut at `length`."""
        rows = [[BEGIN, *(self._number.get(w, UNKNOWN) for w in words)][: self.length] for words in captions]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], dtype=torch.long)
        return Tokens(ids, ids != PAD)

    def number(self, word: str) -> int | None:
        return self._number.get(word)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"length": self.length, "words": self.words[len(SPECIAL) :]}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "WordTokenizer":
        data = json.loads(path.read_text())
        return cls(data["words"], data["length"])


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Sizes of the text encoder."""

    vocabulary: int
    width: int = 160
    layers: int = 2
    heads: int = 4
    length: int = 32


class TextLayer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.feed = FeedForward(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.feed(self.norm2(x))


@dataclass(frozen=True)
class TextEmbedding:
    """What the encoder says about captions: a vector per word, one for the whole (that of `<begin>`), and the tokens."""

    words: Float[Tensor, "b m d"]
    pooled: Float[Tensor, "b d"]
    tokens: Tokens


NEIGHBOURS = (-1, 1, 2)


class TextEncoder(nn.Module):
    """Word, neighbour and position embeddings, then transformer layers.

    The embeddings of the words just before and after are mixed in, so that "blue" knows at once that "wings" follows.
    """

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Parameter(0.3 * torch.randn(config.length, config.width))
        neighbours = [nn.Linear(config.width, config.width, bias=False) for _ in NEIGHBOURS]
        self.neighbours = nn.ModuleList(neighbours)
        self.layers = nn.ModuleList(TextLayer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.embed.weight, std=0.7)
        for linear in neighbours:
            nn.init.normal_(linear.weight, std=0.3 / config.width**0.5)

    def forward(self, tokens: Tokens) -> TextEmbedding:
        words = self.embed(tokens.ids)
        length = words.shape[1]
        x = words + self.position[:length]
        present = words * tokens.mask[:, :, None]
        reach = max(abs(n) for n in NEIGHBOURS)
        padded = torch.nn.functional.pad(present, (0, 0, reach, reach))
        for offset, linear in zip(NEIGHBOURS, self.neighbours, strict=True):
            x = x + linear(padded[:, reach + offset : reach + offset + length])
        for layer in self.layers:
            x = layer(x, tokens.mask)
        x = self.norm(x)
        return TextEmbedding(x, x[:, 0], tokens)
