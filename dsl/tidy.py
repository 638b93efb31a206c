"""Numbers as people write them: what arithmetic and single precision leave behind their last digit is taken off.

A script that says `0.3 * 0.3` means 0.09 and not 0.09000000000000001, and a gizmo that was let go at 0.4 in single precision means 0.4 and
not 0.4000000059604645. Values are cleaned where they are made, never where they are printed, so that what is printed reads back as the
value itself. Between the steps of a calculation only what is plainly rounding is taken off, so that a third times three is one; twelve digits
are what an operation is given in the end. Literals stay as they are written.
"""

import math
import struct
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from interactive3d.dsl.values import DeclaredPart, OrbitView

DIGITS = 12
"""Significant digits that arithmetic keeps; a double has between 15 and 17, and a few operations cost one or two."""

ROUNDING = 2e-14
"""What a calculation of some tens of operations is off by, relatively."""

_Value = TypeVar("_Value")
_SINGLE = struct.Struct("f")


def tidy_number(value: float) -> float:
    """The number of twelve significant digits that this is but for rounding, or the value itself."""
    if not math.isfinite(value):
        return value
    short = float(f"{value:.{DIGITS}g}")
    return short if abs(short - value) <= ROUNDING * abs(value) else value


def tidy_sum(value: float, *terms: float) -> float:
    """The same for a sum of these terms, to twelve digits of the largest of them: 0.3 - 3 * 0.1 is 0."""
    scale = max(map(abs, terms))
    if scale == 0 or not math.isfinite(value):
        return value
    short = round(value, DIGITS - 1 - math.floor(math.log10(scale))) + 0.0
    return short if abs(short - value) <= ROUNDING * scale else value


def _shortened(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def tidy_given(value: float) -> float:
    """A number that a hand or a program gave: of single precision, the shortest decimal that reads back as the same in it."""
    if not math.isfinite(value) or value == int(value):
        return value
    try:
        single = _SINGLE.unpack(_SINGLE.pack(value))[0]
    except OverflowError:
        return _shortened(value)
    if single == value:
        for digits in range(1, 9):
            short = float(f"{value:.{digits}g}")
            if _SINGLE.pack(short) == _SINGLE.pack(value):
                return short
    return _shortened(value)


def tidy_color(value: Any) -> Any:
    """A colour as `tidy_operation` leaves it; one of hexadecimal digits stays exactly that, and is written as that."""
    if type(value) is tuple and all(round(channel * 255) / 255 == channel for channel in value):
        return value
    return tidy_operation(value)


def tidy_operation(value: _Value) -> _Value:
    """An operation, or any value of one, with every number as ``tidy_given`` leaves it."""
    found: Any = value
    if type(found) is float:
        return tidy_given(found)  # type: ignore[return-value]
    if type(found) is tuple:
        return tuple(tidy_operation(item) for item in found)  # type: ignore[return-value]
    if isinstance(found, DeclaredPart) or (isinstance(found, OrbitView) and found.name):
        # Cleaned where they were declared; here they must stay what that says.
        return value
    if is_dataclass(found) and not isinstance(found, type):
        changed: dict[str, Any] = {}
        for field in fields(found):
            old = getattr(found, field.name)
            if isinstance(old, float | tuple) or is_dataclass(old):
                new = tidy_color(old) if field.name == "color" else tidy_operation(old)
                if new != old:
                    changed[field.name] = new
        return replace(found, **changed) if changed else value  # type: ignore[return-value]
    return value
