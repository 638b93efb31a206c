"""What belongs to a clicked point of a picture, without any trained weights.

A segmenter sees a picture, its coverage and its depth, and gives the pixels that belong to the clicks. This one cuts the picture into
superpixels and joins neighbours of like colour and steady depth, the most alike first (SLIC and hierarchical merging of scikit-image),
and takes the region that was clicked. Others, such as Segment Anything, put themselves in its place with ``use_segmenter``.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

MERGED = 0.2
"""Difference of two regions' mean features up to which they are one: twenty of the hundred units of lightness in Lab."""
DEPTH_JUMP = 0.05
"""Difference of depth between neighbouring pixels, in scene units, that tells two regions apart where it runs along their border."""
DEPTH_WEIGHT = 0.3
"""Features per scene unit of depth: colour leads."""
SMOOTHING = 2.0
"""Standard deviation in pixels of the smoothing over single blobs."""
PIXELS_EACH = 60
"""Pixels of a superpixel, roughly."""
COMPACTNESS = 0.02
COVERED = 0.5


@dataclass(frozen=True)
class View:
    """A picture to be segmented: display values on white, coverage 0 .. 1, and depth in scene units where something is covered."""

    color: Float[np.ndarray, "h w 3"]
    coverage: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]


class Segmenter(Protocol):
    """Masks of clicks. ``name`` says in a few words what it is."""

    name: str

    def mask(self, view: View, clicks: Sequence[tuple[float, float]]) -> Bool[np.ndarray, "h w"]:
        """Pixels that belong to the clicks (x to the right, y down, in pixels)."""
        ...


class TextSegmenter(Protocol):
    """Masks of texts. ``name`` says in a few words what it is."""

    name: str

    def mask_of(self, view: View, text: str) -> Bool[np.ndarray, "h w"]:
        """Pixels that the text names."""
        ...


class EmbeddedSegmenter:
    """Click plus colour and depth; needs no weights."""

    name = "embedded: click, colour and depth; no weights"

    def mask(self, view: View, clicks: Sequence[tuple[float, float]]) -> Bool[np.ndarray, "h w"]:
        """The union over the clicks; a click on nothing adds nothing."""
        from scipy.ndimage import binary_fill_holes

        covered = view.coverage > COVERED
        found = np.zeros(covered.shape, dtype=bool)
        if not covered.any():
            return found
        regions = _regions(view, covered)
        for x, y in clicks:
            column, row = (min(int(v), side - 1) for v, side in ((x, covered.shape[1]), (y, covered.shape[0])))
            if covered[row, column]:
                found |= binary_fill_holes(regions == regions[row, column]) & covered
        return found


def _regions(view: View, covered: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """The picture cut into regions of like colour and steady depth; 0 is the background."""
    from skimage.graph import RAG, merge_hierarchical
    from skimage.segmentation import slic

    features = _features(view)
    count = max(2, int(covered.sum()) // PIXELS_EACH)
    cells = slic(
        features,
        n_segments=count,
        compactness=COMPACTNESS,
        mask=covered,
        channel_axis=-1,
        start_label=1,
        convert2lab=False,
    )
    pieces = _pieces(cells, covered, view.depth)
    graph = RAG()
    flat = pieces.ravel()
    pixels = np.bincount(flat)
    totals = np.stack([np.bincount(flat, features[..., c].ravel()) for c in range(features.shape[-1])], axis=1)
    for node in range(1, len(pixels)):
        graph.add_node(node, labels=[node], total=totals[node], pixels=int(pixels[node]))
    for (a, b), (length, jumps) in _borders(pieces, view.depth).items():
        graph.add_edge(a, b, length=length, jumps=jumps, weight=_difference(graph, a, b, length, jumps))
    if graph.number_of_edges() == 0:
        return pieces
    merged = merge_hierarchical(
        pieces, graph, thresh=MERGED, rag_copy=False, in_place_merge=True, merge_func=_merge, weight_func=_weigh
    )
    return np.where(covered, merged + 1, 0)


def _pieces(cells: np.ndarray, covered: np.ndarray, depth: np.ndarray) -> Int[np.ndarray, "h w"]:
    """Cells cut where they do not hang together or the depth jumps, numbered from 1; 0 is the background."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    index = np.arange(cells.size).reshape(cells.shape)
    ends = []
    for axis in (0, 1):
        a, b = (np.take(index, range(s, cells.shape[axis] - 1 + s), axis).ravel() for s in (0, 1))
        flat, cover = cells.ravel(), covered.ravel()
        steady = np.abs(np.diff(depth, axis=axis)).ravel() <= DEPTH_JUMP
        joined = (flat[a] == flat[b]) & cover[a] & cover[b] & steady
        ends.append((a[joined], b[joined]))
    a, b = (np.concatenate([pair[i] for pair in ends]) for i in (0, 1))
    links = coo_matrix((np.ones(len(a), dtype=np.int8), (a, b)), shape=(cells.size, cells.size))
    labels = connected_components(links, directed=False)[1].reshape(cells.shape)
    pieces = np.zeros(cells.shape, dtype=np.int64)
    pieces[covered] = np.unique(labels[covered], return_inverse=True)[1] + 1
    return pieces


def _features(view: View) -> Float[np.ndarray, "h w 4"]:
    """Lab colours in hundredths and weighted depth, smoothed within what is covered."""
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2lab

    weight = gaussian_filter(view.coverage.astype(np.float64), SMOOTHING)
    # What the white behind half covered pixels adds is taken out, or every rim would be another colour.
    solid = np.maximum(view.coverage, COVERED)[..., None]
    own = np.clip((view.color - (1 - view.coverage[..., None])) / solid, 0, 1)
    planes = [*np.moveaxis(rgb2lab(own) / 100.0, -1, 0), view.depth * DEPTH_WEIGHT]
    smooth = [gaussian_filter(p * view.coverage, SMOOTHING) / np.maximum(weight, 1e-6) for p in planes]
    return np.stack(smooth, axis=-1)


def _borders(pieces: np.ndarray, depth: np.ndarray) -> dict[tuple[int, int], tuple[int, int]]:
    """Pairs of neighbouring pieces: the length of their border in pixels, and how much of it is a jump of depth."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for axis in (0, 1):
        a, b = (np.take(pieces, range(s, pieces.shape[axis] - 1 + s), axis) for s in (0, 1))
        jump = np.abs(np.diff(depth, axis=axis)) > DEPTH_JUMP
        touching = (a != b) & (a > 0) & (b > 0)
        for one, other, leaps in zip(a[touching], b[touching], jump[touching], strict=True):
            key = (int(min(one, other)), int(max(one, other)))
            length, jumps = found.get(key, (0, 0))
            found[key] = (length + 1, jumps + int(leaps))
    return found


def _difference(graph: Any, a: int, b: int, length: int, jumps: int) -> float:
    """How unlike two regions are: their mean features apart, and the share of their border along which the depth jumps."""
    means = [graph.nodes[n]["total"] / graph.nodes[n]["pixels"] for n in (a, b)]
    return float(np.linalg.norm(means[0] - means[1])) + jumps / length


def _merge(graph: Any, source: int, target: int) -> None:
    graph.nodes[target]["total"] = graph.nodes[target]["total"] + graph.nodes[source]["total"]
    graph.nodes[target]["pixels"] += graph.nodes[source]["pixels"]


def _weigh(graph: Any, source: int, target: int, neighbour: int) -> dict[str, Any]:
    edges = [graph[n][neighbour] for n in (source, target) if graph.has_edge(n, neighbour)]
    length, jumps = (sum(edge[key] for edge in edges) for key in ("length", "jumps"))
    return {"length": length, "jumps": jumps, "weight": _difference(graph, target, neighbour, length, jumps)}


_EMBEDDED = EmbeddedSegmenter()
_chosen: Callable[[], Segmenter] = lambda: _EMBEDDED  # noqa: E731
_for_texts: Callable[[], TextSegmenter] | None = None


def use_segmenter(make: Callable[[], Segmenter] | None) -> None:
    """Lets another segmenter answer clicks from now on; ``make`` is called when first needed. None goes back to the embedded one."""
    global _chosen
    _chosen = (lambda: _EMBEDDED) if make is None else functools.cache(make)


def use_text_segmenter(make: Callable[[], TextSegmenter] | None) -> None:
    """Lets a segmenter answer texts from now on; ``make`` is called when first needed. None: there is none."""
    global _for_texts
    _for_texts = None if make is None else functools.cache(make)


def segmenter() -> Segmenter:
    """The segmenter that answers clicks."""
    return _chosen()


def text_segmenter() -> TextSegmenter | None:
    """The segmenter that answers texts, or None where none was chosen."""
    return None if _for_texts is None else _for_texts()


def segmenter_of_text(text: str) -> TextSegmenter:
    """The segmenter that answers this text.

    Raises:
        ValueError: none was chosen, or it cannot be loaded; says what to do.
    """
    answering = text_segmenter()
    if answering is None:
        raise ValueError(
            f'segment "{text}" needs a text-prompted segmenter, and none was chosen; set INTERACTIVE3D_TEXT_SEGMENTER to the id or '
            f"folder of a CLIPSeg model (docs/large_models.md), or click: `click (X, Y) in VIEW`"
        )
    return answering
