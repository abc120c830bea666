"""Where batched calls are: what is written down before a batch is made and after, and how a batch is found again.

A provider has no idempotency key for batches. Instead every batch carries a *mark* in its metadata, written down before
it is asked for; and who does not know whether it was made asks for the provider's list of batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from autoglm.base.errors import TaskError
from autoglm.stores.protocol import EntryWrite

if TYPE_CHECKING:
    from autoglm.llm.batches import Batch
    from autoglm.llm.models import Endpoint
    from autoglm.llm.wire import Wire
    from autoglm.tasks.account import Account
    from autoglm.tasks.protocol import Attempt

_KEPT = 7 * 86400.0
"""Seconds for which the store remembers in which batch a call is."""
_MARK = "autoglm_mark"
_MOST_PAGES = 50
_SKEW = 3600.0
"""Seconds by which a provider's clock may be behind ours."""
_AMBIGUOUS = frozenset({"connection", "timeout", "http_5xx", "bad_response", "overloaded"})
"""Failures after which a batch may have been made all the same."""


class Place(msgspec.Struct, omit_defaults=True):
    """Where a call is."""

    batch: str
    """Empty while nobody knows: it was on its way under its mark."""
    since: float
    calls: int
    mark: str = ""


class Doubtful(Exception):
    """A batch was asked for, and whether it was made nobody knows."""

    def __init__(self, place: Place, error: TaskError) -> None:
        super().__init__(error.message)
        self.place, self.error = place, error


def entry_of(run_id: str, custom: str) -> str:
    """Return the key of the store's entry for a call."""
    return f"batch:{run_id}:{custom}"


def mark_of(run_id: str, customs: Iterable[str], now: float) -> str:
    """Return what tells a batch from every other one, this run's later ones with the same calls included."""
    digest = sha256(f"{run_id}\0{now!r}\0".encode())
    for custom in customs:
        digest.update(custom.encode())
    return digest.hexdigest()[:32]


async def write_places(account: Account, customs: Iterable[str], place: Place) -> None:
    """Write down where calls are; it is on the disk when this returns. Raises StoreError."""
    if account.records is None:
        return
    now, data = account.clock(), msgspec.json.encode(place)
    writes = [EntryWrite(key=entry_of(account.run_id, custom), data=data, expires_at=now + _KEPT) for custom in customs]
    await asyncio.to_thread(account.records.store.put_entries, writes, now)


async def create(wire: Wire, attempt: Attempt, endpoint: Endpoint, file: str, intended: Place) -> Place:
    """Make a batch of an uploaded file, and return where its calls are.

    Raises TaskError, and Doubtful when it may have been made all the same.
    """
    told = {"run": attempt.run_id, "task": attempt.node[:512], _MARK: intended.mark}
    try:
        batch = await wire.create_batch(endpoint, file, told)
    except TaskError as error:
        if _AMBIGUOUS.isdisjoint(error.classes):
            raise
        raise Doubtful(intended, error) from None
    return msgspec.structs.replace(intended, batch=batch.id)


async def adopt(wire: Wire, attempt: Attempt, endpoint: Endpoint, place: Place) -> Place | None:
    """Return where calls are that were on their way under a mark; None when their batch was never made.

    A provider that cannot list its batches cannot tell: then they are taken not to have been made, and that is said.
    Raises TaskError.
    """
    try:
        found = await _find(wire, endpoint, place)
    except TaskError as error:
        if error.code not in ("model-not-found", "model-request-rejected"):
            raise
        attempt.log("log", f"warning: {endpoint.name} cannot list its batches, so some calls may be made twice")
        return None
    if found is None:
        return None
    attempt.log("log", f"info: the batch {found.id} was made before, and is taken over")
    return msgspec.structs.replace(place, batch=found.id)


async def _find(wire: Wire, endpoint: Endpoint, place: Place) -> Batch | None:
    """Return the batch with a mark, looking from the newest back to before it can have been made."""
    after: str | None = None
    for _ in range(_MOST_PAGES):
        page, after = await wire.list_batches(endpoint, after)
        for batch in page:
            if batch.metadata.get(_MARK) == place.mark:
                return batch
        oldest = page[-1].created_at if page else None
        if after is None or (oldest is not None and oldest < place.since - _SKEW):
            return None
    return None
