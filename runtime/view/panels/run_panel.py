"""Run controls, the timeline with the script's events, and the parts of the object."""

from dataclasses import dataclass

from imgui_bundle import ImVec2, ImVec4, icons_fontawesome_6, imgui

from interactive3d.dsl import format_operation
from interactive3d.dsl.operations import Axis as MirrorAxis
from interactive3d.dsl.operations import (
    Duplicate,
    Edit,
    EditOperation,
    Freeze,
    Keep,
    Mirror,
    NamedPart,
    Operation,
    OutputOperation,
    Paint,
    PartExpression,
    Ramp,
    Remove,
    SetValue,
    TermOperation,
    Thaw,
)
from interactive3d.runtime.scene.parts import PartError, part_mask
from interactive3d.runtime.settings import SPECS
from interactive3d.runtime.view.selecting import Combine
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import ACCENT, MUTED, rgba

fa = icons_fontawesome_6
ROW = 20.0
COLORS = {
    "edit": ImVec4(0.35, 0.62, 0.95, 1.0),
    "term": ImVec4(0.98, 0.62, 0.17, 1.0),
    "ramp": ImVec4(0.60, 0.78, 0.35, 1.0),
    "output": ImVec4(0.62, 0.55, 0.85, 1.0),
    "other": ImVec4(0.58, 0.60, 0.64, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An operation on the timeline."""

    start: int
    end: int
    text: str
    color: ImVec4
    by_hand: bool


def bars(studio: Studio) -> list[Bar]:
    """Every operation whose step is known, the script's first, then what was done by hand."""
    program = studio.project.program
    script = program.operations if program else ()
    settings = studio.worker.latest().settings
    out = []
    for by_hand, operations in ((False, script), (True, studio.worker.latest().journal)):
        for operation in operations:
            start = getattr(operation.when, "step", getattr(operation.when, "start", None))
            if not isinstance(start, int):
                continue
            end = getattr(operation.when, "end", None)
            if not isinstance(end, int):
                steps = getattr(operation, "steps", None)
                if steps is None and operation.steps_setting in SPECS:
                    steps = settings.get(operation.steps_setting)  # type: ignore[arg-type]
                end = start + int(steps or 0)
            text = format_operation(operation)
            out.append(Bar(start=start, end=end, text=text, color=COLORS[_kind(operation)], by_hand=by_hand))
    return out


def _kind(operation: Operation) -> str:
    match operation:
        case Ramp() | SetValue():
            return "ramp"
        case TermOperation():
            return "term"
        case OutputOperation():
            return "output"
        case EditOperation():
            return "edit"
    return "other"


def rows_of(items: list[Bar], gap: int) -> list[int]:
    """A row for each bar, so that none covers another; ``gap`` steps apart at least."""
    ends: list[int] = []
    rows = []
    for bar in items:
        for row, end in enumerate(ends):
            if bar.start > end + gap:
                ends[row] = bar.end
                rows.append(row)
                break
        else:
            ends.append(bar.end)
            rows.append(len(ends) - 1)
    return rows


class RunPanel:
    """Controls and timeline."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._bars: list[Bar] = []
        self._bars_for: object = None

    def draw(self) -> None:
        """One frame."""
        studio = self.studio
        steps = studio.worker.session.trainer.steps  # type: ignore[attr-defined]
        state = studio.worker.latest()
        self._controls(state.step, steps)
        if self._bars_for is not state.journal:
            self._bars, self._bars_for = bars(studio), state.journal
        self._timeline(state.step, max(steps, 1))

    def _controls(self, step: int, steps: int) -> None:
        studio = self.studio
        imgui.begin_disabled(not studio.project.optimizes)
        running = studio.worker.running
        label = f"{fa.ICON_FA_PAUSE}  Pause" if running else f"{fa.ICON_FA_PLAY}  Run"
        imgui.push_style_color(imgui.Col_.button, ACCENT if not running else ImVec4(0.3, 0.31, 0.33, 1.0))
        imgui.push_style_color(imgui.Col_.text, (0.08, 0.08, 0.09, 1.0) if not running else (0.95, 0.95, 0.95, 1.0))
        if imgui.button(f"{label}###run", ImVec2(92, 0)):
            studio.toggle_run()
        imgui.pop_style_color(2)
        imgui.same_line()
        if imgui.button(f"{fa.ICON_FA_FORWARD_STEP}###step"):
            studio.past = None
            studio.worker.step()
        imgui.set_item_tooltip("one step  (.)")
        imgui.same_line()
        if imgui.button(f"{fa.ICON_FA_FORWARD_FAST}###next event"):
            studio.run_to_next_event()
        imgui.set_item_tooltip("to the next event  (shift+.)")
        imgui.end_disabled()
        imgui.same_line()
        imgui.begin_disabled(not studio.history.can_undo)
        if imgui.button(f"{fa.ICON_FA_ROTATE_LEFT}###undo"):
            studio.undo()
        imgui.set_item_tooltip("undo  (ctrl+z)")
        imgui.end_disabled()
        imgui.same_line()
        imgui.begin_disabled(not studio.history.can_redo)
        if imgui.button(f"{fa.ICON_FA_ROTATE_RIGHT}###redo"):
            studio.redo()
        imgui.set_item_tooltip("redo  (ctrl+y)")
        imgui.end_disabled()
        imgui.same_line()
        imgui.text(f"step {step}")
        imgui.same_line(0, 4)
        imgui.text_disabled(f"of {steps}")
        active = studio.worker.latest().metrics.active
        if active:
            imgui.same_line()
            imgui.text_colored(ACCENT, " + ".join(active))
        imgui.same_line()
        if studio.pinned is None:
            if imgui.button("Compare with now"):
                studio.pinned = studio.scene.state
        elif imgui.button("Stop comparing"):
            studio.pinned = None
        if studio.pinned is not None:
            imgui.same_line()
            imgui.set_next_item_width(120)
            _, studio.split = imgui.slider_float("##split", studio.split, 0.0, 1.0, "")
        if studio.past is not None:
            imgui.same_line()
            if imgui.button("Back to now"):
                studio.past = None
            else:
                imgui.same_line()
                if imgui.button("Go on from here"):
                    studio.worker.go_to(studio.past.step)
                    studio.past = None

    def _timeline(self, step: int, steps: int) -> None:
        studio = self.studio
        space = imgui.get_content_region_avail()
        wide = max(space.x, 50.0)
        rows = rows_of(self._bars, max(1, round(steps * 6.0 / wide)))
        tall = max(space.y, 2 * ROW)
        corner = imgui.get_cursor_screen_pos()
        imgui.invisible_button("##timeline", ImVec2(wide, tall))
        hovered = imgui.is_item_hovered()
        paint = imgui.get_window_draw_list()

        def x_of(at: float) -> float:
            return corner.x + wide * min(max(at / steps, 0.0), 1.0)

        bottom = corner.y + tall
        paint.add_rect_filled(
            corner, ImVec2(corner.x + wide, bottom), imgui.get_color_u32((0.075, 0.08, 0.09, 1.0)), 4.0
        )
        paint.add_rect_filled(corner, ImVec2(x_of(step), bottom), rgba(ACCENT, 0.07), 4.0)
        tick = nice_tick(steps, wide)
        for at in range(0, steps + 1, tick):
            x = x_of(at)
            paint.add_line(ImVec2(x, corner.y), ImVec2(x, bottom), imgui.get_color_u32((1.0, 1.0, 1.0, 0.06)))
            paint.add_text(ImVec2(x + 3, corner.y + 1), rgba(MUTED), str(at))
        for state in studio.worker.remembered():
            x = x_of(state.step)
            paint.add_line(ImVec2(x, bottom - 4), ImVec2(x, bottom), rgba(MUTED))
        mouse = imgui.get_mouse_pos()
        told = None
        for bar, row in zip(self._bars, rows, strict=True):
            top = corner.y + ROW + row * ROW
            if top + ROW > bottom:
                continue
            a = ImVec2(x_of(bar.start), top + 2)
            b = ImVec2(max(x_of(bar.end), a.x + 6), top + ROW - 3)
            inside = hovered and a.x - 2 <= mouse.x <= b.x + 2 and a.y <= mouse.y <= b.y
            paint.add_rect_filled(a, b, rgba(bar.color, 1.0 if inside else 0.8), 3.0)
            if bar.by_hand:
                paint.add_rect(a, b, imgui.get_color_u32((1.0, 1.0, 1.0, 0.7)), 3.0)
            word = bar.text.split(" ", 3)[-1] if bar.text.startswith("at step ") else bar.text
            room = b.x - a.x - 8
            if room > 30:
                paint.push_clip_rect(a, b, True)
                paint.add_text(ImVec2(a.x + 4, a.y), imgui.get_color_u32((0.05, 0.05, 0.06, 1.0)), word)
                paint.pop_clip_rect()
            if inside:
                told = bar.text
        heads = [(step, rgba(ACCENT))] + ([(studio.past.step, rgba(MUTED))] if studio.past is not None else [])
        for head, color in heads:
            paint.add_line(ImVec2(x_of(head), corner.y), ImVec2(x_of(head), bottom), color, 2.0)
        if hovered:
            at = round((mouse.x - corner.x) / wide * steps)
            imgui.set_tooltip(told or f"step {at}: click to look" + ("" if at <= step else ", here: run to it"))
            if imgui.is_mouse_clicked(0):
                self._go(at, step)

    def _go(self, at: int, step: int) -> None:
        studio = self.studio
        if at >= step:
            studio.past = None
            if at > step and studio.project.optimizes:
                studio.worker.run(at)
            return
        before = [s for s in studio.worker.remembered() if s.step <= at]
        if before:
            studio.past = before[-1]


def nice_tick(steps: int, pixels: float) -> int:
    """Steps between two labels of the timeline."""
    least = max(1.0, steps * 60.0 / max(pixels, 60.0))
    size = 1
    while True:
        for factor in (1, 2, 5):
            if factor * size >= least:
                return factor * size
        size *= 10


class PartsPanel:
    """The script's parts, the named sets in the scene, and what can be done to the selection."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.prompt = ""
        self.steps = 100
        self.noise = (0.02, 0.6)
        self.color = [0.85, 0.12, 0.1]
        self.copy_name = "copy"
        self._counts: dict[tuple[int, str], int] = {}
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
        for name, part in parts:
            selected = studio.selection == part
            if imgui.selectable(f"{name}##part", selected)[0]:
                io = imgui.get_io()
                how = Combine.ADD if io.key_shift else Combine.SUBTRACT if io.key_ctrl else Combine.REPLACE
                studio.select_more(part, how)
            imgui.same_line(imgui.get_content_region_avail().x - 40)
            imgui.text_disabled(self._count(name, part))
        imgui.separator_text("Selection")
        if studio.selection is None:
            imgui.text_disabled("nothing is selected")
        else:
            imgui.text(f"{studio.scene.selected_count} of {len(model)} blobs")
        imgui.begin_disabled(studio.selection is None or not studio.scene.selected_count)
        self._semantic_edit()
        self._actions()
        imgui.end_disabled()

    def _count(self, name: str, part: PartExpression) -> str:
        model = self.studio.scene.model
        key = (id(model), name)
        if key not in self._counts:
            self._counts = {k: v for k, v in self._counts.items() if k[0] == key[0]}
            try:
                self._counts[key] = int(part_mask(part, model).sum())
            except PartError:
                self._counts[key] = 0
        return str(self._counts[key])

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
        imgui.set_next_item_width(-70)
        _, self.steps = imgui.slider_int("##edit steps", self.steps, 10, 500, "for %d steps")
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
        half = ImVec2(0.5 * (imgui.get_content_region_avail().x - 8), 0)
        if imgui.button(f"{fa.ICON_FA_TRASH}  Remove###Remove", half) and part is not None:
            studio.submit_and_select(Remove(part=part), None)
        imgui.same_line()
        if imgui.button("Keep only this", half) and part is not None:
            studio.submit(Keep(part=part))
        if imgui.button(f"{fa.ICON_FA_SNOWFLAKE}  Freeze###Freeze", half) and part is not None:
            studio.submit(Freeze(part=part))
        imgui.same_line()
        if imgui.button("Thaw", half) and part is not None:
            studio.submit(Thaw(part=part))
        imgui.set_next_item_width(half.x)
        _, self.color = imgui.color_edit3("##paint", self.color, imgui.ColorEditFlags_.no_inputs)
        imgui.same_line()
        if imgui.button("Paint", ImVec2(-1, 0)) and part is not None:
            r, g, b = (round(float(c), 3) for c in self.color)
            studio.submit(Paint(part=part, color=(r, g, b)))
        imgui.set_next_item_width(half.x)
        _, self.copy_name = imgui.input_text("##copy", self.copy_name)
        name_ok = self.copy_name.isidentifier() and self.copy_name.islower()
        imgui.begin_disabled(not name_ok)
        imgui.same_line()
        if imgui.button("Duplicate", ImVec2(-1, 0)) and part is not None:
            after = NamedPart(name=self.copy_name)
            studio.submit_and_select(Duplicate(part=part, name=self.copy_name, by=(0.2, 0.0, 0.0)), after)
        for axis in MirrorAxis:
            if imgui.button(f"Mirror {axis.value}") and part is not None:
                studio.submit(Mirror(part=part, axis=axis, name=self.copy_name))
            imgui.same_line()
        imgui.new_line()
        imgui.end_disabled()
