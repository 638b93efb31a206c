"""Diagnostics E03xx: a value is of the wrong type."""

from interactive3d.dsl.diagnostics import Entry

ENTRIES = (
    Entry(
        code="E0301",
        message="expected {expected}, found {found}",
        label="not {expected}",
        why="Every place in a statement takes one type of value: a number, an angle, a vector, a text, a part, a view.",
        wrong="at step 300 move all by 0.1",
        right="at step 300 move all by (0, 0.1, 0)",
    ),
    Entry(
        code="E0302",
        message="`{op}` does not work on {types}",
        label="here",
        why=(
            "Numbers have + - * / ^, vectors + - and * / by a number, angles + - and * / by a number, parts + - & "
            "not grow, truths and or not."
        ),
        wrong="let a = (1, 0, 0) * (0, 1, 0)",
        right="let a = (1, 0, 0) * 2",
    ),
    Entry(
        code="E0303",
        message="expected a whole number, found {found}",
        label="not whole",
        help="round(…) gives a whole number",
        why="Steps, counts and sizes are whole numbers.",
        wrong="at step 300.5 paint all red",
        right="at step 300 paint all red",
    ),
    Entry(
        code="E0304",
        message="an angle needs its unit",
        label="degrees or radians?",
        help="write {found} deg",
        why="A bare number could mean degrees or radians. Only views, whose angles are always degrees, take it.",
        wrong="at step 300 rotate all by 20 about y",
        right="at step 300 rotate all by 20 deg about y",
    ),
    Entry(
        code="E0305",
        message="a vector has three components, this has {count}",
        label="{count} components",
        help="write (x, y, z)",
        why="Points, vectors and colours have three components.",
        wrong="let back = (0, 0.18)",
        right="let back = (0, 0.18, -0.05)",
    ),
    Entry(
        code="E0306",
        message="`{name}` cannot be called with {given}",
        label="wrong arguments",
        why="A function or gesture takes its arguments in their order, each of its type.",
        wrong="let h = sqrt(1, 2)",
        right="let h = sqrt(2)",
    ),
    Entry(
        code="E0307",
        message="`{callee}` has no argument `{name}`",
        label="unknown argument",
        why="An argument can be given by its name; the name is that of the declaration.",
        wrong=(
            "gesture squash(what: part, much: number = 0.5) {\n  stretch what by much\n}\nat step 300 squash(all, "
            "amount = 0.4)"
        ),
        right=(
            "gesture squash(what: part, much: number = 0.5) {\n  stretch what by much\n}\nat step 300 squash(all, "
            "much = 0.4)"
        ),
    ),
    Entry(
        code="E0308",
        message="the argument `{name}` is given twice",
        label="given again here",
        help="take one away",
        why="Each argument is given once, in its place or by its name.",
        wrong="gesture squash(what: part) {\n  remove what\n}\nat step 300 squash(all, what = all)",
        right="gesture squash(what: part) {\n  remove what\n}\nat step 300 squash(what = all)",
    ),
    Entry(
        code="E0309",
        message="`{callee}` needs its argument `{name}`",
        label="`{name}` is missing",
        why="An argument without a default has to be given.",
        wrong="gesture squash(what: part) {\n  remove what\n}\nat step 300 squash()",
        right="gesture squash(what: part) {\n  remove what\n}\nat step 300 squash(all)",
    ),
    Entry(
        code="E0310",
        message="a condition is on or off, this is {found}",
        label="not on or off",
        help="compare it: … > 0",
        why="`if` takes a comparison, a switch, or several joined by `and`, `or` and `not`.",
        wrong="param horns = 2 in 0 .. 4\nif horns {\n  at step 300 paint all red\n}",
        right="param horns = 2 in 0 .. 4\nif horns > 0 {\n  at step 300 paint all red\n}",
    ),
    Entry(
        code="E0311",
        message="`for` runs over a list or a range",
        label="neither",
        help="write [1, 2, 3] or 1 .. 3",
        why="A loop takes each value of a list, or each whole number of a range, ends included.",
        wrong="for i in 3 {\n  at step 300 + i paint all red\n}",
        right="for i in 1 .. 3 {\n  at step 300 + i paint all red\n}",
    ),
    Entry(
        code="E0312",
        message="`{path}` takes {expected}, this is {found}",
        label="not {expected}",
        why="Every setting has a type; the settings reference lists them.",
        wrong='set lr.position "fast"',
        right="set lr.position 0.005",
    ),
    Entry(
        code="E0313",
        message="`{path}` is one of {choices}",
        label="not a choice",
        why="Some settings are a choice from a list.",
        wrong="set background withe",
        right="set background white",
    ),
    Entry(
        code="E0314",
        message="`{name}.{rest}` does not exist: `{name}` is {type}",
        label="no such component",
        help="vectors have .x .y and .z",
        why="A point after a name takes a component of a vector, or a name of a used file.",
        wrong="let back = (0, 0.18, -0.05)\nlet h = back.w",
        right="let back = (0, 0.18, -0.05)\nlet h    = back.y",
    ),
    Entry(
        code="E0315",
        message="`{unit}` stands after a number, this is {found}",
        label="not a number",
        why="`deg` and `rad` make an angle of a number.",
        wrong="let tilt = 20 deg\nat step 300 rotate all by tilt deg about y",
        right="let tilt = 20 deg\nat step 300 rotate all by tilt about y",
    ),
    Entry(
        code="E0316",
        message="a click is a pixel: (x, y)",
        label="two numbers are needed",
        help="write click (128, 90) in front",
        why="A click names a pixel by x to the right and y down, and the view that it was made in.",
        wrong="view front = orbit azimuth 0 elevation 10\npart cloak = click 128 in front",
        right="view front = orbit azimuth 0 elevation 10\npart cloak = click (128, 90) in front",
    ),
    Entry(
        code="E0317",
        message="a mirror stands across x, y or z",
        label="not an axis",
        help="write across x",
        why="`mirror PART across x` reflects at the plane whose normal is the x axis.",
        wrong="at step 300 mirror all across left",
        right="at step 300 mirror all across x",
    ),
    Entry(
        code="E0318",
        message="a param is not an angle",
        label="an angle",
        help="make it a number and write the unit where it is used: by tilt * 1 deg",
        why="Params are shown as sliders and given on the command line, as plain numbers.",
        wrong="param tilt = 20 deg in 0 .. 90",
        right="param tilt = 20 in 0 .. 90",
    ),
    Entry(
        code="E0319",
        message="only a number has a range, this is {found}",
        label="not needed",
        why="A range makes a slider of a number.",
        wrong='param tint = "red" in 0 .. 1',
        right="param tint = 0.5 in 0 .. 1",
    ),
    Entry(
        code="E0320",
        message="`{name}` cannot be set to `{text}`: expected {expected}",
        label="given outside the script",
        why="A value given with `--set` has the type of what it replaces.",
        wrong="param lift = 0.35 in 0 .. 0.8",
        right="param lift = 0.35 in 0 .. 0.8",
        wrong_set=(("lift", "high"),),
        right_set=(("lift", "0.5"),),
    ),
    Entry(
        code="E0321",
        message="`{name}` takes a name for what is added",
        label="not a name",
        help="write the name without quotes",
        why="An argument of type `tag` is a new name, under which the gesture adds something.",
        wrong=(
            "gesture grow_ball(name: tag) {\n  add sphere at (0, 0.5, 0) radius 0.1 count 200 color red as "
            'name\n}\nat step 300 grow_ball("ball")'
        ),
        right=(
            "gesture grow_ball(name: tag) {\n  add sphere at (0, 0.5, 0) radius 0.1 count 200 color red as "
            "name\n}\nat step 300 grow_ball(ball)"
        ),
    ),
    Entry(
        code="E0322",
        message="arguments without a name come first",
        label="after a named one",
        help="give it by its name",
        why="Once an argument is given by its name, those after it are too.",
        wrong=(
            "gesture squash(what: part, much: number) {\n  stretch what by much\n}\nat step 300 squash(what = all, 0.5)"
        ),
        right=(
            "gesture squash(what: part, much: number) {\n  stretch what by much\n}\nat step 300 squash(all, much = 0.5)"
        ),
    ),
)
