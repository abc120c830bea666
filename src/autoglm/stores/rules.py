"""What every store decides alike: who may append, who gets a lease, and in what words it is refused."""

from __future__ import annotations

from autoglm.base.errors import LeaseLost, StoreError
from autoglm.stores.protocol import Append, Lease, LeaseHeld


def check_append(append: Append, epoch: int, last_seq: int) -> StoreError | None:
    """Return why ``append`` is refused by a run at ``epoch`` whose last record is ``last_seq``, None when it is not."""
    if append.epoch != epoch:
        return lease_lost(append.run_id)
    if append.payload and append.seq != last_seq + 1:
        return StoreError(
            f"record {append.seq} of run {append.run_id} does not follow its last one, {last_seq}",
            code="sequence-conflict",
            hint="read the run's journal again and go on from its end",
        )
    return None


def lease_lost(run_id: str) -> LeaseLost:
    """Return the error for a driver that is none any more."""
    return LeaseLost(
        f"run {run_id} is driven by another process now",
        hint="what this process had not recorded yet is given up; the other one goes on from the journal",
    )


def has_expired(expires_at: float | None, now: float) -> bool:
    """Return whether an entry is to be taken as gone."""
    return expires_at is not None and expires_at <= now


def grant(
    run_id: str,
    held: tuple[int, str | None, float | None],
    *,
    owner: str,
    now: float,
    ttl: float,
    alive: bool | None,
) -> Lease:
    """Return the new lease of a run, given the ``held`` one (epoch, owner, until). Raises :class:`LeaseHeld`."""
    epoch, holder, until = held
    if holder is not None and holder != owner and alive is not False and until is not None and until > now:
        raise LeaseHeld(run_id, holder, until)
    return Lease(run_id=run_id, owner=owner, epoch=epoch + 1, until=now + ttl)


def run_exists(run_id: str) -> StoreError:
    """Return the error for a second run of the same id."""
    return StoreError(f"run {run_id} is in the store already", code="run-exists", hint="give the new run another id")


def run_not_found(run_id: str) -> StoreError:
    """Return the error for a run that is not there (or no more)."""
    return StoreError(
        f"there is no run {run_id!r} in this store",
        code="run-not-found",
        hint="`autoglm list` shows the runs; old ones may have been pruned",
    )


def record_not_found(run_id: str, seq: int) -> StoreError:
    """Return the error for a record that the run does not have."""
    return StoreError(f"run {run_id} has no record {seq}", code="record-not-found", hint="records are numbered from 1")


def blob_not_found(digest: str) -> StoreError:
    """Return the error for a blob that is not there."""
    return StoreError(
        f"there is no blob {digest!r} in this store",
        code="blob-not-found",
        hint="it goes when the last run that used it is pruned",
    )


def damaged(what: str) -> StoreError:
    """Return the error for something that is not as it was written."""
    return StoreError(
        what,
        code="journal-damaged",
        hint="the disk or another program changed the store; restore a backup, other runs are not affected",
    )


def closed() -> StoreError:
    """Return the error for work that comes after :meth:`Store.close`."""
    return StoreError("the store is closed", code="store-closed", hint="open it again to go on")


def no_backup(reason: str) -> StoreError:
    """Return the error for a backup that cannot be."""
    return StoreError(reason, code="not-supported", hint="use a store that keeps its runs in files, such as sqlite")
