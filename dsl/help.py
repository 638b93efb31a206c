"""One form and one sentence per word that a statement or clause begins with: the hover help of editors, and tables of the reference."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Help:
    form: str
    text: str


STATEMENTS: dict[str, Help] = {
    "prompt": Help('prompt "text"', "What the object is."),
    "avoid": Help('avoid "text"', "The negative prompt."),
    "seed": Help("seed N", "Where randomness begins: the same seed gives the same object."),
    "steps": Help("steps N", "How long the whole run is, both stages."),
    "guidance": Help('guidance NAME ["model", …]', "Which prior leads the object."),
    "splats": Help(
        'splats N in SHAPE | splats N from text | splats N from "mesh.glb" | splats from "file.ply"', "The first blobs."
    ),
    "set": Help("set PATH VALUE", "A setting by its path; with a moment, from that step on."),
    "repair": Help(
        "repair [PART] [for N steps] [noise A .. B] [anchor W] | repair on | repair off",
        "Closes gaps and cleans noise without undoing what was done; as a setting, what follows every interaction.",
    ),
    "param": Help(
        'param NAME = VALUE [in LOW .. HIGH] ["help"]', "A value that can be set outside the script: a slider, `--set`."
    ),
    "let": Help("let NAME = VALUE", "A name for a value."),
    "part": Help("part NAME = PART", "A name for a part, shown in messages and panels."),
    "view": Help("view NAME = orbit azimuth A elevation A …", "A name for a camera."),
    "gesture": Help(
        'gesture NAME(argument: type = default, …) ["help"] { … }',
        "A group of events with arguments; its steps count from the call.",
    ),
    "use": Help('use "lib/x.sculpt" [as NAME]', "Makes the names of another file available as `NAME.…`."),
    "for": Help("for NAME in LIST | A .. B { … }", "Repeats statements when the script is read."),
    "if": Help("if CONDITION { … } [else { … }]", "Chooses statements when the script is read."),
    "at": Help("at start | at step N | at end", "When an event happens."),
    "from": Help("from step A to B", "Over these steps: for `ramp` and `record timelapse`."),
    "every": Help("every N steps [from A to B]", "Again and again."),
    "after": Help("after LABEL [+ N steps]", "Once everything under a label is over."),
    "when": Help("when METRIC < VALUE [for N steps]", "Once, when a metric has stayed there for N steps."),
    "add": Help(
        'add "file" [part NAME] [at P] [scale S] [rotate A deg about AXIS] as NAME | add SHAPE count N color C as NAME',
        "Brings a file or a filled shape into the scene, under a name.",
    ),
    "remove": Help("remove PART", "Takes a part away."),
    "keep": Help("keep PART", "Takes everything else away."),
    "duplicate": Help("duplicate PART [by V] as NAME", "Adds a copy, moved by V."),
    "mirror": Help(
        "mirror PART across x|y|z [through P] [as NAME]", "Reflects a part; with a name, adds its reflection."
    ),
    "move": Help("move PART by V | move PART to P", "Moves a part by a way, or its box's centre to a point."),
    "rotate": Help(
        "rotate PART by A deg about x|y|z|V [through P]",
        "Turns a part, through its box's centre unless said otherwise.",
    ),
    "stretch": Help("stretch PART by S|V [about P]", "Stretches a part, about its box's centre unless said otherwise."),
    "paint": Help("paint PART C", "Gives a part a colour."),
    "freeze": Help("freeze PART", "Its blobs take no gradient until they are thawed."),
    "thaw": Help("thaw PART", "Ends a freeze."),
    "densify": Help("densify [PART]", "Clones and splits blobs by screen gradient, now."),
    "prune": Help("prune [PART] [below OPACITY]", "Removes faint blobs, now."),
    "drag": Help(
        "drag [PART] from P to P [radius R] rigid|deformable [form point|offset] [over N steps] [step ALPHA] [motion W] [rigidity W]",
        "Pulls a part to another place while the object goes on being optimized.",
    ),
    "edit": Help(
        'edit PART with "text" [for N steps] [noise A .. B] [zoom Z] [scale G]',
        "Makes a part what a text says; the rest stays as it is.",
    ),
    "distill": Help(
        "distill [over N steps] [size PIXELS]", "Turns the splats into a field: stage II begins when it is over."
    ),
    "refine": Help(
        'refine PART [with "text"] [levels L] [features F] [capacity 2^K] [for N steps] [noise A .. B]',
        "Adds detail to a region of the field, in hash tables of its own.",
    ),
    "ramp": Help("from step A to B ramp PATH VALUE -> VALUE", "Moves a setting evenly between two steps."),
    "checkpoint": Help('checkpoint ["name"]', "Saves everything needed to go on from here."),
    "pause": Help("pause", "Waits for the user, where there is a window."),
    "print": Help('print "text"', "Says something in the log."),
    "snapshot": Help('snapshot "x.png" from VIEW [size W [x H]]', "Writes a picture."),
    "export": Help(
        'export splats|mesh|field "file" [resolution N] [texture N] [faces N] [threshold T|auto]', "Writes the object."
    ),
    "record": Help(
        'record turntable "file" [seconds S] [fps N] [size W [x H]] [elevation A] [from VIEW] | record timelapse "file" every N steps [from VIEW]',
        "Writes a film.",
    ),
}

WORDS: dict[str, Help] = {
    "sphere": Help("sphere at P radius R", "A ball."),
    "box": Help("box P .. P", "A box along the axes, from its low to its high corner."),
    "ellipsoid": Help(
        "ellipsoid at P radii V [rotate A deg about AXIS]", "Radii along x, y and z, before the rotation."
    ),
    "capsule": Help("capsule from P to P radius R", "Everything within R of a segment."),
    "cylinder": Help("cylinder from P to P radius R", "With flat ends."),
    "cone": Help("cone from P to P radius R", "The base at the first point, the tip at the second."),
    "torus": Help("torus at P radius R thickness T [about AXIS]", "R to the middle of the tube, whose radius is T."),
    "color": Help("color C [within T]", "Blobs of about a colour; of a shape that is added, its colour."),
    "click": Help(
        "click (X, Y) in VIEW, … [size PIXELS]", "What clicks pick out: segmented in each view, then intersected."
    ),
    "segment": Help(
        'segment "TEXT"', "What a text-prompted segmenter finds from around the object, where one is installed."
    ),
    "orbit": Help(
        "orbit azimuth A elevation A [distance R] [fov A] [target P]",
        "A camera: azimuth 0 sees the front, azimuth 90 the left side.",
    ),
    "all": Help("all", "Every blob."),
    "not": Help("not PART | not CONDITION", "Every blob that is not in the part; the opposite."),
    "grow": Help("PART grow R", "The part and all within R of its blobs; a negative R shrinks."),
    "deg": Help("N deg", "An angle in degrees."),
    "rad": Help("N rad", "An angle in radians."),
    "rigid": Help("rigid", "Of a drag: the first selection is kept, and its shape."),
    "deformable": Help("deformable", "Of a drag: the selection is made anew around the moving source."),
    "form": Help("form point|offset", "Of a drag: pull all blobs to one point, or each by the same way."),
    "noise": Help("noise A .. B", "The range of noise levels, 0 .. 1: low polishes, high invents."),
    "radius": Help("radius R", "In scene units."),
    "over": Help("over N steps", "How long it lasts."),
    "anchor": Help("anchor W", "How strongly a repair holds to what was done."),
    "zoom": Help("zoom Z", "How closely the camera looks at the part."),
    "capacity": Help("capacity 2^K", "Entries of a hash table."),
    "threshold": Help("threshold T|auto", "The density of the surface."),
}

HELP: dict[str, Help] = {**WORDS, **STATEMENTS}
