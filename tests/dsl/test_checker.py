"""What scripts mean: names, arithmetic, parts, gestures, loops, labels, moments, imports."""

import math
from pathlib import Path

import pytest
from dsl_support import context, whole

from interactive3d.dsl import Loaded, load, loads
from interactive3d.dsl import operations as o
from interactive3d.dsl import program as p
from interactive3d.dsl import values as v

HEAD = "part head = sphere at (0, 0.3, 0.3) radius 0.15\n"


def check(script: str, folder: Path | None = None, **changes: object) -> Loaded:
    path = None if folder is None else folder / "main.sculpt"
    return loads(whole(script), context(folder, **changes), path=path)


def program(script: str, folder: Path | None = None, **changes: object) -> p.Program:
    loaded = check(script, folder, **changes)
    assert loaded.program is not None, "\n".join(map(str, loaded.diagnostics))
    return loaded.program


def only(script: str) -> o.Operation:
    (operation,) = program(script).operations
    return operation


def codes(loaded: Loaded) -> list[str]:
    return [d.code for d in loaded.diagnostics]


def value(expression: str) -> float:
    """The value of a number's expression, by way of a radius."""
    operation = only(f"at step 3 remove sphere at (0, 0, 0) radius {expression}")
    assert isinstance(operation, o.Remove)
    assert isinstance(operation.part, v.ShapePart)
    assert isinstance(operation.part.shape, v.Sphere)
    return operation.part.shape.radius


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("8 / 2 / 2", 2),
        ("2 ^ 3 * 2", 16),
        ("2 ^ -1", 0.5),
        ("-2 + 5", 3),
        ("- -2", 2),
        ("mix(1, 3, 0.25)", 1.5),
        ("min(3, 1, 2) + max(3, 1, 2)", 4),
        ("sqrt(2)", math.sqrt(2)),
        ("sin(30 deg)", 0.5),
        ("cos(60)", 0.5),
        ("sin(1 rad)", math.sin(1)),
        ("length((3, 4, 0))", 5),
        ("length(normalize((3, 4, 7)))", 1),
        ("90 deg / 30 deg", 3),
        ("abs(-2) + floor(1.7) + round(1.5)", 5),
        ("length((1, 2, 2) * 2 / 3)", 2),
        ("1e-3", 0.001),
    ],
)
def test_arithmetic(expression: str, expected: float) -> None:
    # One rounding of the trigonometric functions.
    assert value(expression) == pytest.approx(expected, abs=1e-11)


def test_vectors_and_components() -> None:
    operation = only("let back = (1, 2, 3)\nat step 3 move all by (back.z, -back.y, 0) + x * 2")
    assert isinstance(operation, o.Move)
    assert operation.by == (5.0, -2.0, 0.0)


def test_a_part_keeps_the_name_that_it_was_declared_under() -> None:
    operation = only(HEAD + "at step 3 remove head & not (all - head grow 0.1)")
    assert isinstance(operation, o.Remove)
    ball = v.ShapePart(shape=v.Sphere(center=(0.0, 0.3, 0.3), radius=0.15))
    head = v.DeclaredPart(name="head", part=ball)
    rest = v.DifferencePart(left=v.AllPart(), right=v.GrowPart(part=head, by=0.1))
    assert operation.part == v.IntersectionPart(left=head, right=v.NotPart(part=rest))


def test_clicks_views_and_colours_select() -> None:
    operation = only(
        "view front = orbit azimuth 0 elevation 10 distance 2\n"
        "at step 3 remove (click (128, 90) in front, (1, 2) in orbit azimuth 90 elevation 0 size 256) + (color red within 0.2)"
    )
    assert isinstance(operation, o.Remove)
    assert isinstance(operation.part, v.UnionPart)
    clicks = operation.part.left
    assert isinstance(clicks, v.ClickPart)
    assert clicks.size == 256
    assert [click.view.name for click in clicks.clicks] == ["front", None]
    assert operation.part.right == v.ColorPart(color=p.COLORS["red"], tolerance=0.2)


def test_settings_of_the_run() -> None:
    made = program(
        'avoid "blurry"\nseed 7\nguidance reference "a.ply", "b.ply"\nsplats 400 in box (-1, -1, -1) .. (1, 1, 1)\n'
        'set lr.position 0.01\nset background random\nset densify.enabled off\nset camera.fov 30 deg\nset run.note "hello"\nset batch 8\n'
        "repair for 30 steps noise 0.1 .. 0.3 anchor 2\n"
    )
    assert made.avoid == "blurry"
    assert made.seed == 7
    assert made.steps == 1200
    assert made.guidance == p.GuidanceChoice(name="reference", models=("a.ply", "b.ply"))
    assert made.initial == p.InitShape(count=400, shape=v.Box(low=(-1.0, -1.0, -1.0), high=(1.0, 1.0, 1.0)))
    assert dict(made.settings) == {
        "lr.position": 0.01,
        "background": "random",
        "densify.enabled": False,
        "camera.fov": 30.0,
        "run.note": "hello",
        "batch": 8,
    }
    assert made.repair == p.RepairPolicy(enabled=True, steps=30, noise=(0.1, 0.3), anchor=2.0)
    assert program("repair off").repair == p.RepairPolicy(enabled=False)
    assert program("splats 40 from text").initial == p.InitText(count=40)
    assert program('splats 40 from "m.glb"').initial == p.InitMesh(count=40, path="m.glb")
    assert program('splats from "m.ply"').initial == p.InitSplats(path="m.ply")


def test_operations_stand_in_the_order_of_their_steps_then_of_the_text() -> None:
    made = program(
        HEAD
        + "at end checkpoint\nat step 30 paint head red\nwhen loss < 0.1 pause\nat step 20 paint head blue\nat step 30 freeze head\n"
        'every 10 steps checkpoint\nat start print "go"\n'
    )
    kinds = [type(op).__name__ for op in made.operations]
    assert kinds == ["Print", "Checkpoint", "Paint", "Paint", "Freeze", "Pause", "Checkpoint"]


def test_params_and_overrides() -> None:
    script = 'param lift = 0.35 in 0 .. 0.8 "how far"\nparam horns = on\nif horns {\n  at step 3 move all by (0, lift, 0)\n}\n'
    made = program(script)
    assert made.params[0] == p.Param(name="lift", value=0.35, default=0.35, low=0.0, high=0.8, help="how far")
    chosen = (("lift", "0.5"), ("lr.position", "0.25"), ("seed", "9"), ("steps", "50"), ("prompt", "a red dragon"))
    made = program(script, overrides=chosen)
    (move,) = made.operations
    assert isinstance(move, o.Move)
    assert move.by == (0.0, 0.5, 0.0)
    assert made.params[0].value == 0.5
    assert made.params[0].default == 0.35
    assert (made.seed, made.steps, made.prompt) == (9, 50, "a red dragon")
    assert dict(made.settings) == {"lr.position": 0.25}
    assert program(script, overrides=(("horns", "off"),)).operations == ()
    assert codes(check(script, overrides=(("lr.position", "7"),))) == ["E0401"]
    assert codes(check(script, overrides=(("steps", "many"),))) == ["E0201"]


def test_loops_and_texts_are_filled_in() -> None:
    made = program(
        'for name in ["red", "blue"] {\n  for i in 1 .. 2 {\n    at step 100 * i print "{name} {i} {step}"\n  }\n}\n'
    )
    assert [op.text for op in made.operations if isinstance(op, o.Print)] == [
        "red 1 {step}",
        "blue 1 {step}",
        "red 2 {step}",
        "blue 2 {step}",
    ]


def test_what_an_if_leaves_out_is_checked_all_the_same() -> None:
    assert codes(check("if off {\n  at step 3 remove haed\n}")) == ["E0207"]
    assert program(
        "if 1 > 2 {\n  at step 3 remove all\n} else if 2 > 1 {\n  at step 4 keep all\n} else {\n  at step 5 pause\n}"
    ).operations == (o.Keep(when=v.AtStep(step=4), part=v.AllPart()),)


GESTURE = """gesture flap(wing: part, up: vector = (0, 0.2, 0), times: count = 2 in 1 .. 5 "how often") "up and down" {
  for i in 1 .. times {
    at step (i - 1) * 20 move wing by up
    at step (i - 1) * 20 + 10 move wing by -up
  }
  down: at step 60 rotate wing by 10 deg about x
  after down + 5 steps paint wing red
}
"""


def test_a_gesture_counts_its_steps_from_the_call() -> None:
    made = program(HEAD + GESTURE + "at step 100 flap(head)\nat step 400 flap(all, times = 1, up = (0, 1, 0))\n")
    assert [op.when for op in made.operations] == [
        *(v.AtStep(step=100 + s) for s in (0, 10, 20, 30, 60)),
        v.After(label=str(made.operations[4].label), plus=5),
        *(v.AtStep(step=400 + s) for s in (0, 10, 60)),
        v.After(label=str(made.operations[8].label), plus=5),
    ]
    assert [op.when.step for op in made.operations if isinstance(op.when, v.After)] == [165, 465]
    moves = [op.by for op in made.operations if isinstance(op, o.Move)]
    assert moves == [(0.0, 0.2, 0.0), (0.0, -0.2, 0.0)] * 2 + [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0)]
    head = made.operations[0]
    assert isinstance(head, o.Move)
    assert head.part == made.parts[0]


def test_a_gesture_that_repeats_or_waits_moves_with_its_call() -> None:
    script = "gesture blink(what: part) {\n  paint what red\n  at step 5 paint what blue\n}\n"
    made = program(script + "every 50 steps from 100 to 200 blink(all)")
    assert [op.when for op in made.operations] == [v.Every(n=50, start=100, end=200), v.Every(n=50, start=105, end=205)]
    made = program(script + "a: when loss < 0.1 pause\nafter a + 7 steps blink(all)")
    assert [op.when for op in made.operations if isinstance(op, o.Paint)] == [
        v.After(label="a", plus=7),
        v.After(label="a", plus=12),
    ]


def test_an_error_in_a_gesture_is_told_once_and_with_its_call() -> None:
    loaded = check(
        "gesture g(r: number) {\n  remove sphere at (0, 0, 0) radius r\n}\nat step 1 g(0)\nat step 2 g(-1)\n"
    )
    (fault,) = loaded.diagnostics
    assert fault.code == "E0402"
    assert fault.span.line == 4
    assert fault.related[0].span.line == 6
    assert codes(check("gesture g(r: number) {\n  remove haed\n  move all by r\n}\n"))[:2] == ["W0802", "E0207"]


def test_arguments_of_every_type() -> None:
    made = program(
        "view front = orbit azimuth 0 elevation 10\n"
        "gesture g(a: number, n: count, t: angle, p: vector, c: color, s: text, w: part, e: view, b: switch, l: list, k: tag) {\n"
        "  if b {\n    add sphere at p radius a count n color c as k\n  }\n"
        '  for name in l {\n    snapshot "{s}_{name}.png" from e\n  }\n'
        "  rotate w by t about y\n  paint k c\n}\n"
        'at step 3 g(0.1, 20, 20 deg, (0, 1, 0), red, "x", all, front, on, ["a", "b"], horn)\n'
        "at step 4 paint horn blue\n"
    )
    assert [type(op).__name__ for op in made.operations] == [
        "AddShape",
        "SnapshotImage",
        "SnapshotImage",
        "Rotate",
        "Paint",
        "Paint",
    ]
    last = made.operations[-1]
    assert isinstance(last, o.Paint)
    assert last.part == v.NamedPart(name="horn")


def test_tags_of_gestures_and_loops_stay_apart() -> None:
    made = program(
        "gesture ball(at_x: number) {\n  add sphere at (at_x, 0, 0) radius 0.1 count 20 color red as ball_new\n  paint ball_new blue\n}\n"
        "for i in 1 .. 3 {\n  at step i ball(i / 10)\n}\n"
    )
    assert [op.name for op in made.operations if isinstance(op, o.AddShape)] == ["ball_new", "ball_new_2", "ball_new_3"]
    assert [op.part for op in made.operations if isinstance(op, o.Paint)] == [
        v.NamedPart(name=name) for name in ("ball_new", "ball_new_2", "ball_new_3")
    ]


def test_labels_of_groups_wait_for_all_of_the_group() -> None:
    made = program(
        HEAD + 'both: at step 100 {\n  edit head with "red wings" for 50 steps\n  long: repair all for 80 steps\n}\n'
        "after both + 3 steps remove head\nafter long move all by (0, 0.1, 0)\n"
    )
    waits = {type(op).__name__: op.when for op in made.operations if isinstance(op.when, v.After)}
    assert {name: when.step for name, when in waits.items()} == {"Remove": 183, "Move": 180}
    assert [op.label for op in made.operations if isinstance(op, o.TermOperation)] == ["both", "long"]


def test_defaults_of_the_engine_tell_when_a_label_is_over() -> None:
    script = "a: at step 100 drag from (0, 0, 0) to (0, 1, 0) rigid\nafter a pause\n"
    assert [op.when.step for op in program(script).operations if isinstance(op.when, v.After)] == [200]
    assert [
        op.when.step for op in program("set drag.steps 30\n" + script).operations if isinstance(op.when, v.After)
    ] == [130]
    unknown = loads(whole(script)).program
    assert unknown is not None
    assert [op.when.step for op in unknown.operations if isinstance(op.when, v.After)] == [None]


def test_all_faults_of_a_file_in_one_go() -> None:
    loaded = check(
        "seed x1\nlet a = 1 +\nat step 5 remove haed\nat stepp 3 pause\nat step 1 {\n  paint all redd\n  move all by 3\n}\nat step 9999 pause\n"
    )
    assert codes(loaded) == ["E0201", "W0802", "E0111", "E0207", "E0109", "E0205", "E0301", "E0601"]


def test_a_broken_line_does_not_cost_its_neighbours() -> None:
    """What a line in error declared is not reported again wherever it is used."""
    assert codes(check("let a = 3 3\nat step 1 move all by (a, 0, 0)")) == ["E0110"]
    assert codes(check("gesture g(a: part) {\n  remove a a\n}\nat step 1 g(all)\n")) == ["W0802", "E0110"]
    assert codes(check("at step 3 {\n  remove all all\n  paint all redd\n}\n")) == ["E0110", "E0205"]


LIBRARY = """param depth = 0.2 in 0 .. 1
let middle = (0, 0.5, 0)
part top = sphere at middle radius depth
view above = orbit azimuth 0 elevation 80
gesture press(what: part) {
  stretch what by (1, 1 - depth, 1)
}
"""


def test_use_gives_names_in_a_namespace(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "shapes.sculpt").write_text(LIBRARY)
    script = (
        'use "lib/shapes.sculpt"\nuse "lib/shapes.sculpt" as s\nat step 1 shapes.press(s.top)\nat step 2 move all to s.middle\n'
        'at step 3 snapshot "a.png" from shapes.above\n'
    )
    made = program(script, tmp_path)
    press = made.operations[0]
    assert isinstance(press, o.Stretch)
    assert isinstance(press.part, v.DeclaredPart)
    assert press.part.name == "shapes.top"
    assert [Path(source.path).name for source in made.sources] == ["main.sculpt", "shapes.sculpt"]
    assert made.params[0].name == "shapes.depth"
    chosen = program(script, tmp_path, overrides=(("shapes.depth", "0.5"),))
    stretch = chosen.operations[0]
    assert isinstance(stretch, o.Stretch)
    assert stretch.by == (1.0, 0.5, 1.0)


def test_the_objects_of_a_reference_have_to_be_there(tmp_path: Path) -> None:
    script = 'prompt "zyzzyva"\nsteps 3\nguidance reference "a.ply", "b.GLB"\n'
    (tmp_path / "a.ply").write_text("ply")

    def found() -> list[tuple[str, str]]:
        loaded = loads(script, context(tmp_path), path=tmp_path / "main.sculpt")
        return [(d.code, d.message) for d in loaded.diagnostics]

    # Its words are not judged by another guidance, which it would be without.
    assert found() == [("E0707", "there is no file `b.GLB`")]
    (tmp_path / "b.GLB").write_bytes(b"glb")
    assert found() == []
    script = script.replace("a.ply", "a.txt")
    assert [code for code, _ in found()] == ["E0706"]


def test_the_library_serves_where_the_folder_does_not(tmp_path: Path) -> None:
    library, mine = tmp_path / "bundled", tmp_path / "mine"
    (library / "lib").mkdir(parents=True)
    mine.mkdir()
    (library / "lib" / "shapes.sculpt").write_text(
        'use "lib/deeper.sculpt" as d\n' + LIBRARY.replace("(0, 0.5, 0)", "d.place")
    )
    (library / "lib" / "deeper.sculpt").write_text("let place = (1, 1, 1)\n")
    made = program('use "lib/shapes.sculpt" as s\nat step 1 s.press(s.top)\n', mine, library=library)
    assert len(made.sources) == 3


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("../outside.sculpt", "E0702"),
        ("lib/../../outside.sculpt", "E0702"),
        ("/etc/passwd.sculpt", "E0703"),
        ("C:/x.sculpt", "E0703"),
        ("~/x.sculpt", "E0703"),
        ("lib\\\\x.sculpt", "E0703"),
        ("lib/x.txt", "E0710"),
        ("link.sculpt", "E0704"),
        ("linked/outside.sculpt", "E0704"),
        ("nothing.sculpt", "E0701"),
    ],
)
def test_imports_cannot_leave_their_root(tmp_path: Path, written: str, code: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.sculpt").write_text("let a = 1\n")
    (root / "link.sculpt").symlink_to(tmp_path / "outside.sculpt")
    (root / "linked").symlink_to(tmp_path)
    assert codes(check(f'use "{written}" as _m\n', root)) == [code]


def test_files_that_cannot_be_scripts(tmp_path: Path) -> None:
    path = tmp_path / "a.sculpt"
    assert codes(load(path)) == ["E0701"]
    path.write_bytes(b'prompt "\xff\xfe"\n')
    assert codes(load(path)) == ["E0113"]
    path.write_bytes(b"# " + b"x" * (9 << 20))
    assert codes(load(path)) == ["E0113"]
    path.write_bytes(b'\xef\xbb\xbfprompt "a green dragon"\r\nsteps 10\r\nat step 3 paint all red\r\n')
    loaded = load(path, context())
    assert loaded.program is not None
    assert [d.code for d in loaded.diagnostics] == []


def test_stage_two_begins_with_distill() -> None:
    made = program(
        HEAD
        + 'at step 300 distill over 200 steps\nat step 500 refine head for 50 steps\nat step 600 edit head with "red" for 9 steps\n'
    )
    assert [op.stage for op in made.operations] == [o.Stage.SPLATS, o.Stage.FIELD, o.Stage.BOTH]


def test_drags_of_regions_apart_may_run_at_once() -> None:
    two = "at step 300 drag from ({}, 0, 0) to (0, 0.2, 0) radius 0.1 rigid over 100 steps\n"
    assert codes(check(two.format(0.15) + two.format(-0.15))) == []
    assert codes(check(two.format(0.05) + two.format(-0.05))) == ["E0607"]
    assert codes(check(two.format(0.05) + two.format(-0.05).replace("300", "400"))) == []
    tags = "at step 1 add sphere at (0, 0, 0) radius 0.1 count 9 color red as ball\n"
    drag = "at step 300 drag ball from (0, 0, 0) to (0, 0.2, 0) rigid over 100 steps\n"
    assert codes(check(tags + drag + drag.replace("300", "350"))) == ["E0607"]


def test_a_part_whose_refinement_was_taken_back_can_be_refined_again() -> None:
    script = HEAD + "at step 100 distill over 100 steps\nat step 300 refine head for 50 steps\n"
    assert codes(check(script + "at step 400 remove head\nat step 500 refine head for 50 steps\n")) == []


def test_a_part_that_is_gone_before_the_field_is_made_cannot_be_refined() -> None:
    script = HEAD + "at step 50 remove head\nat step 100 distill over 100 steps\nat step 300 refine head for 50 steps\n"
    assert codes(check(script)) == ["E0608"]


def test_a_removed_part_can_be_filled_again() -> None:
    script = HEAD + "at step 300 remove head\n{}at step 500 paint head red\n"
    assert codes(check(script.format(""))) == ["E0608"]
    assert (
        codes(check(script.format("at step 400 add sphere at (0, 0.3, 0.3) radius 0.1 count 9 color red as _b\n")))
        == []
    )


def test_spans_point_into_the_text() -> None:
    script = whole(HEAD + "at step 30 {\n  paint head red\n}\n")
    loaded = loads(script, context(), name="x.sculpt")
    assert loaded.program is not None
    span = loaded.program.operations[0].span
    assert span is not None
    assert script[span.start : span.end] == "paint head red"
    assert str(span) == "x.sculpt:5:3"


@pytest.mark.parametrize("formals", ["(angle = 10 deg)", "(a: number, angle)", "(angle)"])
def test_an_argument_without_a_type_is_told_so(formals: str) -> None:
    loaded = loads(f'prompt "x"\nsteps 9\ngesture w{formals} {{\n  at step 0 paint all red\n}}\n')
    (fault,) = loaded.errors
    assert fault.code == "E0110" and "`:` and a type" in fault.message and "`angle: number`" in (fault.help or "")
