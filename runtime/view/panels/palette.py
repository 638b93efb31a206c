"""The command palette: type what you want, press enter. It runs actions, and whole operations written in Sculpt."""

from dataclasses import replace

from imgui_bundle import ImVec2, imgui

from interactive3d.dsl import SculptError, parse_operation
from interactive3d.dsl.operations import Operation
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.view.actions import Actions
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import BAD, grounded, px

SHOWN = 12


def ranked(words: str, candidates: dict[str, str]) -> list[str]:
    """Names whose help holds every word, those that begin with the first one first."""
    parts = words.lower().split()
    found = [name for name, text in candidates.items() if all(p in f"{name} {text}".lower() for p in parts)]
    return sorted(found, key=lambda name: not (parts and candidates[name].lower().startswith(parts[0])))


def read_operation(studio: Studio, text: str) -> Operation:
    """One operation of the language, with the script's parts and views and the scene's names at hand. It stands in no line of the script.

    Raises:
        SculptError: the text is none.
    """
    program = studio.project.program
    context = replace(
        check_context(),
        parts=program.parts if program else (),
        views=program.views if program else (),
        tags=studio.scene.model.tag_names,
    )
    return replace(parse_operation(text, context), span=None)


class Palette:
    """Opened by a key; closed by enter or escape."""

    def __init__(self, studio: Studio, actions: Actions) -> None:
        self.studio = studio
        self.actions = actions
        self.text = ""
        self.shown = False
        self.problem = ""
        self._focus = False
        self._chosen = 0

    def open(self) -> None:
        """Show it, empty."""
        self.text, self.problem, self.shown, self._focus, self._chosen = "", "", True, True, 0

    def draw(self) -> None:
        """One frame."""
        if not self.shown:
            return
        view = imgui.get_main_viewport()
        imgui.set_next_window_pos(
            ImVec2(view.get_center().x, view.pos.y + px(90)), imgui.Cond_.always, ImVec2(0.5, 0.0)
        )
        imgui.set_next_window_size(ImVec2(px(620), 0))
        flags = imgui.WindowFlags_.no_title_bar | imgui.WindowFlags_.no_docking | imgui.WindowFlags_.no_saved_settings
        with grounded():
            imgui.begin("Command palette", None, flags)
        if self._focus:
            imgui.set_keyboard_focus_here()
            self._focus = False
        imgui.set_next_item_width(-1)
        before = self.text
        entered, self.text = imgui.input_text_with_hint(
            "##command",
            "a command, or an operation such as: paint all red",
            self.text,
            imgui.InputTextFlags_.enter_returns_true,
        )
        if self.text != before:
            self._chosen, self.problem = 0, ""
        candidates = {name: action.help for name, action in self.actions.known.items()}
        found = ranked(self.text, candidates)[:SHOWN]
        if imgui.is_key_pressed(imgui.Key.down_arrow):
            self._chosen = min(self._chosen + 1, max(len(found) - 1, 0))
        if imgui.is_key_pressed(imgui.Key.up_arrow):
            self._chosen = max(self._chosen - 1, 0)
        for i, name in enumerate(found):
            keys = ", ".join(self.studio.keymap[name])
            if imgui.selectable(f"{candidates[name]}##{name}", i == self._chosen)[0]:
                self._do(name)
            imgui.same_line(px(480))
            imgui.text_disabled(keys)
        if self.problem:
            imgui.push_text_wrap_pos(0.0)
            imgui.text_colored(BAD, self.problem)
            imgui.pop_text_wrap_pos()
        if entered:
            if found:
                self._do(found[self._chosen])
            else:
                self._operate()
        if imgui.is_key_pressed(imgui.Key.escape):
            self.shown = False
        imgui.end()

    def _do(self, name: str) -> None:
        self.shown = False
        self.actions.do(name)

    def _operate(self) -> None:
        """The text as one operation of the language."""
        try:
            operation = read_operation(self.studio, self.text)
        except SculptError as error:
            self.problem = error.diagnostics[0].message
            self._focus = True
            return
        self.shown = False
        self.studio.submit(operation)
