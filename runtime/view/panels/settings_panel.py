"""Every setting of the engine, made from its own table: slider, log slider, switch or list; search, reset, what differs."""

import math
from itertools import groupby

from imgui_bundle import ImVec2, icons_fontawesome_6, imgui

from interactive3d.dsl.operations import SettingValue
from interactive3d.dsl.program import SettingSpec
from interactive3d.runtime.settings import SPECS, Settings
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import ACCENT, px

TITLES = {
    "lr": "Step sizes",
    "guidance": "Guidance",
    "camera": "Cameras",
    "densify": "Growing and pruning",
    "drag": "Dragging",
    "edit": "Editing with words",
    "repair": "Repair",
    "init": "First blobs",
    "distill": "Splats to field",
    "field": "Field",
    "refine": "Refining a part",
    "mesh": "Mesh",
    "large": "Large models",
}
LOG_FROM = 50.0
"""A range that reaches this many times its default is shown on a logarithmic scale."""


def is_logarithmic(spec: SettingSpec) -> bool:
    """Whether a slider over the whole range would leave the useful part a pixel wide."""
    if spec.kind not in ("float", "int") or spec.low is None or spec.high is None or spec.low < 0:
        return False
    return spec.high > LOG_FROM * max(abs(float(spec.default or 0.0)), 1e-9)  # type: ignore[arg-type]


def number_format(spec: SettingSpec) -> str:
    """Enough digits for the default and the range."""
    if spec.kind == "int":
        return "%d"
    default = abs(float(spec.default or 0.0))  # type: ignore[arg-type]
    digits = 2 if default == 0 else max(2, 2 - math.floor(math.log10(default)))
    return f"%.{min(digits, 6)}f"


def matches(spec: SettingSpec, words: str) -> bool:
    """Whether every word is in the path or the help."""
    text = f"{spec.path} {spec.help}".lower()
    return all(word in text for word in words.lower().split())


class SettingsPanel:
    """A change is sent when the slider is let go: one operation, at the next step."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.search = ""
        self.only_differing = False
        self._held: dict[str, SettingValue] = {}
        self._asked: object = None
        self._found: list[tuple[str, list[SettingSpec]]] = []

    def draw(self) -> None:
        """One frame."""
        settings = self.studio.worker.latest().settings
        differing = settings.differing()
        imgui.set_next_item_width(px(-150))
        _, self.search = imgui.input_text_with_hint(
            "##search", f"{icons_fontawesome_6.ICON_FA_MAGNIFYING_GLASS}  search", self.search
        )
        imgui.same_line()
        _, self.only_differing = imgui.checkbox(f"changed ({len(differing)})##changed", self.only_differing)
        if imgui.begin_child("settings"):
            for group, specs in self._groups(frozenset(differing)):
                self._group(group, specs, settings)
        imgui.end_child()

    def _groups(self, differing: frozenset[str]) -> list[tuple[str, list[SettingSpec]]]:
        """What is shown, by group; found anew only when the search or what differs has changed."""
        asked = (self.search, self.only_differing, differing if self.only_differing else None)
        if self._asked != asked:
            self._asked, self._found = asked, []
            for group, specs in groupby(SPECS.values(), key=lambda s: s.path.split(".")[0]):
                shown = [s for s in specs if matches(s, self.search)]
                shown = [s for s in shown if not self.only_differing or s.path in differing]
                if shown:
                    self._found.append((group, shown))
        return self._found

    def _group(self, group: str, specs: list[SettingSpec], settings: Settings) -> None:
        flags = (
            imgui.TreeNodeFlags_.default_open
            if self.search or self.only_differing or group in ("lr", "guidance")
            else 0
        )
        if not imgui.collapsing_header(f"{TITLES.get(group, group)}##{group}", flags):
            return
        for spec in specs:
            self._row(spec, settings.get(spec.path))

    def _row(self, spec: SettingSpec, value: SettingValue) -> None:
        imgui.push_id(spec.path)
        name = spec.path.split(".")[1].replace("_", " ")
        wide = imgui.get_content_region_avail().x
        differs = value != spec.default
        imgui.align_text_to_frame_padding()
        if differs:
            imgui.text_colored(ACCENT, name)
        else:
            imgui.text(name)
        if imgui.is_item_hovered():
            self._tip(spec)
        imgui.same_line(max(0.36 * wide, px(110)))
        imgui.set_next_item_width(px(-34) if differs else -1)
        self._widget(spec, value)
        if differs:
            imgui.same_line()
            if imgui.button(f"{icons_fontawesome_6.ICON_FA_ROTATE_LEFT}##reset", ImVec2(px(26), 0)):
                self.studio.change(spec.path, spec.default)  # type: ignore[arg-type]
            if imgui.is_item_hovered():
                imgui.set_tooltip(f"back to {spec.default}")
        imgui.pop_id()

    def _tip(self, spec: SettingSpec) -> None:
        span = " | ".join(spec.choices) if spec.choices else ""
        if spec.low is not None and spec.high is not None:
            span = f"{spec.low:g} .. {spec.high:g} {spec.unit or ''}".strip()
        imgui.begin_tooltip()
        imgui.push_text_wrap_pos(360.0)
        imgui.text_unformatted(f"set {spec.path}")
        imgui.text_disabled(f"{spec.help}" + (f"\n{span}" if span else "") + f"\ndefault {spec.default}")
        imgui.pop_text_wrap_pos()
        imgui.end_tooltip()

    def _widget(self, spec: SettingSpec, value: SettingValue) -> None:
        studio, held = self.studio, self._held
        shown = held.get(spec.path, value)
        if spec.kind == "bool":
            changed, new = imgui.checkbox("##value", bool(shown))
            if changed:
                studio.change(spec.path, new)
            return
        if spec.kind == "enum":
            index = spec.choices.index(str(shown)) if shown in spec.choices else 0
            changed, index = imgui.combo("##value", index, list(spec.choices))
            if changed:
                studio.change(spec.path, spec.choices[index])
            return
        flags = imgui.SliderFlags_.always_clamp
        if is_logarithmic(spec):
            flags |= imgui.SliderFlags_.logarithmic
        assert spec.low is not None and spec.high is not None
        new_value: SettingValue
        if spec.kind == "int":
            changed, new_value = imgui.slider_int("##value", int(shown), int(spec.low), int(spec.high), "%d", flags)
        else:
            changed, new_value = imgui.slider_float(
                "##value", float(shown), float(spec.low), float(spec.high), number_format(spec), flags
            )
            changed = changed and math.isfinite(new_value)
            new_value = float(f"{new_value:.6g}")
        if changed:
            held[spec.path] = new_value
        if imgui.is_item_deactivated_after_edit() and spec.path in held:
            studio.change(spec.path, held.pop(spec.path))
        elif not imgui.is_item_active() and spec.path in held:
            held.pop(spec.path)
