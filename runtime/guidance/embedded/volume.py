"""Text to a coarse coloured volume: 64 tokens on a 4 x 4 x 4 grid, each unfolded to 8 x 8 x 8 cells.

A cell's colour is a pointer: a softmax over the words of the caption (as the encoder sees them in context) and over some
learned default colours, times one colour per word. "blue" in "blue wings" colours the cells that are wings, whatever the
object is, so pairs of kind and colour that were never trained on come out right.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from interactive3d.runtime.guidance.embedded.layers import Attention, FeedForward
from interactive3d.runtime.guidance.embedded.text import TextEmbedding

COARSE = 4  # tokens along an axis
CONTRAST, BIAS = 1.5, 0.7
"""The network is trained to say how likely a cell is covered. The finished volume is more decided, so that there is no haze, and
a little in favour of cover, so that thin parts whose place varies are not lost."""


@dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """Sizes of the volume network; `resolution` is a multiple of 4."""

    vocabulary: int
    resolution: int = 32
    width: int = 192
    layers: int = 4
    heads: int = 6
    text_width: int = 160
    unfold: int = 256
    query: int = 12
    slots: int = 16


class VolumeLayer(nn.Module):
    """Self-attention among the cells, cross-attention to the words, feed-forward."""

    def __init__(self, config: VolumeConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.look = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width)
        self.read = Attention(config.width, config.heads, config.text_width)
        self.norm3 = nn.LayerNorm(config.width)
        self.feed = FeedForward(config.width)

    def forward(self, x: Tensor, text: TextEmbedding) -> Tensor:
        x = x + self.look(self.norm1(x))
        x = x + self.read(self.norm2(x), text.words, text.tokens.mask)
        return x + self.feed(self.norm3(x))


@dataclass(frozen=True)
class VolumeFields:
    """Raw output: coverage logits and pointer queries per cell, and the caption's keys and colours to point at."""

    alpha_logit: Float[Tensor, "b d h w"]
    query: Float[Tensor, "b cells q"]
    keys: Float[Tensor, "b m q"]
    padding: Float[Tensor, "b m"]
    colours: Float[Tensor, "b m 3"]

    def pointers(self, cells: Int[Tensor, "b k"] | None = None) -> Float[Tensor, "b k m"]:
        """Log-probability per numbered cell (all without numbers) of pointing at each word and default colour."""
        query = self.query
        if cells is not None:
            query = query.gather(1, cells[:, :, None].expand(-1, -1, query.shape[-1]))
        return torch.baddbmm(self.padding[:, None], query, self.keys.transpose(1, 2)).log_softmax(-1)

    def colours_at(self, cells: Int[Tensor, "b k"] | None = None) -> Float[Tensor, "b k 3"]:
        """Colours of the numbered cells (all without numbers), straight, about 0..1."""
        return self.pointers(cells).exp() @ self.colours


class VolumeNetwork(nn.Module):
    """Caption to `VolumeFields`; `rgba` gives the finished volume."""

    def __init__(self, config: VolumeConfig):
        super().__init__()
        if config.resolution % COARSE:
            raise ValueError(f"resolution: expected a multiple of {COARSE}, got {config.resolution}")
        self.config = config
        self.cell = config.resolution // COARSE
        self.place = nn.Parameter(torch.randn(COARSE**3, config.width))
        self.pooled = nn.Linear(config.text_width, config.width)
        self.layers = nn.ModuleList(VolumeLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.hidden = nn.Sequential(nn.Linear(config.width, config.unfold), nn.GELU())
        self.alpha = nn.Linear(config.unfold, self.cell**3)
        self.query = nn.Linear(config.unfold, self.cell**3 * config.query)
        self.key = nn.Linear(config.text_width, config.query)
        self.word_colour = nn.Embedding(config.vocabulary, 3)
        self.slot_key = nn.Parameter(torch.randn(config.slots, config.query))
        self.slot_colour = nn.Parameter(torch.rand(config.slots, 3))
        nn.init.constant_(self.word_colour.weight, 0.5)
        nn.init.constant_(self.alpha.bias, -3.0)

    def forward(self, text: TextEmbedding) -> VolumeFields:
        b = text.pooled.shape[0]
        x = self.place + self.pooled(text.pooled)[:, None]
        for layer in self.layers:
            x = layer(x, text)
        x = self.hidden(self.norm(x))
        keys = torch.cat((self.key(text.words), self.slot_key.expand(b, -1, -1)), dim=1)
        padding = torch.zeros(keys.shape[:2], device=keys.device)
        padding[:, : text.words.shape[1]].masked_fill_(~text.tokens.mask, -1e4)
        colours = torch.cat((self.word_colour(text.tokens.ids), self.slot_colour.expand(b, -1, -1)), dim=1)
        query = self._unfold(self.query(x)).reshape(b, self.config.resolution**3, self.config.query)
        return VolumeFields(self._unfold(self.alpha(x))[..., 0], query, keys, padding, colours)

    def _unfold(self, x: Float[Tensor, "b tokens features"]) -> Float[Tensor, "b r r r c"]:
        """Each token's features become a block of cells."""
        b, r, s = x.shape[0], self.config.resolution, self.cell
        x = x.view(b, COARSE, COARSE, COARSE, s, s, s, -1)
        return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, r, r, r, -1)

    def rgba(self, text: TextEmbedding) -> Float[Tensor, "b 4 r r r"]:
        """The volume on [-1, 1]^3, (rgb + alpha, z, y, x), straight colours in 0..1."""
        fields = self(text)
        shape = fields.alpha_logit.shape
        colours = fields.colours_at().clamp(0, 1).transpose(1, 2).reshape(shape[0], 3, *shape[1:])
        return torch.cat((colours, (CONTRAST * fields.alpha_logit + BIAS).sigmoid()[:, None]), dim=1)


MATCH = 0.2
"""How near a word's colour must be to a cell's for the pointer to be told that it is the one, 0..1 colour units."""


@dataclass(frozen=True)
class VolumeLoss:
    """Coverage: cross-entropy, weighted to the neighbourhood of the surface. Colour: mean absolute error on covered cells.
    Pointer: minus the log-probability of pointing at something of the cell's colour."""

    coverage: Float[Tensor, ""]
    colour: Float[Tensor, ""]
    pointer: Float[Tensor, ""]


def volume_loss(
    fields: VolumeFields, target: Float[Tensor, "b 4 r r r"], cells: int, generator: torch.Generator
) -> VolumeLoss:
    """Compare with true volumes; colours on at most `cells` covered cells each, drawn at random."""
    alpha = target[:, 3]
    near = F.max_pool3d(alpha, 3, stride=1, padding=1)
    entropy = F.binary_cross_entropy_with_logits(fields.alpha_logit, alpha, reduction="none")
    weight = 0.25 + near
    coverage = (entropy * weight).sum() / weight.sum()
    flat = alpha.flatten(1)
    scores = torch.rand(flat.shape, generator=generator).to(flat.device) * (flat > 0.05)
    chosen = scores.topk(cells, dim=1).indices
    truth = target[:, :3].flatten(2).transpose(1, 2).gather(1, chosen[:, :, None].expand(-1, -1, 3))
    importance = flat.gather(1, chosen)
    importance = importance / importance.sum().clamp(min=1e-6)
    pointers = fields.pointers(chosen)
    error = (pointers.exp() @ fields.colours - truth).abs().mean(-1)
    apart = torch.cdist(truth, fields.colours, compute_mode="donot_use_mm_for_euclid_dist").square()
    likelihood = torch.logsumexp(pointers - apart.detach() / (2 * MATCH**2), dim=-1)
    return VolumeLoss(coverage, (error * importance).sum(), -(likelihood * importance).sum())
