"""Many calls in one file, answered within a day at a lower price: the batch protocol in the OpenAI form.

Pure: lines out, lines in; :class:`~autoglm.llm.wire.Wire` carries them. A batch is made in four calls: upload a file
with a line for each call, create the batch, ask how it stands, fetch the files of its results and errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from autoglm.base.errors import TaskError
from autoglm.llm.chat import Answer, decode_answer, refused
from autoglm.llm.errors import bad_response
from autoglm.llm.models import Endpoint

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file on the provider's side."""

    id: str
    bytes: int = 0
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """How a batch stands."""

    id: str
    status: str
    """``validating``, ``in_progress``, ``finalizing``, or one of :data:`ENDED`."""
    output_file: str | None = None
    error_file: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    problem: str | None = None
    """The server's first sentence about what is wrong with the whole batch."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What it was given when it was created."""
    created_at: float | None = None
    """By the server's clock, seconds since the epoch."""

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came of one call of a batch."""

    custom_id: str
    answer: Answer
    """To be read like that of a single call, by ``read_completion``."""


class _File(msgspec.Struct):
    id: str | None = None
    bytes: Any = None
    status: Any = None
    error: Any = None


class _Counts(msgspec.Struct):
    total: int = 0
    completed: int = 0
    failed: int = 0


class _Batch(msgspec.Struct):
    id: str | None = None
    status: str = "unknown"
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: _Counts | None = None
    errors: Any = None
    error: Any = None
    metadata: Any = None
    created_at: Any = None


class _Page(msgspec.Struct):
    data: list[_Batch] | None = None
    has_more: bool = False
    error: Any = None


class _Response(msgspec.Struct):
    status_code: int = 200
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_file_decoder = msgspec.json.Decoder(_File)
_batch_decoder = msgspec.json.Decoder(_Batch)
_page_decoder = msgspec.json.Decoder(_Page)
_line_decoder = msgspec.json.Decoder(_Line)


def batch_line(endpoint: Endpoint, custom_id: str, body: bytes) -> bytes:
    """Return the line of a batch file for one call; ``body`` is what ``encode_request`` gave for it."""
    line = {"custom_id": custom_id, "method": "POST", "url": _path(endpoint), "body": msgspec.Raw(body)}
    return msgspec.json.encode(line) + b"\n"


def encode_batch(endpoint: Endpoint, file_id: str, metadata: Mapping[str, str]) -> bytes:
    """Return the body of the call that creates a batch of an uploaded file."""
    body = {"input_file_id": file_id, "endpoint": _path(endpoint), "completion_window": "24h"}
    return msgspec.json.encode({**body, "metadata": dict(metadata)} if metadata else body)


def _path(endpoint: Endpoint) -> str:
    """Return the address that batches name; of a server whose kind we do not know, OpenAI's."""
    return endpoint.profile.batching.path if endpoint.profile.batching else "/v1/chat/completions"


def read_file(endpoint: Endpoint, answer: Answer) -> UploadedFile:
    """Return the file that was uploaded. Raises TaskError."""
    decoded = decode_answer(endpoint, answer, _file_decoder, "a file")
    if decoded.id is None:
        raise _unusable(endpoint, answer, decoded.error, "it holds no file id")
    size = decoded.bytes if isinstance(decoded.bytes, int) else 0
    return UploadedFile(decoded.id, size, decoded.status if isinstance(decoded.status, str) else None)


def read_batch(endpoint: Endpoint, answer: Answer) -> Batch:
    """Return how a batch stands. Raises TaskError."""
    decoded = decode_answer(endpoint, answer, _batch_decoder, "a batch")
    if decoded.id is None:
        raise _unusable(endpoint, answer, decoded.error, "it holds no batch id")
    return _batch(decoded, decoded.id)


def read_batches(endpoint: Endpoint, answer: Answer) -> tuple[list[Batch], str | None]:
    """Return a page of a list of batches, and the id after which the next page begins. Raises TaskError."""
    decoded = decode_answer(endpoint, answer, _page_decoder, "a list of batches")
    if decoded.data is None:
        raise _unusable(endpoint, answer, decoded.error, "it holds no list")
    found = [_batch(each, each.id) for each in decoded.data if each.id is not None]
    return found, found[-1].id if decoded.has_more and found else None


def _batch(decoded: _Batch, name: str) -> Batch:
    counts = decoded.request_counts or _Counts()
    metadata = decoded.metadata if isinstance(decoded.metadata, dict) else {}
    return Batch(
        name,
        decoded.status,
        decoded.output_file_id or None,
        decoded.error_file_id or None,
        counts.total,
        counts.completed,
        counts.failed,
        _problem(decoded.errors),
        {str(key): str(value) for key, value in metadata.items()},
        float(decoded.created_at) if isinstance(decoded.created_at, int | float) else None,
    )


def _unusable(endpoint: Endpoint, answer: Answer, error: Any, what: str) -> TaskError:
    return refused(endpoint, answer) if error is not None else bad_response(endpoint, what, excerpt=answer.body)


def _problem(errors: Any) -> str | None:
    """Return the first sentence of ``errors``: ``{"data": [{"message": …}]}``, or a list of such."""
    entries = errors.get("data") if isinstance(errors, dict) else errors
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("message"), str):
            return str(entry["message"])
    return None


def read_results(endpoint: Endpoint, lines: Iterable[bytes]) -> Iterator[BatchResult]:
    """Give the results in a file of results or errors, line by line, in the file's order (which is any order).

    Raises TaskError ``bad-response`` for a line that is not one.
    """
    for line in lines:
        if not line.strip():
            continue
        try:
            decoded = _line_decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_response(
                endpoint, f"a line of the batch's results cannot be read ({error})", excerpt=line
            ) from None
        if decoded.response is not None:
            answer = Answer(decoded.response.status_code, {}, bytes(decoded.response.body))
        else:
            answer = Answer(500, {}, b'{"error":' + bytes(decoded.error) + b"}")
        yield BatchResult(decoded.custom_id, answer)
