"""The words the generated objects answer to: kinds, colours, parts, patterns, options and their synonyms. Pure data, no torch.

A kind's look is settled by its words alone: every part that a text does not mention has a colour that follows from the kind and
the main colour (`KindWords.rules`), and every option that a text does not mention has its default.
"""

import difflib
import re
from dataclasses import dataclass, field

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.98, 0.52, 0.08),
    "yellow": (0.98, 0.85, 0.15),
    "green": (0.15, 0.62, 0.20),
    "blue": (0.12, 0.30, 0.85),
    "purple": (0.50, 0.18, 0.72),
    "pink": (0.97, 0.56, 0.72),
    "brown": (0.48, 0.29, 0.14),
    "black": (0.13, 0.13, 0.15),
    "white": (0.96, 0.96, 0.96),
    "grey": (0.56, 0.57, 0.60),
    "cyan": (0.12, 0.80, 0.88),
}
"""sRGB, 0..1. Words of a text that name a colour."""

MATERIALS: dict[str, tuple[float, float, float]] = {
    "ivory": (0.94, 0.89, 0.76),
    "skin": (0.95, 0.77, 0.62),
    "glass": (0.66, 0.84, 0.95),
    "steel": (0.70, 0.73, 0.78),
    "wood": (0.62, 0.43, 0.25),
    "eye": (0.05, 0.05, 0.07),
    "coal": (0.08, 0.08, 0.10),
}
"""sRGB of what no text colours. `eye` turns pale on black objects, so that faces stay readable."""

PATTERNS: tuple[str, ...] = ("plain", "stripes", "spots")

MAIN_SLOT = 1
MATERIAL_SLOTS: dict[str, int] = {"ivory": 10, "skin": 11, "glass": 12, "steel": 13, "wood": 14, "eye": 15, "coal": 9}
"""Part slots shared by all kinds; slots 1 to 8 belong to the kind, 0 is the background."""


@dataclass(frozen=True)
class Part:
    """A named part: its label slot, its colour when unmentioned, and the option it needs.

    `rule` is "main" (as the main colour, with its pattern), "light" or "dark" (main mixed with white or black), a colour, a material,
    or "alias" (another word for what the main colour paints: the cap of a mushroom).
    `needs` is an option that brings the part, or "-option" for one that takes it away, or "".
    """

    slot: int
    rule: str = "main"
    needs: str = ""


@dataclass(frozen=True)
class KindWords:
    """What a text can say of one kind. `options` are groups of alternatives; the first of a group is the default ("" when it has no word)."""

    colour: str
    parts: dict[str, Part] = field(default_factory=dict)
    options: tuple[tuple[str, ...], ...] = ()


POSES = ("standing", "arms up", "waving")

KINDS_WORDS: dict[str, KindWords] = {
    "dragon": KindWords(
        "green",
        {
            "wings": Part(2, "main", "-wingless"),
            "horns": Part(3, "ivory"),
            "belly": Part(4, "light"),
            "spikes": Part(5, "dark"),
            "tail": Part(6, "main"),
        },
        (("with wings", "wingless"), ("spread wings", "folded wings"), ("", "open mouth")),
    ),
    "bird": KindWords(
        "blue",
        {
            "wings": Part(2, "main"),
            "beak": Part(3, "orange"),
            "belly": Part(4, "light"),
            "legs": Part(5, "orange"),
            "tail": Part(6, "main"),
        },
        (("folded wings", "spread wings"),),
    ),
    "teapot": KindWords(
        "blue",
        {"lid": Part(2), "handle": Part(3), "spout": Part(4), "knob": Part(5)},
        (("", "tall"),),
    ),
    "mushroom": KindWords("red", {"stem": Part(2, "ivory"), "cap": Part(1, "alias")}, (("", "tall"),)),
    "knight": KindWords(
        "grey",
        {
            "shield": Part(2, "dark"),
            "plume": Part(3, "red"),
            "cloak": Part(4, "red", "with cloak"),
            "sword": Part(5, "steel"),
        },
        (POSES, ("", "with cloak")),
    ),
    "robot": KindWords(
        "cyan",
        {
            "head": Part(2),
            "arms": Part(3, "grey"),
            "legs": Part(4, "grey"),
            "antenna": Part(5, "red"),
            "eyes": Part(6, "yellow"),
        },
        (POSES,),
    ),
    "car": KindWords(
        "red",
        {
            "wheels": Part(2, "black"),
            "roof": Part(3),
            "windows": Part(4, "glass"),
            "lights": Part(5, "yellow"),
            "spoiler": Part(6, "main", "with spoiler"),
        },
        (("", "with spoiler"),),
    ),
    "chair": KindWords(
        "brown",
        {"seat": Part(2), "legs": Part(3), "back": Part(4), "armrests": Part(5, "main", "with armrests")},
        (("", "with armrests"), ("", "tall")),
    ),
    "tree": KindWords(
        "green",
        {"trunk": Part(2, "brown"), "leaves": Part(1, "alias"), "apples": Part(4, "red", "with apples")},
        (("round", "pine"), ("", "with apples")),
    ),
    "fish": KindWords("orange", {"fins": Part(2), "tail": Part(3), "belly": Part(4, "light")}),
    "rabbit": KindWords(
        "white",
        {"ears": Part(2), "tail": Part(3, "white"), "belly": Part(4, "light"), "nose": Part(5, "pink")},
        (("sitting", "standing"),),
    ),
    "house": KindWords(
        "yellow",
        {
            "roof": Part(2, "brown"),
            "door": Part(3, "brown"),
            "windows": Part(4, "glass"),
            "chimney": Part(5, "grey"),
            "walls": Part(1, "alias"),
        },
        (("", "tall"),),
    ),
    "t_rex": KindWords(
        "green",
        {"belly": Part(2, "light"), "legs": Part(3), "tail": Part(4), "head": Part(5), "arms": Part(6)},
        (("open mouth", "closed mouth"),),
    ),
    "samurai": KindWords(
        "red",
        {
            "cloak": Part(2, "dark", "with cloak"),
            "helmet": Part(3, "black"),
            "horns": Part(4, "yellow"),
            "sword": Part(5, "steel"),
            "trousers": Part(6, "dark"),
        },
        ((*POSES, "kicking"), ("with cloak", "no cloak")),
    ),
    "corgi": KindWords(
        "orange",
        {
            "belly": Part(2, "white"),
            "ears": Part(3),
            "collar": Part(4, "red"),
            "paws": Part(5, "white"),
            "tail": Part(6),
        },
        (("standing", "sitting"),),
    ),
    "cat": KindWords(
        "grey",
        {"ears": Part(2), "tail": Part(3), "belly": Part(4, "light"), "paws": Part(5), "collar": Part(6, "red")},
        (("sitting", "standing"),),
    ),
    "angel": KindWords(
        "white",
        {"wings": Part(2, "white"), "hair": Part(3, "yellow"), "halo": Part(4, "yellow"), "robe": Part(1, "alias")},
        (POSES,),
    ),
    "castle": KindWords(
        "grey",
        {"roofs": Part(2, "blue"), "gate": Part(3, "brown"), "flag": Part(4, "red"), "walls": Part(1, "alias")},
        (("", "tall"),),
    ),
    "rocket": KindWords(
        "white",
        {
            "fins": Part(2, "red"),
            "nose": Part(3, "red"),
            "window": Part(4, "glass"),
            "flame": Part(5, "orange", "with flame"),
        },
        (("", "with flame"),),
    ),
    "flower": KindWords(
        "pink",
        {
            "petals": Part(1, "alias"),
            "centre": Part(3, "yellow"),
            "stem": Part(4, "green"),
            "leaves": Part(5, "green"),
            "pot": Part(6, "brown", "with pot"),
        },
        (("", "with pot"),),
    ),
    "horse": KindWords(
        "brown",
        {
            "mane": Part(2, "black"),
            "tail": Part(3, "black"),
            "hooves": Part(4, "black"),
            "saddle": Part(5, "red", "with saddle"),
        },
        (("standing", "rearing"), ("", "with saddle")),
    ),
    "elephant": KindWords(
        "grey",
        {"ears": Part(2), "tusks": Part(3, "ivory"), "trunk": Part(4), "saddle": Part(5, "red", "with saddle")},
        (("", "raised trunk"), ("", "with saddle")),
    ),
    "boat": KindWords(
        "brown",
        {"sail": Part(2, "white"), "mast": Part(3, "wood"), "flag": Part(4, "red"), "hull": Part(1, "alias")},
    ),
    "lamp": KindWords(
        "yellow", {"base": Part(2, "grey"), "stand": Part(3, "grey"), "shade": Part(1, "alias")}, (("", "tall"),)
    ),
    "penguin": KindWords(
        "black",
        {
            "belly": Part(2, "white"),
            "beak": Part(3, "orange"),
            "feet": Part(4, "orange"),
            "wings": Part(5),
            "scarf": Part(6, "red", "with scarf"),
        },
        (("folded wings", "spread wings"), ("", "with scarf")),
    ),
    "airplane": KindWords(
        "white",
        {
            "wings": Part(2),
            "tail": Part(3),
            "propeller": Part(4, "grey"),
            "windows": Part(5, "glass"),
            "wheels": Part(6, "black"),
        },
    ),
}

KINDS: tuple[str, ...] = tuple(KINDS_WORDS)
"""All kinds, in the order of their numbers in a dataset (append only: datasets and weights store the number)."""

PARTS: dict[str, tuple[str, ...]] = {kind: tuple(words.parts) for kind, words in KINDS_WORDS.items()}
OPTIONS: dict[str, tuple[tuple[str, ...], ...]] = {kind: words.options for kind, words in KINDS_WORDS.items()}

OPTION_WORD: dict[str, str] = {
    "with wings": "",
    "wingless": "wingless",
    "spread wings": "spread",
    "folded wings": "folded",
    "open mouth": "open",
    "closed mouth": "closed",
    "tall": "tall",
    "standing": "standing",
    "arms up": "up",
    "waving": "waving",
    "kicking": "kicking",
    "with cloak": "",
    "no cloak": "no",
    "with spoiler": "spoiler",
    "with armrests": "armrests",
    "round": "round",
    "pine": "pine",
    "with apples": "apples",
    "sitting": "sitting",
    "with flame": "flame",
    "with pot": "pot",
    "rearing": "rearing",
    "with saddle": "saddle",
    "raised trunk": "raised",
    "with scarf": "scarf",
}
"""The one token of a text that tells an option ("" for a default that only its absence tells). "with cloak" is special: see `captions.parse`."""

FILLER: tuple[str, ...] = (
    "a",
    "an",
    "the",
    "with",
    "and",
    "in",
    "of",
    "has",
    "its",
    "painted",
    "coloured",
    "toy",
    "wings",
    "mouth",
    "arms",
)

SYNONYMS: dict[str, str] = {
    "gray": "grey", "silver": "grey", "crimson": "red", "scarlet": "red", "golden": "yellow", "gold": "yellow",
    "violet": "purple", "magenta": "pink", "rose": "pink", "turquoise": "cyan", "teal": "cyan", "aqua": "cyan", "navy": "blue",
    "lime": "green", "emerald": "green", "beige": "white", "tan": "brown", "maroon": "brown", "bunny": "rabbit", "hare": "rabbit",
    "tyrannosaurus": "t_rex", "trex": "t_rex", "dinosaur": "t_rex", "kitten": "cat", "kitty": "cat", "puppy": "corgi", "dog": "corgi",
    "plane": "airplane", "aeroplane": "airplane", "aircraft": "airplane", "ship": "boat", "sailboat": "boat", "yacht": "boat",
    "pony": "horse", "stallion": "horse", "automobile": "car", "cottage": "house", "cabin": "house", "fortress": "castle",
    "toadstool": "mushroom", "fungus": "mushroom", "spaceship": "rocket", "warrior": "knight", "android": "robot",
    "parrot": "bird", "sparrow": "bird", "stool": "chair", "blossom": "flower", "daisy": "flower", "lantern": "lamp",
    "kettle": "teapot", "drake": "dragon", "wyvern": "dragon", "wing": "wings", "horn": "horns", "ear": "ears",
    "fin": "fins", "wheel": "wheels", "tyres": "wheels", "tires": "wheels", "leg": "legs", "arm": "arms", "paw": "paws",
    "hoof": "hooves", "tusk": "tusks", "petal": "petals", "leaf": "leaves", "foliage": "leaves", "apple": "apples", "spike": "spikes",
    "headlights": "lights", "sails": "sail", "cape": "cloak", "blade": "sword", "katana": "sword", "stalk": "stem", "foot": "feet",
    "striped": "stripes", "stripe": "stripes", "stripy": "stripes", "spotted": "spots", "dotted": "spots", "dots": "spots",
    "polka": "spots", "spot": "spots", "sits": "sitting", "seated": "sitting", "stands": "standing", "waves": "waving", "kicks": "kicking",
    "raising": "raised", "outstretched": "spread", "outspread": "spread", "wide": "spread", "roaring": "open", "bill": "beak",
    "without": "no", "center": "centre", "colored": "coloured", "colour": "coloured", "color": "coloured", "pants": "trousers",
    "feather": "plume", "flames": "flame", "fire": "flame", "armchair": "armrests", "roofing": "roof", "lampshade": "shade",
    "gates": "gate", "flags": "flag", "tower": "tall", "backrest": "back", "armour": "", "armor": "", "wearing": "with", "plain": "",
    "high": "tall", "long": "tall", "fir": "pine", "spruce": "pine", "wall": "walls", "rearward": "rearing", "is": "", "on": "",
}  # fmt: skip
"""Words that stand for a known word ("" for words that say nothing)."""


def display(kind: str) -> str:
    """The kind as a text writes it: "t rex" for `t_rex`."""
    return kind.replace("_", " ")


def vocabulary() -> dict[str, list[str]]:
    """All known tokens by category, in a fixed order; a token may stand in more than one category."""
    parts = dict.fromkeys(part for names in PARTS.values() for part in names)
    options = dict.fromkeys(word for word in OPTION_WORD.values() if word)
    return {
        "kinds": list(KINDS),
        "colours": list(COLOURS),
        "parts": list(parts),
        "patterns": list(PATTERNS[1:]),
        "options": list(options),
        "filler": list(FILLER),
    }


_KNOWN: frozenset[str] = frozenset(word for words in vocabulary().values() for word in words)


def _raw_tokens(text: str) -> list[str]:
    lowered = text.lower().replace("t-rex", "trex").replace("t_rex", "trex")
    lowered = re.sub(r"\bt[ .]rex\b", "trex", lowered)
    return re.findall(r"[a-z]+", lowered)


def normalise(text: str) -> list[str]:
    """Lower-case tokens of `text`, synonyms mapped, punctuation and empty words dropped; unknown words stay as they are."""
    tokens = (token if token in _KNOWN else SYNONYMS.get(token, token) for token in _raw_tokens(text))
    return [token for token in tokens if token]


def unknown_words(text: str) -> list[tuple[str, list[str]]]:
    """Words of `text` that nothing knows, each with up to three known words spelled like it."""
    known = sorted(_KNOWN | set(SYNONYMS))
    found = dict.fromkeys(token for token in _raw_tokens(text) if token not in _KNOWN and token not in SYNONYMS)
    return [(token, [display(n) for n in difflib.get_close_matches(token, known, n=3, cutoff=0.6)]) for token in found]
