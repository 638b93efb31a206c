"""Sliders that take typed numbers too (ctrl+click), and never give one that nothing can be done with."""

import math

from imgui_bundle import imgui


def slide_float(
    label: str,
    value: float,
    low: float,
    high: float,
    form: str,
    *,
    least: float | None = None,
    most: float | None = None,
) -> tuple[bool, float]:
    """Whether it changed, and its value: pulled from ``low`` to ``high``, typed from ``least`` to ``most`` where they are farther out."""
    changed, found = imgui.slider_float(label, value, low, high, form)
    if not math.isfinite(found):
        return False, value
    return changed, min(max(found, low if least is None else least), high if most is None else most)


def slide_int(
    label: str, value: int, low: int, high: int, form: str, *, least: int | None = None, most: int | None = None
) -> tuple[bool, int]:
    """The same for whole numbers."""
    changed, found = imgui.slider_int(label, value, low, high, form)
    return changed, min(max(found, low if least is None else least), high if most is None else most)
