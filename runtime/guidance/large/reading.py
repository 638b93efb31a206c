"""How much of a text the encoders read: the rest is cut off without a word by the libraries, so it is said here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reader:
    """A tokenizer and how many tokens its encoder reads, those that mark beginning and end included."""

    tokenizer: Any
    limit: int


@dataclass(frozen=True)
class Unread:
    """What is cut off: tokens of the whole text, tokens that are read, and the words that are not."""

    tokens: int
    limit: int
    rest: str

    def told(self, what: str) -> str:
        """For the user; ``what`` names the text."""
        return (
            f"{what} is too long for the model: it has {self.tokens} tokens, {self.limit} are read; "
            f"not read: “{self.rest}”; shorten it"
        )


def unread(readers: Sequence[Reader], text: str) -> Unread | None:
    """What none of the encoders reads of a text; None where one of them reads all of it."""
    found = None
    for reader in readers:
        # The tokenizer's own warning would come on top of ours.
        tokens = reader.tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) <= reader.limit:
            return None
        if found is None or reader.limit > found.limit:
            # The last token that is read marks the end.
            rest = reader.tokenizer.decode(tokens[reader.limit - 1 : -1], skip_special_tokens=True)
            found = Unread(len(tokens), reader.limit, " ".join(rest.split()))
    return found
