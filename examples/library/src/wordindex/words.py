"""Text to index terms."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_STOP = frozenset(_WORD.findall("a an and are as at be by for from in is it of on or that the this to was were with"))


def words(text: str) -> Iterator[str]:
    """The terms of a text, in order: case folded, without stop words, plural and possessive endings removed."""
    for match in _WORD.finditer(text):
        word = match.group().casefold()
        if word not in _STOP:
            yield _stem(word)


def _stem(word: str) -> str:
    """Harman's S stemmer (1991): only the regular English plurals, so that it never joins unrelated words."""
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    if word.endswith("es") and word[-3] not in "aeo":
        return word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]
