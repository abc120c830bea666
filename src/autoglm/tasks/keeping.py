"""Answers that need not be asked for: from the run's cassette, or kept from an earlier call of a task with ``cache``.

A kept answer costs nothing, and the usage says so (``cache_hits``, ``replayed``). What a cache keeps is put in the
store once the attempt has succeeded: an answer that nobody could use is asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from autoglm.base.errors import StoreError
from autoglm.llm.asked import Document, digest_of
from autoglm.spec.model import CacheScope
from autoglm.stores.protocol import EntryWrite
from autoglm.tasks.cassettes import Cassette

if TYPE_CHECKING:
    from autoglm.llm.models import Endpoint
    from autoglm.stores.protocol import Store
    from autoglm.tasks.protocol import Attempt

T = TypeVar("T")


class Keeping:
    """The kept answers of one run."""

    def __init__(self, run_id: str, workflow: str, store: Store | None, cassette: Cassette | None) -> None:
        self._scopes = {CacheScope.RUN: f"run/{run_id}", CacheScope.WORKFLOW: f"workflow/{workflow}"}
        self._store = store
        self.cassette = cassette
        self._pending: list[EntryWrite] = []
        self._is_writing = False

    def concerns(self, attempt: Attempt) -> bool:
        """Return whether answers to this attempt are looked up or kept at all."""
        return self.cassette is not None or (attempt.cache is not None and self._store is not None)

    def find(
        self, attempt: Attempt, endpoint: Endpoint, asked: Document, read: Callable[[object], T], now: float
    ) -> T | None:
        """Return a known answer; None when the model must be asked. Raises TaskError ``cassette-mismatch``."""
        if self.cassette is not None:
            answer = self.cassette.find(attempt.task_id, asked)
            if answer is not None:
                return self._used(attempt, "replayed", read(answer))
        if attempt.cache is not None and self._store is not None:
            try:
                entry = self._store.get_entry(self._key(attempt, endpoint, asked), now)
                if entry is not None:
                    return self._used(attempt, "cache_hits", read(msgspec.json.decode(entry.data)))
            except (StoreError, msgspec.DecodeError) as error:
                attempt.log("log", f"warning: a kept answer cannot be read, the model is asked: {error}")
        return None

    def _used(self, attempt: Attempt, how: str, answer: T) -> T:
        attempt.usage[how] = attempt.usage.get(how, 0) + 1
        attempt.usage.setdefault("calls", 0)
        return answer

    def keep(self, attempt: Attempt, endpoint: Endpoint, asked: Document, answer: Document, now: float) -> None:
        """Note an answer; a cache has it once the attempt has succeeded."""
        if self.cassette is not None:
            self.cassette.keep(attempt.task_id, asked, answer)
        if attempt.cache is not None and self._store is not None:
            expires = None if attempt.cache.ttl is None else now + attempt.cache.ttl
            key = self._key(attempt, endpoint, asked)
            attempt.answers.append(EntryWrite(key=key, data=msgspec.json.encode(answer), expires_at=expires))

    def _key(self, attempt: Attempt, endpoint: Endpoint, asked: Document) -> str:
        assert attempt.cache is not None
        scope = self._scopes.get(attempt.cache.scope, "project")
        return f"answer:{scope}:{digest_of({**asked, 'at': endpoint.base_url})}"

    def take(self, answers: list[EntryWrite]) -> None:
        """Take answers of an attempt that has succeeded, to be written."""
        self._pending += answers

    async def write(self, now: float) -> None:
        """Put what was taken in the store: what comes while it is written goes with the next group."""
        if self._is_writing:
            return
        self._is_writing = True
        try:
            while self._pending:
                await asyncio.to_thread(self._write, now)
        finally:
            self._is_writing = False

    def _write(self, now: float) -> None:
        writes, self._pending = self._pending, []
        if self._store is not None and writes:
            try:
                self._store.put_entries(writes, now)
            except StoreError:
                return  # a cache that cannot be written costs money, never a run

    def close(self, now: float) -> None:
        """Write what is left, and the cassette. May wait for a disk. Raises UsageError ``cassette-unwritable``."""
        self._write(now)
        if self.cassette is not None:
            self.cassette.close()
