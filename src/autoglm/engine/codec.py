"""Journal records as JSON text, and back. Older formats are lifted by upcasters; golden histories are never edited."""

from __future__ import annotations

import msgspec

from autoglm.base.errors import StoreError
from autoglm.engine.messages import FORMAT, Event, Record, RunCreated

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode_record(at: float, events: list[Event]) -> bytes:
    """Return the JSON text of one record."""
    return _encoder.encode({"at": at, "events": events})


def decode_record(payload: bytes) -> Record:
    """Return the record of a JSON text.

    Raises:
        StoreError: ``journal-too-new`` when a newer version wrote it, ``journal-damaged`` when it cannot be read.
    """
    try:
        record = _decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise StoreError(
            f"the journal holds an event this version does not know: {error}",
            code="journal-too-new",
            hint="open the run with the version of autoglm that wrote it, or a newer one",
        ) from None
    except msgspec.DecodeError as error:
        raise StoreError(
            f"a journal record cannot be read: {error}",
            code="journal-damaged",
            hint="something else than autoglm wrote it; restore a backup, other runs are not affected",
        ) from None
    first = record.events[0] if record.events else None
    if isinstance(first, RunCreated) and first.format > FORMAT:
        raise StoreError(
            f"the run was written in journal format {first.format}, and this version reads up to {FORMAT}",
            code="journal-too-new",
            hint="upgrade autoglm to continue it",
        )
    return record
