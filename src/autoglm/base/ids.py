"""Ids of runs, and the keys by which receivers of side effects recognise a repeated attempt. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 (https://www.crockford.com/base32.html), in small letters: no i, l, o or u to misread."""
_TIME_DIGITS: Final = 9
"""45 bits of milliseconds: enough until the year 3084."""
_CHANCE_DIGITS: Final = 5
ENTROPY_BYTES: Final = 4
"""How many random bytes :func:`new_run_id` uses (25 of their bits)."""


def new_run_id(now: float, entropy: bytes) -> str:
    """Return a run id of 14 characters, such as ``1j62w8k5gq7f2x``, that sorts by ``now`` to the millisecond.

    Two runs of the same millisecond meet by chance once in 33 million; the store refuses the second then.

    Raises:
        ValueError: ``entropy`` holds fewer than four bytes, or ``now`` lies before 1970.
    """
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"a run id needs {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    if now < 0:
        raise ValueError("a run id needs a time after 1970")
    chance = int.from_bytes(entropy[:ENTROPY_BYTES], "big")
    return _base32(int(now * 1000), _TIME_DIGITS) + _base32(chance, _CHANCE_DIGITS)


def idempotency_key(run_id: str, task_id: str) -> str:
    """Return the key (32 hex digits) that is the same for every attempt of one task instance, and for no other."""
    text = f"{run_id}\0{task_id}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]


def _base32(number: int, digits: int) -> str:
    """Return the last ``digits`` digits of ``number``."""
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(digits)))
