"""Words, captions and held-out combinations: everything that needs no rendering."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from interactive3d.runtime.engine.evaluation import read_prompts
from interactive3d.runtime.guidance.objects.captions import (
    HELD_OUT,
    PROMPTS_50,
    Description,
    available_parts,
    caption,
    describe,
    held_out,
    parse,
)
from interactive3d.runtime.guidance.objects.looks import look_of
from interactive3d.runtime.guidance.objects.words import (
    COLOURS,
    KINDS,
    KINDS_WORDS,
    MATERIAL_SLOTS,
    OPTION_WORD,
    OPTIONS,
    SYNONYMS,
    normalise,
    unknown_words,
    vocabulary,
)

DRAWS = 1500


def _random_description(rng: random.Random) -> Description:
    kind = rng.choice(KINDS)
    options = tuple(option for option in (rng.choice(group) for group in OPTIONS[kind]) if option)
    return describe(kind, options, rng)


def test_there_are_enough_kinds_and_colours() -> None:
    assert len(KINDS) >= 22
    assert len(COLOURS) == 12


def test_a_caption_says_everything_about_the_look() -> None:
    rng = random.Random(1)
    for _ in range(DRAWS):
        description = _random_description(rng)
        text = caption(description, rng)
        assert parse(text) == description, text
        assert not unknown_words(text), text


def test_captions_are_deterministic() -> None:
    first = [caption(_random_description(r), r) for r in [random.Random(3)] for _ in range(20)]
    again = [caption(_random_description(r), r) for r in [random.Random(3)] for _ in range(20)]
    assert first == again


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a crimson bunny", Description("rabbit", "red")),
        ("A gray T-Rex with pink belly!", Description("t_rex", "grey", part_colours=(("belly", "pink"),))),
        ("a teapot with yellow and blue stripes", Description("teapot", "yellow", "stripes", "blue")),
        ("a striped yellow and blue teapot", Description("teapot", "yellow", "stripes", "blue")),
        ("a white rabbit with pink ears standing", Description("rabbit", "white", "plain", "", (("ears", "pink"),), ("standing",))),
        ("a dragon without wings", Description("dragon", "green", options=("wingless",))),
        ("a samurai with a black cape", Description("samurai", "red", part_colours=(("cloak", "black"),))),
        ("a mushroom with a blue cap", Description("mushroom", "blue")),
        ("a roaring dinosaur", Description("t_rex", "green")),
    ],
)  # fmt: skip
def test_parse_reads_free_wordings(text: str, expected: Description) -> None:
    assert parse(text) == expected


def test_synonyms_lead_to_known_words() -> None:
    known = {word for words in vocabulary().values() for word in words}
    assert {target for target in SYNONYMS.values() if target} <= known
    assert normalise("A Grey tyrannosaurus-rex") == ["a", "grey", "t_rex", "rex"]


def test_unknown_words_come_with_near_ones() -> None:
    found = dict(unknown_words("a red dragoon with qqqq"))
    assert "dragon" in found["dragoon"]
    assert found["qqqq"] == []


def test_every_option_has_a_word_of_its_own() -> None:
    for kind, groups in OPTIONS.items():
        words = [
            OPTION_WORD[option] for group in groups for option in group[1:] if option not in ("with cloak", "no cloak")
        ]
        assert all(words), kind
        assert len(words) == len(set(words)), kind


def test_part_slots_are_free_of_material_slots() -> None:
    for kind, words in KINDS_WORDS.items():
        slots = [part.slot for part in words.parts.values() if part.rule != "alias"]
        assert len(slots) == len(set(slots)), kind
        assert not set(slots) & set(MATERIAL_SLOTS.values()), kind
        assert 1 not in slots, kind


def test_held_out_combinations_name_things_that_exist() -> None:
    for kind, colour in HELD_OUT.colours:
        assert colour in COLOURS
        assert KINDS_WORDS[kind].colour != colour, "the kind's own colour must be trained"
    for kind, part, colour in HELD_OUT.parts:
        assert part in KINDS_WORDS[kind].parts
        assert colour in COLOURS
        assert KINDS_WORDS[kind].parts[part].rule != colour


def test_held_out_sees_main_second_and_part_colours() -> None:
    assert held_out(Description("dragon", "purple"))
    assert held_out(Description("dragon", "red", "stripes", "purple"))
    assert held_out(Description("dragon", "red", part_colours=(("wings", "pink"),)))
    assert not held_out(Description("dragon", "red", part_colours=(("wings", "blue"),)))


def test_the_fifty_prompts() -> None:
    assert len(PROMPTS_50) == 50
    assert {prompt.description.kind for prompt in PROMPTS_50} == set(KINDS)
    assert len({(prompt.description.kind, prompt.description.colour) for prompt in PROMPTS_50}) == 50
    assert all(held_out(prompt.description) for prompt in PROMPTS_50)
    assert sum(bool(prompt.description.part_colours) for prompt in PROMPTS_50) >= 40
    for description, text in PROMPTS_50:
        assert not unknown_words(text)
        named = {part for part, _ in description.part_colours}
        assert named <= set(available_parts(description.kind, description.options)), text


def test_unmentioned_parts_follow_from_kind_and_colour() -> None:
    plain = look_of(Description("dragon", "red"))
    winged = look_of(Description("dragon", "red", part_colours=(("wings", "blue"),)))
    slot = KINDS_WORDS["dragon"].parts["wings"].slot
    assert plain.palette[slot].tolist() == plain.palette[1].tolist()
    assert winged.palette[slot].tolist() == pytest.approx(COLOURS["blue"])
    assert (winged.palette[1] == plain.palette[1]).all()


def test_words_import_neither_numba_nor_torch() -> None:
    code = (
        "import sys, interactive3d.runtime.guidance.objects.captions, interactive3d.runtime.guidance.objects.words;"
        "sys.exit(any(name in sys.modules for name in ('numba', 'torch', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_file_of_the_benchmark_holds_the_fifty_prompts() -> None:
    """`interactive3d eval benchmarks/prompts_50.txt` is the evaluation that docs/prior.md reports."""
    file = Path(__file__).parents[3] / "benchmarks" / "prompts_50.txt"
    assert read_prompts(file) == [prompt.text for prompt in PROMPTS_50]
