"""Numbers that arithmetic and single precision make, as people write them."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interactive3d.dsl import format_operation, loads, parse_operation
from interactive3d.dsl.operations import AllPart, AtStep, Move
from interactive3d.dsl.tidy import tidy_given, tidy_number, tidy_operation, tidy_sum

HEAD = 'prompt "x"\nsteps 9\nparam p = 0.3\n'
MOVED = "at step 1 move all by "

DIGITS_LOST = 1e-11
"""Twelve digits are kept."""


def moved_by(expression: str) -> str:
    program = loads(f"{HEAD}at step 1 move all by {expression}\n").program
    assert program is not None
    text = format_operation(program.operations[0])
    assert parse_operation(text) == program.operations[0]
    return text.removeprefix(MOVED)


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        ("(p * p, 0.1 + 0.2, 1 / 3)", "(0.09, 0.3, 0.333333333333)"),
        ("(p - 3 * 0.1, -p, 0.7 - 0.1)", "(0, -0.3, 0.6)"),
        ("(0, 0.1, 0.7) * 3", "(0, 0.3, 2.1)"),
        ("3 * (0.1, 0.7, 1) / 7", "(0.0428571428571, 0.3, 0.428571428571)"),
        ("(0.1, 0, 0) + (0.2, p, 0) - (p, p, p)", "(0, 0, -0.3)"),
        ("(cos(90 deg), sin(180 deg), sin(30 deg))", "(0, 0, 0.5)"),
        ("mix((0.1, 0.2, 0.3), (0.4, 0.5, 0.9), 0.5)", "(0.25, 0.35, 0.6)"),
        ("normalize((1, 1, 0)) * sqrt(2)", "(1, 1, 0)"),
        ("(length((0.3, 0.4, 0)), 1.1 ^ 2, 0)", "(0.5, 1.21, 0)"),
        ("(1000000.1 * 3, 0.000001 * 3, 123456 / 10)", "(3000000.3, 3e-06, 12345.6)"),
    ],
)
def test_arithmetic_prints_as_people_write(expression: str, printed: str) -> None:
    assert moved_by(expression) == printed


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_single_precision_reads_back_as_itself(value: float) -> None:
    short = tidy_given(value)
    assert struct.pack("f", short) == struct.pack("f", value)
    assert tidy_given(short) == short
    assert len(repr(short)) <= len(repr(value))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_twelve_digits_stay(value: float) -> None:
    assert math.isclose(tidy_number(value), value, rel_tol=DIGITS_LOST, abs_tol=1e-300)
    assert tidy_number(tidy_number(value)) == tidy_number(value)


@given(
    st.floats(-1e6, 1e6, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-9),
    st.floats(-1e6, 1e6, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-9),
)
def test_sums_are_near(a: float, b: float) -> None:
    assert abs(tidy_sum(a + b, a, b) - (a + b)) <= DIGITS_LOST * max(abs(a), abs(b))


def test_operations_are_cleaned_whole() -> None:
    dirty = struct.unpack("f", struct.pack("f", 0.4))[0]
    op = Move(part=AllPart(), by=(dirty, 0.1 + 0.2, 2.0), when=AtStep(step=3))
    assert tidy_operation(op) == Move(part=AllPart(), by=(0.4, 0.3, 2.0), when=AtStep(step=3))
    assert parse_operation(format_operation(tidy_operation(op))) == tidy_operation(op)
    clean = Move(part=AllPart(), by=(0.25, 0.0, 0.0))
    assert tidy_operation(clean) is clean


def test_a_colour_of_hexadecimal_digits_stays_so_through_names_and_gestures() -> None:
    text = """prompt "a"
steps 9
let ember = #e0401a
gesture burn(tint: color = #8c2130) {
  paint all tint
}
at step 1 paint all ember
at step 2 burn()
at step 3 paint all mix(black, white, 0.1 + 0.2)
"""
    program = loads(text).program
    assert program is not None
    lines = [format_operation(operation) for operation in program.operations]
    assert lines[:2] == ["at step 1 paint all #e0401a", "at step 2 paint all #8c2130"]
    assert "0000000" not in lines[2]
