"""The script's words in their colours: the editor knows Python's, and what Sculpt calls otherwise is drawn over it."""

import re
from functools import cache, lru_cache

from imgui_bundle import ImVec2, imgui, imgui_color_text_edit

from interactive3d.dsl.functions import FUNCTIONS
from interactive3d.dsl.highlighting import groups
from interactive3d.dsl.program import COLORS

Editor = imgui_color_text_edit.TextEditor
Rgb = tuple[float, float, float]

CONTROL: Rgb = (0.77, 0.53, 0.75)
DECLARATION: Rgb = (0.45, 0.66, 0.95)
OPERATION: Rgb = (0.98, 0.75, 0.38)
SHAPE: Rgb = (0.35, 0.82, 0.72)
CLAUSE: Rgb = (0.62, 0.74, 0.86)
CONSTANT: Rgb = (0.71, 0.81, 0.66)
PLAIN: Rgb = (0.88, 0.88, 0.88)

HUES: dict[str, Rgb] = {
    "keyword.control.sculpt": CONTROL,
    "storage.type.sculpt": DECLARATION,
    "keyword.control.moment.sculpt": CONTROL,
    "keyword.operator.word.sculpt": CONTROL,
    "support.type.shape.sculpt": SHAPE,
    "keyword.other.unit.sculpt": CONSTANT,
    "keyword.other.operation.sculpt": OPERATION,
    "variable.parameter.clause.sculpt": CLAUSE,
}
SKIPPED = re.compile(
    r'"(?:\\.|[^"\\])*"?|#[0-9a-fA-F]{6}(?!\w)|#.*|(?<![\w.])\d[\w.]*|(?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)'
)


@cache
def _hues() -> dict[str, Rgb]:
    """Every word of the language and its colour."""
    found = {word: HUES[group] for group, words in groups().items() for word in words}
    return {**dict.fromkeys(COLORS, CONSTANT), **dict.fromkeys(FUNCTIONS, SHAPE), **found}


@lru_cache(maxsize=4096)
def coloured(line: str) -> tuple[tuple[int, str, Rgb], ...]:
    """The words of a line outside of texts and comments: column, word, colour."""
    hues = _hues()
    words = ((m.start(), m["word"]) for m in SKIPPED.finditer(line) if m["word"])
    return tuple((column, word, hues.get(word, PLAIN)) for column, word in words)


def draw_words(editor: Editor, title: str) -> None:
    """Draw the words over the editor that was rendered last under this title, in the font that is pushed."""
    parent = imgui.internal.get_current_window()
    child = imgui.internal.find_window_by_name(f"{parent.name}/{title}_{imgui.get_id(title):08X}")
    if child is None or child.hidden or not editor.get_line_count():
        return
    first = next((n for n in range(editor.get_line_count()) if editor.is_line_visible(n)), None)
    if first is None:
        return
    paint, size = child.draw_list, imgui.get_font_size()
    left = editor.doc_pos2_screen_pos(Editor.DocPos(first, 0)).x + child.scroll.x
    inner = child.inner_rect
    paint.push_clip_rect(ImVec2(max(left, inner.min.x), inner.min.y), inner.max, False)
    for number in range(first, editor.get_line_count()):
        if not editor.is_line_visible(number):
            break
        for column, word, hue in coloured(editor.get_line_text(number)):
            at = editor.doc_pos2_screen_pos(Editor.DocPos(number, column))
            paint.add_text(imgui.get_font(), size, at, imgui.get_color_u32((*hue, 1.0)), word)
    paint.pop_clip_rect()
