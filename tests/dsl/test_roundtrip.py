"""What is printed reads back as an equal value: every kind of operation, shape, part and moment, and whole programs."""

from dataclasses import replace

import pytest
from dsl_strategies import HEAD, LEAVES, MOMENTS, OPERATIONS, SHAPES, TAG, VIEW, operations, parts
from dsl_support import context
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interactive3d.dsl import SculptError, format_operation, format_program, format_source, loads, parse_operation
from interactive3d.dsl import operations as o
from interactive3d.dsl import values as v

CONTEXT = context(parts=(HEAD,), views=(VIEW,), tags=(TAG.name,))
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def back(operation: o.Operation) -> o.Operation:
    written = format_operation(operation)
    try:
        return parse_operation(written, CONTEXT)
    except SculptError as fault:
        raise AssertionError(f"{written}\n{fault}") from fault


def test_every_kind_has_a_strategy() -> None:
    assert set(OPERATIONS) == set(o.OPERATION_KINDS)
    assert set(SHAPES) == set(v.SHAPE_KINDS)
    assert set(MOMENTS) == set(v.WHEN_KINDS)
    branches = {v.UnionPart, v.DifferencePart, v.IntersectionPart, v.NotPart, v.GrowPart}
    assert set(LEAVES) | branches == set(v.PART_KINDS)


@pytest.mark.parametrize("kind", o.OPERATION_KINDS, ids=lambda kind: kind.__name__)
def test_parse_of_format_is_the_same(kind: type[o.Operation]) -> None:
    @QUICK
    @given(OPERATIONS[kind])
    def check(operation: o.Operation) -> None:
        assert back(operation) == operation

    check()


@settings(QUICK, max_examples=150)
@given(parts)
def test_part_expressions(part: v.PartExpression) -> None:
    assert back(o.Remove(part=part)).part == part


@pytest.mark.parametrize("kind", v.WHEN_KINDS, ids=lambda kind: kind.__name__)
def test_moments(kind: type) -> None:
    @QUICK
    @given(MOMENTS[kind])
    def check(when: v.When) -> None:
        operation = (
            o.Ramp(when=when, path="lr.position", start=0.0, end=1.0) if kind is v.FromTo else o.Checkpoint(when=when)
        )
        assert back(operation) == operation

    check()


@QUICK
@given(operations)
def test_printed_lines_are_formatted_already(operation: o.Operation) -> None:
    line = format_operation(operation)
    assert format_source(line) == line + "\n"


@settings(QUICK, max_examples=60)
@given(
    st.lists(st.one_of(OPERATIONS[o.Drag], OPERATIONS[o.Rotate], OPERATIONS[o.Paint], OPERATIONS[o.Edit]), max_size=5),
    st.data(),
)
def test_programs(drawn: list[o.Operation], data: st.DataObject) -> None:
    """A printed program is read back as the same program, and prints the same again."""
    spread = [replace(op, when=v.AtStep(step=1000 * i), label=None) for i, op in enumerate(drawn)]
    body = "\n".join(format_operation(replace(op, steps=7) if isinstance(op, o.TermOperation) else op) for op in spread)
    head = 'prompt "a green dragon"\nsteps 9000\nview front = orbit azimuth 10 elevation 20\n'
    head += "part head = sphere at (0, 0.3, 0.3) radius 0.15\n"
    add = "at start add sphere at (0, 0.5, 0) radius 0.1 count 20 color red as knight\n"
    loaded = loads(head + add + body, context())
    assert loaded.program is not None, loaded.diagnostics
    printed = format_program(loaded.program)
    again = loads(printed, context())
    assert again.program == loaded.program
    assert format_program(again.program) == printed


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        format_operation(o.Move(part=v.AllPart(), by=(float("nan"), 0.0, 0.0)))
    with pytest.raises(ValueError, match="exactly one"):
        o.Move(part=v.AllPart())
