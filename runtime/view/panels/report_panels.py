"""What the run and the window say of themselves: curves, the log, the machine, the keys."""

import platform

import numpy as np
from imgui_bundle import ImVec2, ImVec4, icons_fontawesome_6, imgui, implot

from interactive3d.runtime.view.keymap import help_groups
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import ACCENT, BAD, GOOD, MUTED, grounded, px
from interactive3d.runtime.view.viewport import Engine, Viewport
from interactive3d.shaders import FOLDER as SHADERS

fa = icons_fontawesome_6
SMOOTHED_OVER = 15


def smoothed(values: np.ndarray, over: int = SMOOTHED_OVER) -> np.ndarray:
    """Running mean of the last values, shorter at the beginning."""
    if len(values) < 2:
        return values
    total = np.cumsum(np.insert(np.nan_to_num(values), 0, 0.0))
    index = np.arange(1, len(values) + 1)
    start = np.maximum(index - over, 0)
    return (total[index] - total[start]) / (index - start)


class PlotsPanel:
    """Loss, blob count, speed, and how long the window's frames take."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def draw(self) -> None:
        """One frame."""
        rows = np.array(list(self.studio.curves), np.float64).reshape(-1, 4)
        space = imgui.get_content_region_avail()
        across = 4 if space.x > px(760) else 2
        down = 4 // across
        size = ImVec2((space.x - px(8) * (across - 1)) / across, (space.y - px(6) * (down - 1)) / down)
        step = np.ascontiguousarray(rows[:, 0])
        frames = 1000.0 * np.array(list(self.studio.frame_seconds), np.float64)
        self._plot("loss", step, np.ascontiguousarray(rows[:, 1]), size, smooth=True)
        imgui.same_line()
        self._plot("blobs", step, np.ascontiguousarray(rows[:, 2]), size)
        if across == 4:
            imgui.same_line()
        self._plot("steps per second", step, np.ascontiguousarray(rows[:, 3]), size)
        imgui.same_line()
        self._plot("frame, ms", np.arange(len(frames), dtype=np.float64), frames, size)

    def _plot(self, name: str, x: np.ndarray, y: np.ndarray, size: ImVec2, smooth: bool = False) -> None:
        flags = implot.Flags_.no_legend | implot.Flags_.no_menus | implot.Flags_.no_mouse_text
        implot.push_style_var(implot.StyleVar_.plot_padding, ImVec2(6, 4))
        newest = f"   {y[-1]:.4g}" if len(y) and np.isfinite(y[-1]) else ""
        if implot.begin_plot(f"{name}{newest}###{name}", size, flags):
            fit = implot.AxisFlags_.auto_fit
            implot.setup_axes("", "", fit | implot.AxisFlags_.no_label, fit | implot.AxisFlags_.no_label)
            good = np.isfinite(y)
            if good.any():
                if smooth and good.sum() > 3:
                    implot.plot_line("##raw", x[good], y[good], spec=_line((0.6, 0.62, 0.66, 0.35)))
                    implot.plot_line(
                        "##mean", x[good], smoothed(y[good]), spec=_line((ACCENT.x, ACCENT.y, ACCENT.z, 1.0), 2.0)
                    )
                else:
                    implot.plot_line("##value", x[good], y[good], spec=_line((ACCENT.x, ACCENT.y, ACCENT.z, 1.0), 1.5))
            implot.end_plot()
        implot.pop_style_var()


def _line(color: tuple[float, float, float, float], weight: float = 1.0) -> implot.Spec:
    spec = implot.Spec()
    spec.line_color = ImVec4(*color)
    spec.line_weight = weight
    return spec


class LogPanel:
    """What was done, in the language's own words, and what it did."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.search = ""
        self._seen = 0

    def draw(self) -> None:
        """One frame."""
        imgui.set_next_item_width(px(220))
        _, self.search = imgui.input_text_with_hint(
            "##log search", f"{fa.ICON_FA_MAGNIFYING_GLASS}  search", self.search
        )
        imgui.same_line()
        if imgui.button("Copy as Sculpt"):
            self._copy()
        effects = self.studio.worker.latest().effects
        notes = [(step, kind, text) for step, kind, text in self.studio.log if kind != "did"]
        rows = [(e.step, "refused" if e.refused else "did", e.text, e.message) for e in effects]
        rows += [(step, kind, text, "") for step, kind, text in notes]
        rows.sort(key=lambda row: row[0])
        if imgui.begin_child("log rows"):
            for step, kind, text, message in rows:
                if self.search.lower() not in f"{text} {message}".lower():
                    continue
                imgui.text_colored(MUTED, f"{step:>5}")
                imgui.same_line()
                color = BAD if kind in ("error", "refused") else MUTED if kind == "note" else None
                imgui.push_text_wrap_pos(0.0)
                line = text if not message else f"{text}   {fa.ICON_FA_ARROW_RIGHT} {message}"
                if color is None:
                    imgui.text_unformatted(line)
                else:
                    imgui.text_colored(color, line)
                imgui.pop_text_wrap_pos()
            if len(rows) != self._seen:
                self._seen = len(rows)
                imgui.set_scroll_here_y(1.0)
        imgui.end_child()

    def _copy(self) -> None:
        try:
            imgui.set_clipboard_text(self.studio.session_script())
        except ValueError as problem:
            self.studio.say(str(problem), error=True)
            return
        self.studio.say("the session is on the clipboard as a script")


class AboutPanel:
    """What draws, what optimizes, how much of the machine the window takes; the same facts as the command line's doctor."""

    def __init__(self, studio: Studio, viewport: Viewport) -> None:
        self.studio = studio
        self.viewport = viewport
        self._sections: dict[str, dict[str, str]] | None = None

    def draw(self) -> None:
        """One frame."""
        viewport, studio = self.viewport, self.studio
        imgui.separator_text("Window")
        rows = {
            "OpenGL": viewport.renderer,
            "blobs drawn by": viewport.drawn,
            **({} if viewport.carried is None else {"blobs come to OpenGL": viewport.carried}),
            "window's work": f"{100 * studio.window_share:.0f} % of the machine",
            "python": platform.python_version(),
        }
        self._table("window", rows)
        for engine in (None, *Engine):
            label = "draw with the quicker one" if engine is None else f"draw with {engine.value}"
            if imgui.radio_button(label, viewport.choice.chosen is engine):
                viewport.set_engine(engine)
        for stem, problem in viewport.programs.log.items():
            imgui.text_colored(BAD, f"shader {stem}: the last good one is in use")
            imgui.text_wrapped(problem)
        if not viewport.programs.log:
            imgui.push_text_wrap_pos(0.0)
            imgui.text_colored(
                GOOD, f"{fa.ICON_FA_CHECK} all shaders compile; they are read anew when their files change"
            )
            imgui.pop_text_wrap_pos()
            imgui.set_item_tooltip(str(SHADERS))
        if imgui.button("Examine the machine"):
            from interactive3d.runtime.doctor import examine

            self._sections = examine()
        for title, lines in (self._sections or {}).items():
            imgui.separator_text(title)
            self._table(title, lines)

    def _table(self, name: str, rows: dict[str, str]) -> None:
        if imgui.begin_table(name, 2, imgui.TableFlags_.sizing_stretch_prop):
            for key, value in rows.items():
                imgui.table_next_row()
                imgui.table_next_column()
                imgui.text_disabled(key)
                imgui.table_next_column()
                imgui.text_wrapped(str(value))
            imgui.end_table()


def draw_keys(studio: Studio, shown: bool) -> bool:
    """The window with all keys; whether it stays open."""
    if not shown:
        return False
    imgui.set_next_window_size(ImVec2(px(780), px(690)), imgui.Cond_.appearing)
    center = imgui.get_main_viewport().get_center()
    imgui.set_next_window_pos(center, imgui.Cond_.appearing, ImVec2(0.5, 0.5))
    with grounded():
        visible, still = imgui.begin("Keys", True, imgui.WindowFlags_.no_docking | imgui.WindowFlags_.no_collapse)
    if visible:
        imgui.columns(2, "keys", False)
        for number, (group, rows) in enumerate(help_groups(studio.keymap).items()):
            if number == 3:
                imgui.next_column()
            imgui.separator_text(group)
            for keys, meaning in rows:
                imgui.text_colored(ACCENT, keys)
                imgui.same_line(px(170))
                imgui.push_text_wrap_pos(0.0)
                imgui.text_unformatted(meaning)
                imgui.pop_text_wrap_pos()
        imgui.columns(1)
    imgui.end()
    return bool(still)


def draw_failures(studio: Studio) -> None:
    """Errors stay until they are closed; nothing is swallowed."""
    if not studio.failures:
        return
    text, details = studio.failures[0]
    center = imgui.get_main_viewport().get_center()
    imgui.set_next_window_pos(center, imgui.Cond_.appearing, ImVec2(0.5, 0.5))
    imgui.set_next_window_size(ImVec2(px(640), 0), imgui.Cond_.appearing)
    with grounded():
        visible, still = imgui.begin(
            "Something went wrong", True, imgui.WindowFlags_.no_docking | imgui.WindowFlags_.no_collapse
        )
    if visible:
        imgui.text_wrapped(text)
        imgui.spacing()
        if imgui.collapsing_header("Details"):
            imgui.text_wrapped(details)
        if imgui.button("Copy"):
            imgui.set_clipboard_text(f"{text}\n\n{details}")
        imgui.same_line()
        if imgui.button("Close"):
            still = False
        if len(studio.failures) > 1:
            imgui.same_line()
            imgui.text_disabled(f"{len(studio.failures) - 1} more")
    imgui.end()
    if not still:
        studio.failures.pop(0)
