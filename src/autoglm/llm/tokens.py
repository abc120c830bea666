"""How many tokens a text may be, before any server has counted it. Pure.

Tokenizers differ, and none is at hand for every model. Measured over several of them, English runs at about four
characters a token and Chinese at about one and a half; the estimate of :func:`least_tokens` stays below what any counts
on ordinary text, so that only a prompt that certainly cannot fit is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

CHARACTERS_A_TOKEN: Final = 4.0
_MOST_CHARACTERS_A_TOKEN: Final = 7.0
"""What the best tokenizers reach on plain English prose."""
_MOST_WIDE_A_TOKEN: Final = 2.5
"""The same for characters beyond Latin ones."""


def least_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return a number of tokens that the messages have at least. What is no text (an image) is not counted."""
    return int(sum(_least(text) for message in messages for text in _texts(message.get("content"))))


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _least(text: str) -> float:
    if len(text) < 1000:
        return 0.0  # never the reason why a prompt is too long, and not worth looking at
    words = " ".join(text.split())  # runs of blanks are few tokens
    narrow = len(words) if words.isascii() else sum(character < "\u0370" for character in words)
    return narrow / _MOST_CHARACTERS_A_TOKEN + (len(words) - narrow) / _MOST_WIDE_A_TOKEN
