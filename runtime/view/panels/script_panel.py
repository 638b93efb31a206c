"""The script: edited here or elsewhere, checked while it is typed, taken over when it is saved."""

import time
from pathlib import Path

from imgui_bundle import ImVec2, icons_fontawesome_6, imgui, imgui_color_text_edit

from interactive3d.dsl import Diagnostic, Severity, loads
from interactive3d.dsl.operations import PartExpression
from interactive3d.runtime.engine.script import check_context, load_script
from interactive3d.runtime.engine.watch import stamps
from interactive3d.runtime.output.atomic import write_text
from interactive3d.runtime.view.highlight import draw_words
from interactive3d.runtime.view.regions import with_part
from interactive3d.runtime.view.replan import replan
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import BAD, CODE_SIZE, GOOD, MUTED, Fonts, px

fa = icons_fontawesome_6
Editor = imgui_color_text_edit.TextEditor

CHECK_AFTER = 0.35
"""Seconds of rest in typing before the text is checked."""

WATCH_EVERY = 0.05


class ScriptPanel:
    """See the module's docstring."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.editor = Editor()
        self.editor.set_language(Editor.Language.python())
        self.editor.set_show_whitespaces_enabled(False)
        self.editor.set_show_scrollbar_mini_map_enabled(False)
        self.path: Path | None = studio.project.script
        self.saved = ""
        self.diagnostics: tuple[Diagnostic, ...] = ()
        self._stamp = 0
        self._used: dict[Path, tuple[int, int, int] | None] = {}
        self._checked = ""
        self._typed = 0.0
        self._text = ""
        self._watched = 0.0
        self._marked = -1
        if self.path is not None:
            self._read()

    def _read(self) -> None:
        assert self.path is not None
        try:
            self.saved = self.path.read_text(encoding="utf-8")
            self._stamp = self.path.stat().st_mtime_ns
        except OSError as error:
            self.studio.say(f"{self.path}: {error.strerror}", error=True)
            return
        self.editor.set_text(self.saved)
        self._text = self._checked = ""

    @property
    def changed(self) -> bool:
        """Whether the editor holds what the file does not."""
        return self.editor.get_text() != self.saved

    def watch(self) -> None:
        """Take over what another editor has saved. Called every frame, whether the panel is shown or not."""
        now = time.monotonic()
        if self.path is None or now - self._watched < WATCH_EVERY:
            return
        self._watched = now
        try:
            stamp = self.path.stat().st_mtime_ns
        except OSError:
            return
        if stamp == self._stamp:
            if self._used_changed():
                self.studio.say(f"a file that {self.path.name} uses has changed on disk")
                self.take_over()
            return
        if self.changed:
            self._stamp = stamp
            self.studio.say(f"{self.path.name} has changed on disk and here; saving here overwrites it", error=True)
            return
        self._read()
        self.studio.say(f"{self.path.name} has changed on disk")
        self.take_over()

    def _used_changed(self) -> bool:
        """Whether a file that the running script uses was saved since this was asked last."""
        program = self.studio.project.program
        before, self._used = self._used, stamps(program) if program is not None else {}
        return any(
            self._used[path] != stamp for path, stamp in before.items() if path in self._used and path != self.path
        )

    def save(self) -> None:
        """Write the file and let the run follow it."""
        if self.path is None:
            self.studio.say("there is no script to save; use File, Save session as script")
            return
        text = self.editor.get_text()
        try:
            write_text(self.path, text)
            self._stamp = self.path.stat().st_mtime_ns
        except (OSError, ValueError) as error:
            self.studio.fail(f"{self.path} was not saved: {error}", repr(error))
            return
        self.saved = text
        self.take_over()

    def declare_part(self, name: str, part: PartExpression) -> bool:
        """Add ``part NAME = …`` to the script and save it; False, with a reason, where the name or the script stands against it."""
        if self.path is None:
            self.studio.say("there is no script to declare a part in")
            return False
        if self.changed:
            self.studio.say("save the script first; it holds changes of yours", error=True)
            return False
        try:
            text = with_part(self.editor.get_text(), name, part)
        except ValueError as error:
            self.studio.say(str(error), error=True)
            return False
        loaded = loads(text, check_context(), path=self.path)
        if loaded.program is None:
            first = next(d for d in loaded.diagnostics if d.severity is Severity.ERROR)
            self.studio.say(f"part {name}: {first.message}", error=True)
            return False
        self.editor.set_text(text)
        self.save()
        self.studio.say(f"{self.path.name} has a part {name} now")
        return True

    def take_over(self) -> None:
        """Re-plan the run with what the file says now; a script with errors leaves the running one untouched."""
        assert self.path is not None
        loaded = load_script(self.path)
        self._show(loaded.diagnostics)
        if loaded.program is None:
            first = next(d for d in loaded.diagnostics if d.severity is Severity.ERROR)
            self.studio.say(
                f"line {first.span.line}: {first.message}; the run goes on with the script as it was", error=True
            )
            return
        replan(self.studio, loaded.program)

    # -- drawing --------------------------------------------------------------------------------------------------------
    def draw(self) -> None:
        """One frame."""
        if self.path is None:
            imgui.text_disabled("no script: this file is only viewed")
            return
        self._bar()
        text = self.editor.get_text()
        now = time.monotonic()
        if text != self._text:
            self._text, self._typed = text, now
        if text != self._checked and now - self._typed > CHECK_AFTER:
            self._checked = text
            self._show(loads(text, check_context(), path=self.path).diagnostics)
        self._mark_line()
        tall = imgui.get_content_region_avail().y
        below = min(0.32 * tall, px(20) + px(40) * len(self.diagnostics)) if self.diagnostics else 0.0
        if Fonts.code is not None:
            imgui.push_font(Fonts.code, CODE_SIZE)
        self.editor.render("##script", ImVec2(0, tall - below - 4))
        draw_words(self.editor, "##script")
        if Fonts.code is not None:
            imgui.pop_font()
        if self.diagnostics:
            self._list(below)

    def _bar(self) -> None:
        assert self.path is not None
        imgui.begin_disabled(not self.changed)
        if imgui.button(f"{fa.ICON_FA_FLOPPY_DISK}  Save###save script"):
            self.save()
        imgui.end_disabled()
        imgui.same_line()
        imgui.text(self.path.name + (" *" if self.changed else ""))
        errors = sum(d.severity is Severity.ERROR for d in self.diagnostics)
        # Until the text is checked nothing stands here, and the editor must not move up beside the name.
        if errors or self._checked:
            imgui.same_line()
        if errors:
            imgui.text_colored(BAD, f"{errors} error{'s' if errors > 1 else ''}")
        elif self._checked:
            imgui.text_colored(GOOD, fa.ICON_FA_CHECK)

    def _list(self, tall: float) -> None:
        if imgui.begin_child("diagnostics", ImVec2(0, tall)):
            for i, diagnostic in enumerate(self.diagnostics):
                imgui.push_id(i)
                color = BAD if diagnostic.severity is Severity.ERROR else MUTED
                imgui.push_style_color(imgui.Col_.text, color)
                imgui.push_text_wrap_pos(0.0)
                imgui.text_unformatted(f"{diagnostic.span.line}: {diagnostic.message}")
                imgui.pop_text_wrap_pos()
                imgui.pop_style_color()
                if imgui.is_item_clicked():
                    self.editor.set_cursor(Editor.DocPos(diagnostic.span.line - 1, diagnostic.span.column - 1))
                    self.editor.scroll_to_line(diagnostic.span.line - 1, Editor.Scroll.align_middle)
                if diagnostic.help:
                    imgui.text_disabled(f"    {diagnostic.help}")
                imgui.pop_id()
        imgui.end_child()

    def _show(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        self.diagnostics = diagnostics
        self._marked = -1

    def _mark_line(self) -> None:
        """The line whose operation took effect last, and those with faults."""
        lines = [e.line for e in self.studio.worker.latest().effects if e.line is not None]
        newest = lines[-1] if lines and not self.changed else 0
        if newest == self._marked:
            return
        self._marked = newest
        self.editor.clear_markers()
        if newest and newest <= self.editor.get_line_count():
            self.editor.add_marker(
                newest - 1, _u32(0.98, 0.62, 0.17, 0.55), _u32(0.98, 0.62, 0.17, 0.12), "", "took effect last"
            )
        for diagnostic in self.diagnostics:
            line = diagnostic.span.line
            if 0 < line <= self.editor.get_line_count():
                shade = (0.95, 0.35, 0.32) if diagnostic.severity is Severity.ERROR else (0.85, 0.75, 0.3)
                self.editor.add_marker(
                    line - 1, _u32(*shade, 0.6), _u32(*shade, 0.18), diagnostic.code, diagnostic.message
                )


def _u32(r: float, g: float, b: float, a: float) -> int:
    return imgui.color_convert_float4_to_u32((r, g, b, a))
