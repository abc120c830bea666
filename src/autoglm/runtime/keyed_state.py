"""``ctx.state``: durable keyed state of a run, as a mapping.

A write is in the journal at the latest together with the end of the attempt that made it, in the order of the writes;
reads see it at once. The keys are shared by all tasks of the run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from autoglm.base import jsonvalue
from autoglm.base.errors import TaskError
from autoglm.engine.messages import StateWritten


class KeyedState(MutableMapping[str, Any]):
    """Values are JSON data, without secrets (``scrub``). May be used from any thread."""

    def __init__(
        self, initial: dict[str, bytes], write: Callable[[StateWritten], None], scrub: Callable[[bytes], bytes]
    ) -> None:
        self._texts = dict(initial)
        self._scrub = scrub
        self._write = write
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Any:
        return jsonvalue.decode(self._texts[self._known(key)])

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            hint = f"write ctx.state[{str(key)!r}]"
            raise TaskError(f"a key of ctx.state is a text, not {key!r}", code="not-json", retryable=False, hint=hint)
        try:
            key = self._written(key)
            text = self._scrub(jsonvalue.encode(value))
        except jsonvalue.NotJson as error:
            raise TaskError(f"ctx.state[{key!r}]: {error}", code="not-json", retryable=False, hint=error.hint) from None
        with self._lock:
            self._texts[key] = text
            self._write(StateWritten(key, text))

    def __delitem__(self, key: str) -> None:
        key = self._known(key)
        with self._lock:
            del self._texts[key]
            self._write(StateWritten(key, None))

    def _written(self, key: str) -> str:
        """Return the key as it is written down: plain text, without secrets."""
        return str(jsonvalue.decode(self._scrub(jsonvalue.encode(key))))

    def _known(self, key: str) -> str:
        """Return the same for a key to look up; one that could not have been written is no key."""
        if not isinstance(key, str):
            raise KeyError(key)
        try:
            return self._written(key)
        except jsonvalue.NotJson:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._texts))

    def __len__(self) -> int:
        return len(self._texts)
