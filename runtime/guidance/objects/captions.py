"""What an object looks like as a value, as a text, and back; and which looks are never trained on.

`caption` writes a text that settles the look: what it leaves out has its default (`looks.slot_colours`), so text alone determines
shape options and colours. `HELD_OUT` keeps some combinations of kind, part and colour out of every training caption to test
composition; every text of `PROMPTS_50` contains one.
"""

import random
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from interactive3d.runtime.guidance.objects.held_out import HELD_OUT_COLOURS, HELD_OUT_PARTS, PROMPT_TABLE
from interactive3d.runtime.guidance.objects.words import (
    COLOURS,
    KINDS_WORDS,
    OPTION_WORD,
    OPTIONS,
    PARTS,
    display,
    normalise,
)


@dataclass(frozen=True)
class Description:
    """One look: kind, main colour, pattern with its second colour, colours of named parts, options other than the defaults.

    `second_colour` is "" for plain objects. `options` are in the order of `words.OPTIONS` of the kind.
    """

    kind: str
    colour: str
    pattern: str = "plain"
    second_colour: str = ""
    part_colours: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()


class HeldOut(NamedTuple):
    """Combinations never used in training: (kind, main or second colour) and (kind, part, colour)."""

    colours: frozenset[tuple[str, str]]
    parts: frozenset[tuple[str, str, str]]


class Prompt(NamedTuple):
    """An evaluation prompt: the look, and the text that asks for it."""

    description: Description
    text: str


HELD_OUT = HeldOut(frozenset(HELD_OUT_COLOURS), frozenset(HELD_OUT_PARTS))


def held_out(description: Description) -> bool:
    """Whether the look contains a combination that training never shows."""
    pairs = {(description.kind, description.colour), (description.kind, description.second_colour)}
    triples = {(description.kind, part, colour) for part, colour in description.part_colours}
    return bool(pairs & HELD_OUT.colours or triples & HELD_OUT.parts)


def default_options(kind: str) -> frozenset[str]:
    """The options that a text need not mention."""
    return frozenset(group[0] for group in OPTIONS[kind])


def available_parts(kind: str, options: tuple[str, ...] | frozenset[str]) -> list[str]:
    """Parts of the kind that an object with these non-default options has and that a text can colour apart from the main colour."""
    active = set(options)
    for group in OPTIONS[kind]:
        if not active & set(group):
            active.add(group[0])
    found = []
    for name, part in KINDS_WORDS[kind].parts.items():
        if part.rule == "alias":
            continue
        needs = part.needs
        if not needs or (needs.startswith("-") and needs[1:] not in active) or needs in active:
            found.append(name)
    return found


def describe(kind: str, options: tuple[str, ...], rng: random.Random) -> Description:
    """A random look for an object of this kind with these options; one in three has its kind's own colour, one in four a pattern."""
    colours = list(COLOURS)
    colour = KINDS_WORDS[kind].colour if rng.random() < 0.15 else rng.choice(colours)
    pattern, second = "plain", ""
    if rng.random() < 0.25:
        pattern = rng.choice(("stripes", "spots"))
        second = rng.choice([other for other in colours if other != colour])
    parts = available_parts(kind, options)
    count = min(len(parts), rng.choices((0, 1, 2, 3), (0.25, 0.4, 0.25, 0.1))[0])
    named = sorted(rng.sample(parts, count), key=parts.index)
    part_colours = tuple((part, rng.choice(colours)) for part in named)
    kept = tuple(option for group in OPTIONS[kind] for option in group[1:] if option in options)
    return Description(kind, colour, pattern, second, part_colours, kept)


def _article(words: str) -> str:
    return ("an " if words[:1] in "aeiou" else "a ") + words


_SINGLE = frozenset(
    [
        "belly",
        "tail",
        "lid",
        "handle",
        "spout",
        "knob",
        "stem",
        "cap",
        "shield",
        "plume",
        "cloak",
        "sword",
        "head",
        "antenna",
        "roof",
        "spoiler",
        "seat",
        "back",
        "trunk",
        "nose",
        "door",
        "chimney",
        "helmet",
        "collar",
        "hair",
        "halo",
        "robe",
        "gate",
        "flag",
        "window",
        "flame",
        "centre",
        "pot",
        "mane",
        "saddle",
        "sail",
        "mast",
        "hull",
        "base",
        "stand",
        "shade",
        "beak",
        "scarf",
        "propeller",
    ]
)
_ADJECTIVES = frozenset(("wingless", "tall", "sitting", "standing", "waving", "kicking", "rearing", "pine", "round"))
_BRINGS = {"with cloak": "cloak", "with spoiler": "spoiler", "with armrests": "armrests", "with apples": "apples"} | {
    "with flame": "flame", "with pot": "pot", "with saddle": "saddle", "with scarf": "scarf",
}  # fmt: skip


def _part_phrase(part: str, colour: str, options: list[str], rng: random.Random) -> str:
    """ "blue wings", "a red cloak", "spread blue wings"; takes the options it says out of `options`."""
    phrase = f"{colour} {part}"
    if part == "wings":
        for option in ("spread wings", "folded wings"):
            if option in options:
                options.remove(option)
                phrase = f"{option.split()[0]} {phrase}"
    if part == "trunk" and "raised trunk" in options:
        options.remove("raised trunk")
        phrase = f"raised {phrase}"
    for option, brought in _BRINGS.items():
        if brought == part and option in options:
            options.remove(option)
    return _article(phrase) if part in _SINGLE and rng.random() < 0.6 else phrase


def _option_phrase(option: str, rng: random.Random) -> str:
    phrase = option.removeprefix("with ")
    single = phrase in _SINGLE or phrase.split()[-1] in ("mouth", "trunk")
    return _article(phrase) if single and rng.random() < 0.6 else phrase


def _join(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def caption(description: Description, rng: random.Random) -> str:
    """A text for the look, in one of several wordings. Leaves out nothing but the main colour where it is the kind's own.

    Parsed again, it gives the same description (`parse`). Defaults are mentioned now and then.
    """
    d = description
    words = KINDS_WORDS[d.kind]
    options = list(d.options)
    for group in OPTIONS[d.kind]:  # a default said aloud teaches what its absence means
        if group[0] and not set(group) & set(options) and rng.random() < 0.15 and _may_say(group[0], d):
            options.append(group[0])
    withs = [_part_phrase(part, colour, options, rng) for part, colour in d.part_colours]
    leading = [option for option in options if option in _ADJECTIVES]
    withs += [_option_phrase(option, rng) for option in options if option not in _ADJECTIVES]
    rng.shuffle(withs)
    if "no cloak" in d.options:
        withs = [phrase for phrase in withs if phrase != "no cloak"]
    noun = display(d.kind)
    trailing = (
        [leading.pop()] if leading and leading[-1] not in ("tall", "pine", "round") and rng.random() < 0.5 else []
    )
    colour = d.colour
    if d.pattern == "plain" and colour == words.colour and rng.random() < 0.3:
        colour = ""
    alias = [part for part, p in words.parts.items() if p.rule == "alias"]
    late = ""
    if d.pattern != "plain" and rng.random() < 0.6:
        withs.insert(0, f"{colour} and {d.second_colour} {d.pattern}")
        colour = ""
    elif d.pattern != "plain":
        withs.insert(0, f"{d.second_colour} {d.pattern}")
    if colour and d.pattern == "plain" and alias and rng.random() < 0.2:
        withs.insert(0, _article(f"{colour} {alias[0]}") if alias[0] in _SINGLE else f"{colour} {alias[0]}")
        colour = ""
    elif colour and rng.random() < 0.15:
        late, colour = colour, ""
    subject = " ".join([*leading, *([colour] if colour else []), noun])
    text = _article(subject) if rng.random() < 0.85 else subject
    if late:
        text += f", {late}," if withs else f", {late}"
    if withs:
        text += f" with {_join(withs)}"
    if trailing:
        text += f" {trailing[0]}" if not withs or rng.random() < 0.5 else f", {trailing[0]}"
    return text + (" without cloak" if "no cloak" in d.options else "")


def _may_say(option: str, description: Description) -> bool:
    """Whether naming this default is sensible: no spread wings on a wingless object, nothing that a part's colour already says."""
    if option in ("with wings", "with cloak"):
        return not any(part == option.removeprefix("with ") for part, _ in description.part_colours)
    return not (option.endswith("wings") and "wingless" in description.options)


def parse(text: str) -> Description:
    """The look that a text asks for, as well as it can be told. An unknown kind is "", an unknown colour the kind's own.

    Reads `normalise`d tokens: a colour belongs to the named part after it, or to the pattern after it, or else to the whole object.
    """
    tokens = normalise(text)
    kind = next((token for token in tokens if token in KINDS_WORDS), "")
    parts = PARTS.get(kind, ())
    qualifiers = {"spread", "folded", "raised", "tall", "coloured", "open"}
    main: list[str] = []
    part_colours: dict[str, str] = {}
    pattern = next((token for token in tokens if token in ("stripes", "spots")), "plain")
    second: list[str] = []
    for position, token in enumerate(tokens):
        if token not in COLOURS:
            continue
        after = [word for word in tokens[position + 1 :] if word not in qualifiers]
        if after[:1] == [pattern]:
            second.append(token)
        elif after and after[0] in parts:
            if KINDS_WORDS[kind].parts[after[0]].rule == "alias":
                main.insert(0, token)
            else:
                part_colours.setdefault(after[0], token)
        else:
            main.append(token)
    default = KINDS_WORDS[kind].colour if kind else next(iter(COLOURS))
    if pattern != "plain" and not second and len(main) > 1:
        second = [main.pop(1)]
    colour = main[0] if main else default
    if pattern != "plain" and not second:
        pattern = "plain"
    named = tuple((part, part_colours[part]) for part in parts if part in part_colours)
    return Description(kind, colour, pattern, second[0] if second else "", named, _parse_options(kind, tokens))


def _parse_options(kind: str, tokens: list[str]) -> tuple[str, ...]:
    denied = {after for word, after in pairwise(tokens) if word == "no"}
    said = set(tokens) - denied
    found = []
    for group in OPTIONS.get(kind, ()):
        for option in group[1:]:
            word = OPTION_WORD[option]
            if option == "with cloak":
                present = "cloak" in said
            elif option == "no cloak":
                present = "cloak" in denied
            elif option == "wingless":
                present = word in said or "wings" in denied
            else:
                present = word in said
            if present:
                found.append(option)
                break
    return tuple(found)


def with_colours(description: Description, **changes: object) -> Description:
    """The description with some fields changed."""
    return replace(description, **changes)  # type: ignore[arg-type]


PROMPTS_50: tuple[Prompt, ...] = tuple(Prompt(parse(text), text) for text in PROMPT_TABLE)
"""Fifty evaluation prompts, never trained on: each contains a held-out combination; all kinds, no kind and colour twice."""
