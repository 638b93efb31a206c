"""No text makes the language crash, hang or nest without end."""

import time
from pathlib import Path

import pytest
from dsl_support import context
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interactive3d.dsl import SculptError, format_source, loads, parse_operation
from interactive3d.dsl.tables import tables

QUICK = settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TOUR = (Path(__file__).parent / "tour.sculpt").read_text(encoding="utf-8")
# Words are drawn from the language's own, so that the fuzz gets past the first token.
_WORDS = [
    *sorted(tables().words),
    *sorted(tables().signs),
    "head",
    "back",
    "1",
    "0.5",
    '"a"',
    "\n",
    "\n",
    "{",
    "}",
    "(",
    ")",
    "(0, 1, 2)",
    "# x\n",
]
soup = st.lists(st.sampled_from(_WORDS), max_size=60).map(" ".join)
# A stuck loop would run for ever; this is far above what any small text takes on a busy machine.
PATIENCE_SECONDS = 20.0


def survives(text: str) -> None:
    begin = time.process_time()
    loaded = loads(text, context())
    assert time.process_time() - begin < PATIENCE_SECONDS
    for diagnostic in loaded.diagnostics:
        span = diagnostic.span
        assert 0 <= span.start <= span.end <= max(len(text), 1) or span.file == "<--set>"
        assert diagnostic.message
    try:
        formatted = format_source(text)
    except SculptError as fault:
        assert fault.diagnostics
    else:
        assert format_source(formatted) == formatted


@QUICK
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    survives(text)


@settings(QUICK, max_examples=300)
@given(soup)
def test_any_words(text: str) -> None:
    survives(text)


@settings(QUICK, max_examples=150)
@given(st.integers(0, len(TOUR)), st.integers(0, 30), st.one_of(st.sampled_from(_WORDS), st.text(max_size=3)))
def test_the_tour_with_a_hole(at: int, length: int, patch: str) -> None:
    survives(TOUR[:at] + patch + TOUR[at + length :])


@QUICK
@given(soup)
def test_single_lines(text: str) -> None:
    try:
        operation = parse_operation(text, context())
    except SculptError as fault:
        assert fault.diagnostics
    else:
        assert operation.keyword


DEEP = 20000


@pytest.mark.parametrize(
    "text",
    [
        "let a = " + "(" * DEEP,
        "let a = " + "[" * DEEP + "]" * DEEP,
        "let a = " + "f(" * DEEP,
        "at start {" * DEEP,
        "if on {\n" * DEEP,
        "let a = " + "- " * DEEP + "1",
        "let a = " + "not " * DEEP + "on",
        "let a = 1" + " + 1" * DEEP,
        "let a = 1" + " ^ 1" * DEEP,
        "let a = on" + " and on" * DEEP,
        "part a = all" + " grow 1" * DEEP,
        "let a = 1" + " deg" * DEEP,
        "if on {}" + " else if on {}" * DEEP,
        "}" * DEEP,
        '"' * DEEP,
        "#" * DEEP,
        "let a = [" + "1, " * DEEP + "]",
        "a: " * DEEP,
        "for x in [1, 2, 3, 4, 5, 6, 7, 8, 9] {" * 12 + "\n",
        "gesture g0(a: part) {\n  remove a\n}\n"
        + "".join(f"gesture g{i}(a: part) {{\n" + f"  g{i - 1}(a)\n" * 10 + "}\n" for i in range(1, 12))
        + "at step 1 g11(all)\n",
    ],
    ids=lambda text: text[:12],
)
def test_nesting_and_length_are_bounded(text: str) -> None:
    begin = time.process_time()
    loads(text, context())
    assert time.process_time() - begin < PATIENCE_SECONDS
