"""The object's parts and named sets, what can be done to the selection, and the region that becomes a part or is refined."""

from imgui_bundle import ImVec2, icons_fontawesome_6, imgui

from interactive3d.dsl import SculptError, format_operation
from interactive3d.dsl.distinct import free_name
from interactive3d.dsl.operations import Axis as MirrorAxis
from interactive3d.dsl.operations import (
    Duplicate,
    Edit,
    Freeze,
    Keep,
    Mirror,
    NamedPart,
    Paint,
    PartExpression,
    Refine,
    Remove,
    Thaw,
)
from interactive3d.runtime.engine.stage2 import COUNTED
from interactive3d.runtime.view.naming import names_taken
from interactive3d.runtime.view.panels.palette import read_operation
from interactive3d.runtime.view.panels.script_panel import ScriptPanel
from interactive3d.runtime.view.panels.widgets import slide_int
from interactive3d.runtime.view.project import field_of
from interactive3d.runtime.view.regions import RegionKind
from interactive3d.runtime.view.selecting import Combine
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import px

fa = icons_fontawesome_6
MOST_STEPS = 1_000_000
MIRROR_HINTS = {
    MirrorAxis.X: "add its reflection at the plane x = 0: left and right exchanged",
    MirrorAxis.Y: "add its reflection at the plane y = 0: upside down",
    MirrorAxis.Z: "add its reflection at the plane z = 0: front and back exchanged",
}


class PartsPanel:
    """The script's parts, the named sets in the scene, and what can be done to the selection."""

    def __init__(self, studio: Studio, script: ScriptPanel) -> None:
        self.studio = studio
        self.script = script
        self.part_name = "part_1"
        self.refine_prompt = ""
        self.refine_steps = 200
        self.prompt = ""
        self.steps = 100
        self.noise = (0.02, 0.6)
        self.color = [0.85, 0.12, 0.1]
        self.copy_name = "copy"
        self.focus_prompt = False

    def draw(self) -> None:
        """One frame."""
        studio = self.studio
        model = studio.scene.model
        imgui.separator_text("In the scene")
        parts: list[tuple[str, PartExpression]] = []
        if studio.project.program is not None:
            parts += [(p.name, p) for p in studio.project.program.parts]
        parts += [(name, NamedPart(name=name)) for name in model.tag_names]
        if not parts:
            imgui.text_disabled("no named parts; select with the mouse")
        studio.part_masks.refresh(model, parts, hurry=not studio.worker.running)
        pointed = None
        for name, part in parts:
            selected = studio.selection == part
            if imgui.selectable(f"{name}##part", selected)[0]:
                io = imgui.get_io()
                how = Combine.ADD if io.key_shift else Combine.SUBTRACT if io.key_ctrl else Combine.REPLACE
                studio.select_more(part, how)
            if imgui.is_item_hovered():
                pointed = name
                problem = studio.part_masks.problem(name)
                if problem is not None:
                    imgui.set_tooltip(problem)
            imgui.same_line(imgui.get_content_region_avail().x - px(40))
            count = studio.part_masks.count(name)
            imgui.text_disabled("-" if count is None else str(count))
        studio.pointed_part = pointed
        imgui.separator_text("Selection")
        if studio.selection is None:
            imgui.text_disabled("nothing is selected")
        else:
            imgui.text(f"{studio.scene.selected_count} of {len(model)} blobs")
        imgui.begin_disabled(studio.selection is None or not studio.scene.selected_count)
        self._semantic_edit()
        self._actions()
        imgui.end_disabled()
        self._region()
        self._refined()

    def _semantic_edit(self) -> None:
        studio = self.studio
        imgui.spacing()
        imgui.text_disabled("Edit with words")
        if self.focus_prompt:
            imgui.set_keyboard_focus_here()
            self.focus_prompt = False
        imgui.set_next_item_width(-1)
        entered, self.prompt = imgui.input_text_with_hint(
            "##prompt", "a green dragon with red wings", self.prompt, imgui.InputTextFlags_.enter_returns_true
        )
        imgui.set_next_item_width(px(-70))
        _, self.steps = slide_int("##edit steps", self.steps, 10, 500, "for %d steps", least=1, most=MOST_STEPS)
        imgui.same_line()
        if (imgui.button("Edit", ImVec2(-1, 0)) or entered) and self.prompt.strip() and studio.selection is not None:
            unknown = self.unknown_words()
            if unknown:
                studio.say(f"the prior does not know {', '.join(unknown)}; it will take no notice of them", error=True)
            operation = Edit(part=studio.selection, prompt=self.prompt.strip(), steps=self.steps)
            if studio.submit(operation) and not studio.worker.running:
                studio.say("the edit begins with the next step: press space")

    def unknown_words(self) -> list[str]:
        """Words of the prompt that the run's guidance does not know."""
        from interactive3d.runtime.engine.script import near_words

        program = self.studio.project.program
        name = program.guidance.name if program and program.guidance else "embedded"
        words = "".join(c if c.isalpha() else " " for c in self.prompt.lower()).split()
        return [word for word in words if near_words(name, word) is not None]

    def _actions(self) -> None:
        studio = self.studio
        part = studio.selection
        imgui.spacing()
        imgui.text_disabled("Do to it")
        half = ImVec2(0.5 * (imgui.get_content_region_avail().x - px(8)), 0)
        if imgui.button(f"{fa.ICON_FA_TRASH}  Remove###Remove", half) and part is not None:
            studio.submit_and_select(Remove(part=part), None)
        imgui.set_item_tooltip("take the selected blobs away  (delete)")
        imgui.same_line()
        if imgui.button("Keep only this", half) and part is not None:
            studio.submit(Keep(part=part))
        imgui.set_item_tooltip("take everything else away")
        if imgui.button(f"{fa.ICON_FA_SNOWFLAKE}  Freeze###Freeze", half) and part is not None:
            studio.submit(Freeze(part=part))
        imgui.set_item_tooltip("the optimizer leaves it as it is, until it is thawed")
        imgui.same_line()
        if imgui.button("Thaw", half) and part is not None:
            studio.submit(Thaw(part=part))
        imgui.set_item_tooltip("let the optimizer change it again")
        imgui.set_next_item_width(half.x)
        _, self.color = imgui.color_edit3("##paint", self.color, imgui.ColorEditFlags_.no_inputs)
        imgui.same_line()
        if imgui.button("Paint", ImVec2(-1, 0)) and part is not None:
            r, g, b = (round(float(c), 3) for c in self.color)
            studio.submit(Paint(part=part, color=(r, g, b)))
        imgui.set_item_tooltip("give it the colour on the left")
        imgui.set_next_item_width(half.x)
        _, self.copy_name = imgui.input_text("##copy", self.copy_name)
        imgui.set_item_tooltip("what the copy or the reflection is called from now on")
        imgui.same_line()
        if imgui.button("Duplicate", ImVec2(-1, 0)) and part is not None:
            self.add(Duplicate(part=part, name=self.copy_name.strip(), by=(0.2, 0.0, 0.0)))
        imgui.set_item_tooltip("a copy beside it, selected and ready for the gizmo")
        for axis in MirrorAxis:
            if imgui.button(f"Mirror {axis.value}") and part is not None:
                self.add(Mirror(part=part, axis=axis, name=self.copy_name.strip()))
            imgui.set_item_tooltip(MIRROR_HINTS[axis])
            imgui.same_line()
        imgui.new_line()
        self._name_it(part)

    def add(self, operation: Duplicate | Mirror) -> bool:
        """Copy or reflect the selection; the new thing is selected, and the next one is offered a name of its own."""
        assert operation.name is not None
        if not self.studio.submit_and_select(operation, NamedPart(name=operation.name)):
            return False
        taken = names_taken(self.studio.project, self.studio.worker.latest())
        self.copy_name = free_name(operation.name, {*taken, operation.name})
        return True

    def _name_it(self, part: PartExpression | None) -> None:
        imgui.set_next_item_width(0.5 * (imgui.get_content_region_avail().x - px(8)))
        _, self.part_name = imgui.input_text("##selection name", self.part_name)
        imgui.same_line()
        imgui.begin_disabled(self.script.path is None)
        if imgui.button("Make a part###name the selection", ImVec2(-1, 0)) and part is not None:
            self.declare(part)
        imgui.set_item_tooltip("write the selection into the script, under the name on the left")
        imgui.end_disabled()

    # -- the region -----------------------------------------------------------------------------------------------------
    def _region(self) -> None:
        studio = self.studio
        imgui.separator_text("Region")
        region = studio.region
        for kind in RegionKind:
            on = region is not None and region.kind is kind
            if imgui.radio_button(kind.value, on) and not on:
                studio.new_region(kind)
            imgui.same_line()
        if region is None:
            imgui.text_disabled("place one, to name or refine it")
            return
        if imgui.button("Take away"):
            studio.place_region(None)
            return
        imgui.same_line()
        if imgui.button("Select###select region"):
            studio.select(region.part)
        imgui.set_next_item_width(px(-110))
        _, self.part_name = imgui.input_text("##part name", self.part_name)
        imgui.same_line()
        imgui.begin_disabled(self.script.path is None)
        if imgui.button("Make a part", ImVec2(-1, 0)):
            self.make_part()
        imgui.end_disabled()
        imgui.set_next_item_width(-1)
        _, self.refine_prompt = imgui.input_text_with_hint(
            "##refine prompt", "refine with words (or with the run's prompt)", self.refine_prompt
        )
        imgui.set_next_item_width(px(-110))
        _, self.refine_steps = slide_int(
            "##refine steps", self.refine_steps, 10, 2000, "for %d steps", least=1, most=MOST_STEPS
        )
        imgui.same_line()
        if imgui.button("Refine", ImVec2(-1, 0)):
            self.refine()

    def make_part(self) -> bool:
        """Declare the region as a part of the script; False, with a reason, where that cannot be."""
        region = self.studio.region
        return region is not None and self.declare(region.part)

    def declare(self, part: PartExpression) -> bool:
        """Write a part into the script under the name that is chosen, and propose another name for the next."""
        name = self.part_name.strip()
        if not self.script.declare_part(name, part):
            return False
        number = 1
        taken = {p.name for p in self.studio.project.program.parts} | {name} if self.studio.project.program else {name}
        while f"part_{number}" in taken:
            number += 1
        self.part_name = f"part_{number}"
        return True

    def refine(self) -> bool:
        """Refine the region of the field; False, with a reason, where there is no field yet."""
        studio, region = self.studio, self.studio.region
        if region is None:
            return False
        prompt = self.refine_prompt.strip() or None
        operation = Refine(part=region.part, prompt=prompt, steps=self.refine_steps)
        if field_of(studio.worker.latest()) is None:
            # The engine would refuse it too; here the reason can say what to do.
            studio.say("refine works on the field: add `distill` to the script, and refine once it is over", error=True)
            return False
        if not studio.submit(operation):
            return False
        if not studio.worker.running:
            studio.say(f"begins with the next step: {format_operation(operation)}; press space")
        return True

    # -- what was refined -----------------------------------------------------------------------------------------------
    def _refined(self) -> None:
        """The field's regions: shown or hidden, compared with and without, taken back."""
        studio, names = self.studio, self.studio.region_names
        if not names:
            return
        imgui.separator_text("Refined")
        for name in names:
            imgui.push_id(name)
            hidden = name in studio.hidden_regions
            if imgui.button(f"{fa.ICON_FA_EYE_SLASH if hidden else fa.ICON_FA_EYE}###shown"):
                studio.hide_regions(studio.hidden_regions ^ {name})
            imgui.set_item_tooltip("show it" if hidden else "hide it; the run does not change by that")
            imgui.same_line()
            if imgui.button(f"{fa.ICON_FA_TABLE_COLUMNS}###compare"):
                studio.compare_regions(name)
            imgui.set_item_tooltip("left without it, right with it")
            imgui.same_line()
            if imgui.button(f"{fa.ICON_FA_TRASH}###take back"):
                self.take_back(name)
            imgui.set_item_tooltip("take back what was refined and edited in this part")
            imgui.same_line()
            imgui.text_disabled(name) if hidden else imgui.text(name)
            imgui.set_item_tooltip(name)
            imgui.pop_id()

    def take_back(self, name: str) -> bool:
        """Remove a region, and whatever else was refined in the same part; False where that cannot be said."""
        part = COUNTED.sub("", name.split(" ", 1)[1])
        try:
            operation = read_operation(self.studio, f"remove {part}")
        except SculptError as error:
            self.studio.say(f"{name}: {error.diagnostics[0].message}", error=True)
            return False
        return self.studio.submit(operation)
