"""Run controls, and the timeline with the script's events."""

from collections.abc import Callable
from dataclasses import dataclass

from imgui_bundle import ImVec2, ImVec4, icons_fontawesome_6, imgui

from interactive3d.dsl import format_operation
from interactive3d.dsl.operations import (
    EditOperation,
    Operation,
    OutputOperation,
    Ramp,
    SetValue,
    TermOperation,
)
from interactive3d.dsl.values import After, AtEnd, AtStep, Every, FromTo
from interactive3d.runtime.engine.session_script import done_by_hand
from interactive3d.runtime.settings import SPECS, Settings
from interactive3d.runtime.view.panels.widgets import slide_float
from interactive3d.runtime.view.project import Compare, field_of
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import ACCENT, MUTED, px, rgba

fa = icons_fontawesome_6
ROW = 20.0
LEAST_ROW = 0.3
"""Rows become lower where there are many, down to this share of the usual height."""

WORDS_FROM = 0.85
"""Bars lower than this share of the usual height have no words."""

BEAD_GAP = 9.0
"""Pixels between two times of an operation that happens again and again, at least."""

TIP_WIDTH, MOST_TOLD = 480.0, 600
"""Pixels and characters: a lasso's operation is as long as a page."""

COLORS = {
    "edit": ImVec4(0.35, 0.62, 0.95, 1.0),
    "term": ImVec4(0.98, 0.62, 0.17, 1.0),
    "ramp": ImVec4(0.60, 0.78, 0.35, 1.0),
    "output": ImVec4(0.62, 0.55, 0.85, 1.0),
    "other": ImVec4(0.58, 0.60, 0.64, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An operation on the timeline. ``marks`` are the steps of one that happens again and again."""

    start: int
    end: int
    text: str
    color: ImVec4
    by_hand: bool
    marks: tuple[int, ...] = ()


def bars(studio: Studio) -> list[Bar]:
    """Every operation whose step is known by now, the script's first, then what was done by hand and was not refused."""
    state, program = studio.worker.latest(), studio.project.program
    last: int = studio.worker.session.trainer.steps  # type: ignore[attr-defined]
    script = program.operations if program else ()
    out = []
    for index, operation in enumerate((*script, *done_by_hand(state, last))):
        spans = _span(operation, state.fired.get(index), last, state.settings)
        if spans is None:
            continue
        start, end, marks = spans
        text, color, by_hand = format_operation(operation), COLORS[_kind(operation)], index >= len(script)
        out.append(Bar(start=start, end=end, text=text, color=color, by_hand=by_hand, marks=marks))
    return out


def _span(
    operation: Operation, fired: int | None, last: int, settings: Settings
) -> tuple[int, int, tuple[int, ...]] | None:
    """First and last step, and the steps between at which something happens; None while it waits for what is not known yet."""
    match operation.when:
        case FromTo(start=start, end=end):
            return start, end, ()
        case Every(n=n, start=first, end=until):
            steps = tuple(range(n if first is None else first, (last if until is None else min(until, last)) + 1, n))
            return (steps[0], steps[-1], steps) if steps else None
        case AtStep(step=start):
            pass
        case AtEnd():
            start = last
        case After(step=known):
            found = known if fired is None else fired
            if found is None:
                return None
            start = found
        case _:
            if fired is None:
                return None
            start = fired
    steps_of = getattr(operation, "steps", None)
    if steps_of is None and operation.steps_setting in SPECS:
        steps_of = settings.get(operation.steps_setting)  # type: ignore[arg-type]
    return start, start + int(steps_of or 0), ()


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


def row_height(room: float, rows: int, usual: float) -> tuple[float, int]:
    """How high each row is, so that all of them have room, and how many are shown where even the lowest would not do."""
    height = min(max(room / rows, LEAST_ROW * usual), usual)
    return height, min(rows, max(1, int(room / height + 1e-6)))


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
        made_of = (studio.project.program, state.journal, state.fired, steps)
        if self._bars_for != made_of:
            self._bars, self._bars_for = bars(studio), made_of
        self._timeline(state.step, max(steps, 1))

    def _controls(self, step: int, steps: int) -> None:
        studio = self.studio
        imgui.begin_disabled(not studio.project.optimizes)
        running = studio.worker.running
        label = f"{fa.ICON_FA_PAUSE}  Pause" if running else f"{fa.ICON_FA_PLAY}  Run"
        imgui.push_style_color(imgui.Col_.button, ACCENT if not running else ImVec4(0.3, 0.31, 0.33, 1.0))
        imgui.push_style_color(imgui.Col_.text, (0.08, 0.08, 0.09, 1.0) if not running else (0.95, 0.95, 0.95, 1.0))
        if imgui.button(f"{label}###run", ImVec2(px(92), 0)):
            studio.toggle_run()
        imgui.pop_style_color(2)
        imgui.same_line()
        if imgui.button(f"{fa.ICON_FA_FORWARD_STEP}###step"):
            studio.step()
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
        if studio.compare is Compare.NOTHING:
            if imgui.button("Compare with now"):
                studio.keep_moment()
            if field_of(studio.scene.state) is not None or studio.mesh is not None:
                imgui.same_line()
                if imgui.button("Compare with field" if studio.previewing else "Compare with blobs"):
                    studio.compare = Compare.BLOBS
            if studio.region_names:
                imgui.same_line()
                if imgui.button("Compare without refinement"):
                    studio.compare_regions()
        else:
            if imgui.button("Stop comparing"):
                studio.compare = Compare.NOTHING
            imgui.same_line()
            imgui.set_next_item_width(px(120))
            _, studio.split = slide_float("##split", studio.split, 0.0, 1.0, "")
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
        wide, tall = max(space.x, 50.0), max(space.y, 2 * px(ROW))
        corner = imgui.get_cursor_screen_pos()
        imgui.invisible_button("##timeline", ImVec2(wide, tall))
        hovered = imgui.is_item_hovered()
        paint = imgui.get_window_draw_list()

        def x_of(at: float) -> float:
            return corner.x + wide * min(max(at / steps, 0.0), 1.0)

        bottom = corner.y + tall
        # The window's own ground serves: filling the whole panel would be a fifth of what a software renderer draws.
        rim = imgui.get_color_u32((1.0, 1.0, 1.0, 0.06))
        for y in (corner.y, bottom):
            paint.add_line(ImVec2(corner.x, y), ImVec2(corner.x + wide, y), rim)
        paint.add_line(ImVec2(corner.x, bottom - 1), ImVec2(x_of(step), bottom - 1), rgba(ACCENT, 0.8), px(2))
        tick = nice_tick(steps, wide / px(1))
        for at in range(0, steps + 1, tick):
            x, label = x_of(at), str(at)
            paint.add_line(ImVec2(x, corner.y), ImVec2(x, bottom), imgui.get_color_u32((1.0, 1.0, 1.0, 0.06)))
            # The last one stands left of its line, or it would be cut off.
            text_x = (
                x + 3
                if x + 3 + imgui.calc_text_size(label).x < corner.x + wide
                else x - 3 - imgui.calc_text_size(label).x
            )
            paint.add_text(ImVec2(text_x, corner.y + 1), rgba(MUTED), label)
        for state in studio.worker.remembered():
            x = x_of(state.step)
            paint.add_line(ImVec2(x, bottom - 4), ImVec2(x, bottom), rgba(MUTED))
        gap = max(1, round(px(steps * 6.0) / wide))
        told = self._draw_bars(paint, x_of, (corner, ImVec2(corner.x + wide, bottom)), gap, hovered)
        heads = [(step, rgba(ACCENT))] + ([(studio.past.step, rgba(MUTED))] if studio.past is not None else [])
        for head, color in heads:
            paint.add_line(ImVec2(x_of(head), corner.y), ImVec2(x_of(head), bottom), color, 2.0)
        if hovered:
            at = round((imgui.get_mouse_pos().x - corner.x) / wide * steps)
            self._tip(told or f"step {at}: click to look" + ("" if at <= step else ", here: run to it"))
            if imgui.is_mouse_clicked(0):
                self._go(at, step)

    def _draw_bars(
        self,
        paint: imgui.ImDrawList,
        x_of: Callable[[float], float],
        box: tuple[ImVec2, ImVec2],
        gap: int,
        hovered: bool,
    ) -> str | None:
        """The operations below the labels; what the one under the pointer says."""
        low, high = box
        rows = rows_of(self._bars, gap)
        height, shown = row_height(high.y - low.y - px(ROW), max(rows, default=0) + 1, px(ROW))
        mouse, told = imgui.get_mouse_pos(), None
        for bar, row in zip(self._bars, rows, strict=True):
            if row >= shown:
                continue
            top = low.y + px(ROW) + row * height
            a = ImVec2(min(x_of(bar.start), high.x - 6), top + 0.1 * height)
            b = ImVec2(max(x_of(bar.end), a.x + 6), top + 0.85 * height)
            inside = hovered and a.x - 2 <= mouse.x <= b.x + 2 and a.y <= mouse.y <= b.y
            told = bar.text if inside else told
            if bar.marks:
                self._marks(paint, bar, x_of, 0.5 * (a.y + b.y), inside)
                continue
            paint.add_rect_filled(a, b, rgba(bar.color, 1.0 if inside else 0.8), 3.0)
            if bar.by_hand:
                paint.add_rect(a, b, imgui.get_color_u32((1.0, 1.0, 1.0, 0.7)), 3.0)
            word = bar.text.split(" ", 3)[-1] if bar.text.startswith("at step ") else bar.text
            if b.x - a.x > 38 and height >= WORDS_FROM * px(ROW):
                paint.push_clip_rect(a, b, True)
                paint.add_text(ImVec2(a.x + 4, a.y), imgui.get_color_u32((0.05, 0.05, 0.06, 1.0)), word)
                paint.pop_clip_rect()
        lost = sum(row >= shown for row in rows)
        if lost:
            said = f"{lost} more; make the panel taller"
            size = imgui.calc_text_size(said)
            paint.add_text(ImVec2(high.x - size.x - px(4), high.y - size.y - px(4)), rgba(MUTED), said)
        return told

    def _tip(self, said: str) -> None:
        imgui.begin_tooltip()
        imgui.push_text_wrap_pos(px(TIP_WIDTH))
        imgui.text_unformatted(said if len(said) <= MOST_TOLD else f"{said[:MOST_TOLD]} …")
        imgui.pop_text_wrap_pos()
        imgui.end_tooltip()

    def _marks(self, paint: imgui.ImDrawList, bar: Bar, x_of: Callable[[float], float], y: float, inside: bool) -> None:
        """An operation that happens again and again: a thread with a bead for each time."""
        color = rgba(bar.color, 1.0 if inside else 0.8)
        paint.add_line(ImVec2(x_of(bar.start), y), ImVec2(x_of(bar.end), y), color, px(1.5))
        shown = -1e9
        for step in bar.marks:
            if x_of(step) - shown >= px(BEAD_GAP):
                shown = x_of(step)
                paint.add_circle_filled(ImVec2(shown, y), px(3.5), color)

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
