"""The journal's writer: one thread that commits in groups.

Whatever is waiting when a commit ends goes into the next one, of however many runs, so the number of commits a second
never bounds the number of tasks a second. Every waiter is told after its own commit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from autoglm.base.errors import StoreError
from autoglm.stores.protocol import Append, Store

Done = Callable[[StoreError | None], None]
"""Called on the loop when an append is committed, or with why it was not."""

_GROUP = 256
"""Appends in one transaction at most: a bound on how long a commit takes, not on throughput."""


class Journal:
    """Commits appends in the order they are handed in. One for each event loop; runs share it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queue: SimpleQueue[tuple[Append, Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def append(self, append: Append, done: Done) -> None:
        """Hand in an append; ``done`` is called on this loop after its commit. Appends of one run stay in order."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._write, name="autoglm-journal", daemon=True)
            self._thread.start()
        self._queue.put((append, done))

    def append_now(self, append: Append, done: Done) -> None:
        """Commit an append on this thread, at once. For a caller that has nothing handed in and nothing else to do.

        A chain of tasks does one commit a step, and handing each to the other thread and back costs as much again.
        """
        done(self._commit([append])[0])

    async def close(self) -> None:
        """Wait until everything handed in is committed and told, then end the thread. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)
            await asyncio.sleep(0)  # lets the last `done` calls run

    def _write(self) -> None:
        queue, is_open = self._queue, True
        while is_open:
            first = queue.get()
            if first is None:
                return
            group = [first]
            while len(group) < _GROUP and not queue.empty():
                following = queue.get()
                if following is None:
                    is_open = False
                    break
                group.append(following)
            self._tell([done for _, done in group], self._commit([append for append, _ in group]))

    def _commit(self, appends: Sequence[Append]) -> Sequence[StoreError | None]:
        try:
            return self.store.append(appends)
        except StoreError as error:
            return [error] * len(appends)
        except Exception as error:  # noqa: BLE001  # the thread must outlive a store's bug, and the run must hear of it
            message, hint = f"the store failed: {type(error).__name__}: {error}", "report it to the makers of the store"
            return [StoreError(message, code="store-failed", hint=hint)] * len(appends)

    def _tell(self, waiters: Sequence[Done], results: Sequence[StoreError | None]) -> None:
        def tell() -> None:
            for done, result in zip(waiters, results, strict=True):
                done(result)

        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(tell)
