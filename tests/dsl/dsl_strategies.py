"""Hypothesis strategies for every kind of operation, part, shape, view and moment of the language."""

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from interactive3d.dsl import operations as o
from interactive3d.dsl import values as v

names = st.from_regex(r"[a-z]{1,6}_[a-z0-9]{1,4}", fullmatch=True)
# A letter first: an empty prompt is refused, and braces are filled in from names.
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="{}"), max_size=20
).map(lambda t: "a" + t)
numbers = st.floats(min_value=-100, max_value=100, allow_nan=False)
positive = st.floats(min_value=1e-3, max_value=100, allow_nan=False)
unit = st.floats(min_value=0, max_value=1, allow_nan=False)
counts = st.integers(min_value=1, max_value=10**6)
steps = st.integers(min_value=1, max_value=10**5)
vectors = st.tuples(numbers, numbers, numbers)
factors = st.tuples(positive, positive, positive)
colors = st.one_of(st.tuples(unit, unit, unit), st.sampled_from([(1.0, 0.0, 0.0), (0.2, 0.4, 0.6)]))
axes = st.one_of(st.sampled_from([v.X_AXIS, v.Y_AXIS, v.Z_AXIS]), vectors.filter(any))
turns = st.builds(v.AxisAngle, axis=axes, degrees=numbers)


def _ends() -> st.SearchStrategy[tuple[v.Vec3, v.Vec3]]:
    return st.tuples(vectors, vectors).filter(lambda pair: pair[0] != pair[1])


def _boxes() -> st.SearchStrategy[v.Box]:
    sides = st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1]).map(sorted)
    made = st.tuples(sides, sides, sides)
    return made.map(lambda xyz: v.Box(low=tuple(side[0] for side in xyz), high=tuple(side[1] for side in xyz)))


def _lined(kind: type) -> st.SearchStrategy[Any]:
    return st.builds(lambda ends, radius: kind(a=ends[0], b=ends[1], radius=radius), _ends(), positive)


SHAPES = {
    v.Sphere: st.builds(v.Sphere, center=vectors, radius=positive),
    v.Box: _boxes(),
    v.Ellipsoid: st.builds(v.Ellipsoid, center=vectors, radii=factors, rotation=st.none() | turns),
    v.Capsule: _lined(v.Capsule),
    v.Cylinder: _lined(v.Cylinder),
    v.Cone: _lined(v.Cone),
    v.Torus: st.builds(v.Torus, center=vectors, radius=positive, thickness=positive, axis=axes),
}
shapes = st.one_of(*SHAPES.values())

orbits = st.builds(
    v.OrbitView,
    azimuth=st.floats(-360, 360),
    elevation=st.floats(-90, 90),
    distance=st.none() | st.floats(0.5, 10),
    fov=st.none() | st.floats(5, 120),
    target=st.none() | vectors,
    name=st.none(),
)
# Declared names; tests give the declarations to the reader.
VIEW = v.OrbitView(azimuth=10.0, elevation=20.0, name="front")
HEAD = v.DeclaredPart(name="head", part=v.ShapePart(shape=v.Sphere(center=(0.0, 0.3, 0.3), radius=0.15)))
TAG = v.NamedPart(name="knight")
views = st.one_of(orbits, st.just(VIEW))

clicks = st.builds(v.Click, x=st.floats(0, 64), y=st.floats(0, 64), view=views)
LEAVES = {
    v.ShapePart: st.builds(v.ShapePart, shape=shapes),
    v.NamedPart: st.just(TAG),
    v.AllPart: st.just(v.AllPart()),
    v.ColorPart: st.builds(v.ColorPart, color=colors, tolerance=st.none() | st.floats(0.01, 1)),
    v.ClickPart: st.builds(
        v.ClickPart, clicks=st.lists(clicks, min_size=1, max_size=3).map(tuple), size=st.none() | st.integers(64, 512)
    ),
    v.SegmentPart: st.builds(v.SegmentPart, text=st.sampled_from(["wings", 'the left "paw"', "a\\b"])),
    v.DeclaredPart: st.just(HEAD),
}


def _branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(v.UnionPart, left=inner, right=inner),
        st.builds(v.DifferencePart, left=inner, right=inner),
        st.builds(v.IntersectionPart, left=inner, right=inner),
        st.builds(v.NotPart, part=inner),
        st.builds(v.GrowPart, part=inner, by=numbers),
    )


parts = st.recursive(st.one_of(*LEAVES.values()), _branches, max_leaves=5)

noise = st.tuples(unit, unit).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: (min(pair), max(pair)))
ranges = st.tuples(st.integers(0, 10**5), st.integers(0, 10**5)).filter(lambda p: p[0] != p[1]).map(sorted)

MOMENTS = {
    v.Now: st.just(v.Now()),
    v.AtStep: st.builds(v.AtStep, step=st.integers(0, 10**5)),
    v.AtEnd: st.just(v.AtEnd()),
    v.FromTo: ranges.map(lambda pair: v.FromTo(start=pair[0], end=pair[1])),
    v.Every: st.one_of(
        st.builds(v.Every, n=steps),
        st.builds(lambda n, pair: v.Every(n=n, start=pair[0], end=pair[1]), steps, ranges),
    ),
    v.After: st.builds(v.After, label=names.map(lambda name: name + "_done"), plus=st.integers(0, 1000)),
    v.WhenMetric: st.builds(
        v.WhenMetric,
        metric=st.sampled_from(["loss", "blobs"]),
        comparison=st.sampled_from(v.Comparison),
        value=numbers,
        for_steps=st.none() | steps,
    ),
}
plain_moments = st.one_of(MOMENTS[v.Now], MOMENTS[v.AtStep], MOMENTS[v.After], MOMENTS[v.WhenMetric])
labels = st.none() | names

even = st.integers(8, 2000).map(lambda half: 2 * half)
_files = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
none = st.none()


def _paths(*suffixes: str) -> st.SearchStrategy[str]:
    return st.builds(lambda stem, suffix: stem + suffix, _files, st.sampled_from(suffixes))


def _sized(kind: type, sides: Any, /, **rest: Any) -> st.SearchStrategy[Any]:
    """Width alone, both or none: a height needs a width."""
    sizes = st.one_of(st.just((None, None)), st.tuples(sides, st.none() | sides))
    return st.builds(lambda size, **kw: kind(width=size[0], height=size[1], **kw), sizes, **rest)


def _op(kind: type[o.Operation], /, **rest: Any) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{"when": plain_moments, "label": labels, **rest})


def _part_op(kind: type[o.Operation], /, **rest: Any) -> st.SearchStrategy[Any]:
    return _op(kind, part=parts, **rest)


def _drags() -> st.SearchStrategy[Any]:
    return _op(
        o.Drag,
        source=vectors,
        target=vectors,
        mode=st.sampled_from(o.DragMode),
        part=none | parts,
        radius=none | positive,
        form=none | st.sampled_from(o.DragForm),
        steps=none | steps,
        alpha=none | unit,
        motion=none | positive,
        rigidity=none | positive,
    )


_settings = st.one_of(
    st.builds(lambda value: ("lr.position", value), unit),
    st.builds(lambda value: ("batch", value), st.integers(1, 64)),
    st.builds(lambda value: ("densify.enabled", value), st.booleans()),
    st.builds(lambda value: ("background", value), st.sampled_from(["white", "random"])),
    st.builds(lambda value: ("run.note", value), texts),
)
_common = {"when": plain_moments, "label": labels}

OPERATIONS: dict[type[o.Operation], st.SearchStrategy[Any]] = {
    o.AddFile: _op(
        o.AddFile,
        path=_paths(".ply", ".glb"),
        name=names,
        part=none | names,
        position=none | vectors,
        scale=none | positive,
        rotation=none | turns,
    ),
    o.AddShape: _op(o.AddShape, shape=shapes, count=counts, color=colors, name=names),
    o.Remove: _part_op(o.Remove),
    o.Keep: _part_op(o.Keep),
    o.Duplicate: _part_op(o.Duplicate, name=names, by=none | vectors),
    o.Mirror: _part_op(o.Mirror, axis=st.sampled_from(o.Axis), through=none | vectors, name=none | names),
    o.Move: st.one_of(_part_op(o.Move, by=vectors), _part_op(o.Move, to=vectors)),
    o.Rotate: _part_op(o.Rotate, degrees=numbers, axis=axes, through=none | vectors),
    o.Stretch: _part_op(o.Stretch, by=st.one_of(factors, positive.map(lambda s: (s, s, s))), about=none | vectors),
    o.Paint: _part_op(o.Paint, color=colors),
    o.Freeze: _part_op(o.Freeze),
    o.Thaw: _part_op(o.Thaw),
    o.Densify: _op(o.Densify, part=none | parts),
    o.Prune: _op(o.Prune, part=none | parts, below=none | unit),
    o.Drag: _drags(),
    o.Edit: _part_op(
        o.Edit,
        prompt=texts,
        steps=none | steps,
        noise=none | noise,
        zoom=none | st.floats(0.5, 10),
        scale=none | st.floats(0, 100),
    ),
    o.Repair: _op(o.Repair, part=none | parts, steps=none | steps, noise=none | noise, anchor=none | positive),
    o.Distill: _op(o.Distill, steps=none | steps, size=none | st.integers(16, 1024)),
    o.Refine: _part_op(
        o.Refine,
        prompt=none | texts,
        levels=none | st.integers(1, 16),
        features=none | st.integers(1, 8),
        capacity=none | st.integers(1, 24).map(lambda k: 2**k),
        steps=none | steps,
        noise=none | noise,
    ),
    o.Ramp: st.builds(
        o.Ramp,
        when=MOMENTS[v.FromTo],
        label=labels,
        path=st.sampled_from(["lr.position", "guidance.noise_max"]),
        start=unit,
        end=unit,
    ),
    o.SetValue: st.builds(
        lambda when, label, pair: o.SetValue(when=when, label=label, path=pair[0], value=pair[1]),
        plain_moments,
        labels,
        _settings,
    ),
    o.Checkpoint: st.builds(o.Checkpoint, when=plain_moments | MOMENTS[v.Every], label=labels, name=none | names),
    o.Pause: _op(o.Pause),
    o.Print: _op(o.Print, text=texts),
    o.SnapshotImage: _sized(o.SnapshotImage, st.integers(16, 4096), path=_paths(".png"), view=views, **_common),
    o.Export: st.one_of(
        _op(o.Export, kind=st.just(o.ExportKind.SPLATS), path=_paths(".ply")),
        _op(o.Export, kind=st.just(o.ExportKind.FIELD), path=_paths(".safetensors")),
        _op(
            o.Export,
            kind=st.just(o.ExportKind.MESH),
            path=_paths(".glb", ".obj"),
            resolution=none | st.integers(8, 1024),
            texture=none | st.integers(16, 4096),
            faces=none | st.integers(4, 10**6),
            threshold=st.one_of(none, st.just("auto"), positive),
        ),
    ),
    o.RecordTurntable: st.one_of(
        _sized(
            o.RecordTurntable,
            even,
            path=_paths(".mp4"),
            seconds=none | st.floats(0.5, 60),
            fps=none | st.integers(1, 60),
            elevation=none | st.floats(-90, 90),
            **_common,
        ),
        _sized(o.RecordTurntable, even, path=_paths(".gif"), view=none | views, **_common),
    ),
    o.RecordTimelapse: st.builds(
        o.RecordTimelapse,
        when=plain_moments | MOMENTS[v.FromTo],
        label=labels,
        path=_paths(".mp4"),
        every=steps,
        view=none | views,
    ),
}

operations = st.one_of(*OPERATIONS.values())


def optional_fields(kind: type[o.Operation]) -> list[str]:
    return [f.name for f in fields(kind) if f.name not in ("when", "label", "span")]
