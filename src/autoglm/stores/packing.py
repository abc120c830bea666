"""What lies in the SQLite file as bytes and JSON text: records with their checksums, rows, blobs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from autoglm.stores import rules
from autoglm.stores.protocol import Append, LogLine, RunRow, Stored, TaskRows

COMPRESS_FROM = 4096
"""Bytes from which a payload or a blob is tried to be kept compressed."""

_encode = msgspec.json.encode


def bind(append: Append) -> tuple[Any, ...]:
    """Return an append as the values of the statement ``append``."""
    seq = crc = size = payload = None
    if append.payload:
        seq, crc = append.seq, checksum(append.run_id, append.seq, append.payload)
        size, payload = pack(append.payload)
    record = (append.run_id, append.epoch, seq, crc, size, payload)
    update = append.update
    if update is None:
        row: tuple[Any, ...] = (None, None, None, None, None, None)
    else:
        counts = _encode(update.counts).decode()
        usage = None if update.usage is None else update.usage.decode()
        row = (update.status, update.updated_at, update.ended_at, counts, clean(update.error), usage)
    return (*record, *row, _json_rows(append.tasks), _json_rows(append.logs))


def _json_rows(rows: Sequence[TaskRows] | Sequence[LogLine]) -> str | None:
    if not rows:
        return None
    try:
        return _encode(list(rows)).decode()
    except UnicodeEncodeError:
        # A lone surrogate in an error or a line of output: shown as an escape, for nothing else can be done with it.
        return _encode([clean(msgspec.structs.astuple(row)) for row in rows]).decode()


def clean(value: Any) -> Any:
    """Return a value with what is half a character, in texts at any depth, shown as an escape."""
    if isinstance(value, tuple | list):
        return [clean(each) for each in value]
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def checksum(run_id: str, seq: int, payload: bytes) -> int:
    """Return the CRC-32 of a record and of where it belongs."""
    return zlib.crc32(payload, zlib.crc32(f"{run_id}:{seq}:".encode()))


def pack(data: bytes) -> tuple[int | None, bytes]:
    """Return (plain size, compressed bytes) when that saves enough to be worth unpacking, else (None, data)."""
    if len(data) >= COMPRESS_FROM:
        packed = zlib.compress(data, 1)
        if len(packed) < len(data) * 0.8:
            return len(data), packed
    return None, data


def unpack(size: int | None, data: bytes) -> bytes | None:
    """Return the plain bytes, None when they cannot be had back."""
    if size is None:
        return data
    try:
        return zlib.decompress(data, bufsize=size)
    except (zlib.error, ValueError, TypeError, OverflowError, MemoryError):
        return None


def checked(run_id: str, row: tuple[Any, ...]) -> Stored:
    """Return a record from its row. Raises StoreError ``store-damaged`` when it is not as it was written."""
    seq, crc, size, kept = row
    payload = unpack(size, kept) if isinstance(kept, bytes) else None
    if payload is None or checksum(run_id, seq, payload) != crc:
        raise rules.damaged(f"record {seq} of run {run_id} is not as it was written")
    return Stored(seq, payload)


def run_row(row: tuple[Any, ...]) -> RunRow:
    """Return what a row of the table of runs says."""
    values = dict(zip(RunRow.__struct_fields__, row, strict=True))
    values["labels"] = msgspec.json.decode(values["labels"])
    values["counts"] = msgspec.json.decode(values["counts"])
    values["usage"] = msgspec.json.decode(values["usage"] or "{}")
    return RunRow(**values)
