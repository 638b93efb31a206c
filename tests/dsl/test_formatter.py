"""The one way of writing: what changes, what stays, and that doing it twice changes nothing."""

from pathlib import Path

import pytest
from dsl_support import context
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interactive3d.dsl import SculptError, format_source, loads
from interactive3d.dsl.diagnostics import catalogue
from interactive3d.dsl.lexer import tokenize

TOUR = (Path(__file__).parent / "tour.sculpt").read_text(encoding="utf-8")
QUICK = settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

MESSY = """

#a comment
steps 1200   # the run
seed    7
prompt "x   y" # here


let   a=1.50+ -2*( 3-4 )^2
let longer = (0.10,  -0.2 ,0.3e0 )
view  front=orbit elevation 10 azimuth 0
part head=sphere at(0,0,0)radius 0.1
gesture flap( what:part,n :count=2 in 1..5 "how"  )"help"{
remove what }
at step 3 flap( head ,n= 3 )
at step 1000 drag head from(0,0,0)to(0,1,0) over 3 steps   rigid radius 0.1
a:at step 5{
    # inside

    paint head #FF8800   # orange

}
if a>1{
set lr.position 1e-2
}else{#why
}
let list=[1,2, # one
3,
 4]
every 10 steps from 20 to 30 snapshot "a_{step}.png" size 64 x 48 from front
#end"""

TIDY = """# a comment
steps  1200  # the run
seed   7
prompt "x   y"  # here

let a      = 1.5 + -2 * (3 - 4)^2
let longer = (0.1, -0.2, 0.3)
view front = orbit azimuth 0 elevation 10
part head = sphere at (0, 0, 0) radius 0.1
gesture flap(what: part, n: count = 2 in 1 .. 5 "how") "help" {
  remove what
}
at step 3    flap(head, n = 3)
at step 1000 drag head from (0, 0, 0) to (0, 1, 0) radius 0.1 rigid over 3 steps
a: at step 5 {
  # inside

  paint head #ff8800  # orange
}
if a > 1 {
  set lr.position 0.01
} else {  # why
}
let list = [1, 2,  # one
  3,
  4]
every 10 steps from 20 to 30 snapshot "a_{step}.png" from front size 64 x 48
# end
"""


def test_a_messy_script_becomes_tidy() -> None:
    assert format_source(MESSY) == TIDY


def test_tidy_stays_tidy() -> None:
    tidy = format_source(MESSY)
    assert format_source(tidy) == tidy
    tour = format_source(TOUR)
    assert format_source(tour) == tour


def test_meaning_stays() -> None:
    before, after = loads(TOUR, context()), loads(format_source(TOUR), context())
    assert before.program is not None
    assert after.program == before.program


@pytest.mark.parametrize("code", sorted(catalogue()))
def test_examples_of_the_catalogue_are_formatted(code: str) -> None:
    """What the documentation shows is written as the formatter writes it."""
    right = catalogue()[code].right
    assert format_source(right) == right + "\n"


def comments(text: str) -> list[str]:
    found = [text[start:end] for start, end in tokenize(text, lambda *_, **__: None).comments]
    return [comment.lstrip("# ").rstrip() for comment in found]


_PIECES = st.sampled_from(
    [
        "let a = 1 # one",
        "#two",
        "",
        "",
        "at step 3 {",
        "}",
        "  # three",
        "remove all",
        "part p = (sphere at (0, 0, 0) radius 1) # four",
        "let b = (1, # five",
        "2, 3)",
        "if 1 < 2 { # six",
        "} else {",
        "steps   12",
        "seed 3#seven",
        "at step 400 move all to (0,0,0) by -x",
        "x: after y remove all",
        'at step 3 edit all noise 0.1 .. 0.2 with "a # b" for 3 steps',
    ]
)


@settings(QUICK, max_examples=300)
@given(st.lists(_PIECES, max_size=14).map("\n".join))
def test_formatting_twice_is_formatting_once_and_keeps_all_comments(text: str) -> None:
    try:
        once = format_source(text)
    except SculptError:
        return
    assert format_source(once) == once
    assert comments(once) == comments(text)
    assert "\n\n\n" not in once
    assert not any(line != line.rstrip() for line in once.split("\n"))


def test_a_broken_text_is_left_alone() -> None:
    with pytest.raises(SculptError) as caught:
        format_source("let a = (1, 2\nlet b 3\n")
    assert [d.code for d in caught.value.diagnostics] == ["E0105", "E0110"]
    assert format_source("") == ""
    assert format_source("\n\n") == ""
