"""Texts: what is not read of them is said, what has no effect too; each is encoded once."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from interactive3d.runtime.guidance.large.reading import Reader, unread
from interactive3d.runtime.guidance.large.texts import shortened

pytest.importorskip("diffusers")
pytest.importorskip("transformers")


class Words:
    """A tokenizer of whole words, with a mark before and one after."""

    def __call__(self, text: str, truncation: bool, verbose: bool) -> Any:
        assert not truncation and not verbose
        return SimpleNamespace(input_ids=["<", *text.split(), ">"])

    def decode(self, tokens: list[str], skip_special_tokens: bool) -> str:
        return "  ".join(tokens)


def test_what_no_encoder_reads_is_named() -> None:
    short, long = Reader(Words(), 5), Reader(Words(), 7)
    assert unread([short], "a red fox") is None
    found = unread([short], "a red fox sits down")
    assert found is not None
    assert (found.tokens, found.limit, found.rest) == (7, 5, "sits down")
    assert unread([short, long], "a red fox sits down") is None
    both = unread([long, short], "a red fox sits down on stones")
    assert both is not None
    assert (both.limit, both.rest) == (7, "on stones")
    assert unread([], "a red fox") is None
    assert both.told("the prompt “a red fox…”") == (
        "the prompt “a red fox…” is too long for the model: it has 9 tokens, 7 are read; not read: “on stones”; shorten it"
    )
    assert shortened("a fox") == "“a fox”"
    assert shortened("a fox " * 10) == "“a fox a fox a fox a fox a fox a fox a f…”"


@pytest.mark.parametrize("name", ["sd15", "sdxl", "if", "sd3", "flux-dev", "flux-schnell"])
def test_the_limit_is_what_the_pipeline_reads(name: str, make_guidance: Callable) -> None:
    """Texts that differ only after the last token that is read have the same embedding; one letter before, they differ."""
    import torch

    guidance = make_guidance(name)
    limit = max(reader.limit for reader in guidance.family.readers())
    if name.startswith("sd") and name != "sd3":
        # Tiny models read 16 tokens, real ones 77.
        assert limit == 16
    else:
        assert limit == {"if": 77, "sd3": 256, "flux-dev": 512, "flux-schnell": 256}[name]
    embed = lambda text: guidance.texts.embedding(text).words  # noqa: E731
    # A token a word for CLIP between its two marks; for T5 a token a letter, one before them and a mark behind.
    between = " " if limit == 16 else ""
    letters = ["a"] * (limit - 2)
    text = between.join(letters)
    assert unread(guidance.family.readers(), text) is None
    longer = between.join([*letters, "b"])
    missed = unread(guidance.family.readers(), longer)
    assert missed is not None
    assert (missed.tokens, missed.limit, missed.rest) == (limit + 1, limit, "b")
    assert torch.equal(embed(text), embed(longer))
    assert not torch.equal(embed(text), embed(between.join([*letters[:-1], "b"])))


def test_a_prompt_that_is_too_long_is_said_once(make_guidance: Callable, make_request: Callable) -> None:
    told: list[str] = []
    guidance = make_guidance("sd15", told.append)
    request = make_request(guidance, views=False)
    brief = dataclasses.replace(request, condition=guidance.encode("a fox", "blur"))
    before = len(told)
    guidance.score(brief)
    assert told[before:] == []
    long = dataclasses.replace(request, condition=guidance.encode("a fox that sits on a stone", "blurry, low quality"))
    guidance.score(long)
    guidance.score(long)
    prompt, avoid = told[before:]
    assert prompt.startswith(
        "the prompt “a fox that sits on a stone” is too long for the model: it has 22 tokens, 16 are read; not"
    )
    assert prompt.endswith("shorten it")
    assert avoid.startswith("avoid “blurry, low quality” is too long")
    # With the views said, it is longer still.
    guidance.score(dataclasses.replace(make_request(guidance, views=True), condition=guidance.encode("a fox", "blur")))
    assert told[-1].endswith("iew”; shorten it, or the views cannot be told apart")


def test_settings_without_effect_are_said(make_guidance: Callable, make_request: Callable) -> None:
    told: list[str] = []
    flux = make_guidance("flux-dev", told.append, large_perp_neg=True)
    flux.score(make_request(flux))
    assert [line for line in told if "no effect" in line] == [
        f"{what} has no effect with FLUX: its guidance is an input of the network, which takes one text"
        for what in ("large.perp_neg", "avoid")
    ]
    told.clear()
    plain = make_guidance("sd15", told.append)
    plain.score(make_request(plain, perp_neg=True, views=False))
    assert "large.perp_neg has no effect while large.views is off: it tells the views apart" in told
