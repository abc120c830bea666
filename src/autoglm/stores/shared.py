"""Changing what runs share: read an entry, work out the new one, write it over the version that was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from autoglm.base.errors import StoreError
from autoglm.stores.protocol import EntryWrite, Store

T = TypeVar("T")
_TRIES = 200


def change_entry(
    store: Store,
    key: str,
    now: float,
    change: Callable[[bytes | None], tuple[bytes | None, T]],
    *,
    keep: float | None = None,
) -> T:
    """Let ``change`` turn what is stored under ``key`` (None: nothing) into what shall be, and return its answer.

    ``change`` is called again when another process was faster. The entry lives ``keep`` seconds more, or for good. When
    the new text is the old one, nothing is written. Raises StoreError ``store-busy``.
    """
    for _ in range(_TRIES):
        found = store.get_entry(key, now)
        old = None if found is None else found.data
        new, answer = change(old)
        if new == old:
            return answer
        version = 0 if found is None else found.version
        write = EntryWrite(key=key, data=new, version=version, expires_at=None if keep is None else now + keep)
        if store.put_entries([write], now)[0]:
            return answer
    raise StoreError(f"the entry {key} is changed by others all the time", code="store-busy", hint="try again")
