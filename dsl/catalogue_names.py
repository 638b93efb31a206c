"""Diagnostics E02xx: a name means nothing, or too much."""

from interactive3d.dsl.diagnostics import Entry

ENTRIES = (
    Entry(
        code="E0201",
        message="nothing is called `{name}`",
        label="not found here",
        why=(
            "Names are declared with `let`, `param`, `part`, `view` and `gesture`, come from `use`, or are given "
            "by `as` when something is added. A name holds from its declaration to the end of its file or block."
        ),
        wrong="let back = (0, 0.18, -0.05)\nlet side = bcak + (0.15, 0, 0)",
        right="let back = (0, 0.18, -0.05)\nlet side = back + (0.15, 0, 0)",
    ),
    Entry(
        code="E0202",
        message="nothing is called `{name}` in this text",
        label="not found here",
        why=(
            "`{name}` in a text is filled in with a param, a `let`, a loop's name or an argument. `{step}` stays "
            "for the run to fill in."
        ),
        wrong='let tint = "red"\nat step 300 edit all with "a {tnt} dragon"',
        right='let tint = "red"\nat step 300 edit all with "a {tint} dragon"',
    ),
    Entry(
        code="E0203",
        message="there is no setting `{path}`",
        label="unknown setting",
        why=(
            "`set` and `ramp` take the path of a setting of the engine. The settings reference lists them with "
            "their ranges."
        ),
        wrong="set lr.postion 0.005",
        right="set lr.position 0.005",
    ),
    Entry(
        code="E0204",
        message="`{name}` is declared twice",
        label="declared again here",
        help="choose another name, or take one of the two away",
        why="A name has one meaning in its file or block.",
        wrong="let lift = 0.2\nlet lift = 0.3",
        right="let lift      = 0.2\nlet lift_late = 0.3",
    ),
    Entry(
        code="E0205",
        message="no colour is called `{name}`",
        label="unknown colour",
        why=(
            "A colour is a name from the list, six hexadecimal digits after `#`, or a vector of red, green and "
            "blue in 0 .. 1."
        ),
        wrong="at step 300 paint all redd",
        right="at step 300 paint all red",
    ),
    Entry(
        code="E0206",
        message="no view is called `{name}`",
        label="unknown view",
        why="A view is declared with `view NAME = orbit …`, or written in place.",
        wrong='view front = orbit azimuth 0 elevation 10\nat step 300 snapshot "a.png" from fornt',
        right='view front = orbit azimuth 0 elevation 10\nat step 300 snapshot "a.png" from front',
    ),
    Entry(
        code="E0207",
        message="no part is called `{name}`",
        label="unknown part",
        why="A part is declared with `part NAME = …`, or is a tag: what was added, duplicated or mirrored `as NAME`.",
        wrong="part wing_left = sphere at (0.3, 0, 0) radius 0.1\nat step 300 remove wing_lft",
        right="part wing_left = sphere at (0.3, 0, 0) radius 0.1\nat step 300 remove wing_left",
    ),
    Entry(
        code="E0208",
        message="no gesture is called `{name}`",
        label="unknown gesture",
        why=(
            "A gesture is declared with `gesture NAME(…) { … }` above its first call, or comes from a used file: "
            "`file.NAME(…)`."
        ),
        wrong="gesture squash(what: part) {\n  stretch what by (1, 0.5, 1)\n}\nat step 300 sqash(all)",
        right="gesture squash(what: part) {\n  stretch what by (1, 0.5, 1)\n}\nat step 300 squash(all)",
    ),
    Entry(
        code="E0209",
        message="no label `{name}` stands above this",
        label="unknown label",
        why="`after` waits for an event that has a label: `name: at step 300 …`. The label stands above its use.",
        wrong="turn: at step 300 rotate all by 20 deg about y\nafter trun paint all red",
        right="turn: at step 300 rotate all by 20 deg about y\nafter turn paint all red",
    ),
    Entry(
        code="E0210",
        message="the label `{name}` is given twice",
        label="given again here",
        help="choose another label",
        why="A label names one event or group.",
        wrong="a: at step 300 remove all\na: at step 400 remove all",
        right="a: at step 300 paint all red\nb: at step 400 paint all blue",
    ),
    Entry(
        code="E0211",
        message="there is no metric `{name}`",
        label="unknown metric",
        why="`when` watches a metric of the run.",
        wrong="when los < 0.1 checkpoint",
        right="when loss < 0.1 checkpoint",
    ),
    Entry(
        code="E0212",
        message="there is no function `{name}`",
        label="unknown function",
        why="Expressions may call the functions of the language; gestures are called as statements.",
        wrong="let h = maximum(0.1, 0.2)",
        right="let h = max(0.1, 0.2)",
    ),
    Entry(
        code="E0213",
        message="`{space}` has nothing called `{name}`",
        label="not found in `{space}`",
        why='After `use "lib/x.sculpt" as x` the names of that file are written `x.name`.',
        wrong='use "lib/horns.sculpt" as horns\nat step 300 horns.grw()',
        right='use "lib/horns.sculpt" as horns\nat step 300 horns.grow_one()',
        files=(("lib/horns.sculpt", "gesture grow_one() {\n  paint all red\n}"),),
    ),
    Entry(
        code="E0214",
        message="`{name}` is used above its declaration",
        label="declared below, on line {line}",
        help="move the declaration up",
        why="A script is read from top to bottom; a name holds from its declaration on.",
        wrong="let side = back + (0.15, 0, 0)\nlet back = (0, 0.18, -0.05)",
        right="let back = (0, 0.18, -0.05)\nlet side = back + (0.15, 0, 0)",
    ),
    Entry(
        code="E0215",
        message="`{name}` is a function already",
        label="taken",
        help="choose another name",
        why="A gesture cannot have the name of a function.",
        wrong="gesture mix(what: part) {\n  paint what red\n}",
        right="gesture blend(what: part) {\n  paint what red\n}",
    ),
    Entry(
        code="E0216",
        message="there is no type `{name}`",
        label="unknown type",
        why="An argument of a gesture is a number, count, angle, vector, color, text, part, view, switch, list or tag.",
        wrong="gesture squash(what: prat) {\n  remove what\n}",
        right="gesture squash(what: part) {\n  remove what\n}",
    ),
    Entry(
        code="E0217",
        message="there is no guidance `{name}`",
        label="unknown guidance",
        why="`guidance` names the prior that leads the object: the embedded one, a diffusion model, or a reference.",
        wrong="guidance embeded",
        right="guidance embedded",
    ),
    Entry(
        code="E0218",
        message="nothing can be set that is called `{name}`",
        label="given outside the script",
        why=(
            "`--set NAME=VALUE` takes a param of the script, the path of a setting, or `prompt`, `avoid`, `seed`, "
            "`steps`."
        ),
        wrong="param lift = 0.35 in 0 .. 0.8",
        right="param lift = 0.35 in 0 .. 0.8",
        wrong_set=(("lft", "0.5"),),
        right_set=(("lift", "0.5"),),
    ),
)
