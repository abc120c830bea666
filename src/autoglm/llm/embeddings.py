"""Texts as vectors: the embeddings call in the OpenAI form. Pure: bytes out, bytes in."""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from autoglm.llm.chat import Answer, Usage, decode_answer, encode_body, read_usage, refused
from autoglm.llm.errors import bad_response
from autoglm.llm.models import Endpoint


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts whose vectors are asked for in one call."""

    texts: Sequence[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """``dimensions`` and whatever else the server takes; over the model's own ones."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors, in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage
    model: str | None = None
    raw: bytes = b""


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Vector] = []
    usage: Any = None
    model: Any = None
    error: Any = None
    code: Any = None


_decoder = msgspec.json.Decoder(_Answer)


def encode_embedding_request(
    endpoint: Endpoint, request: EmbeddingRequest, note: Callable[[str], None] = lambda _: None
) -> bytes:
    """Return the body of the call. Raises TaskError ``model-parameter-invalid``."""
    body = {"model": endpoint.model, "input": list(request.texts), "encoding_format": "float"}
    return encode_body(endpoint, body, request.parameters, note)


def read_embeddings(endpoint: Endpoint, answer: Answer, count: int) -> Embeddings:
    """Return the ``count`` vectors of an answer, in the order in which their texts were sent.

    Raises TaskError ``bad-response`` for more or fewer of them, or for vectors of different lengths.
    """
    decoded = decode_answer(endpoint, answer, _decoder, "embeddings")
    if not decoded.data and (decoded.error is not None or decoded.code is not None):
        raise refused(endpoint, answer)
    vectors: dict[int, list[float]] = {}
    for place, each in enumerate(decoded.data):
        vectors[place if each.index is None else each.index] = _floats(endpoint, each.embedding)
    if sorted(vectors) != list(range(count)):
        raise bad_response(endpoint, f"it holds {len(decoded.data)} vectors for {count} texts")
    if len({len(vector) for vector in vectors.values()}) > 1:
        raise bad_response(endpoint, "its vectors differ in length")
    return Embeddings(
        [vectors[at] for at in range(count)],
        read_usage(endpoint.profile, decoded.usage),
        decoded.model if isinstance(decoded.model, str) else None,
        answer.body,
    )


def _floats(endpoint: Endpoint, written: list[float] | str) -> list[float]:
    """Return a vector; some servers write it as base64 of little-endian 32-bit floats whatever they were asked."""
    if isinstance(written, list):
        return written
    try:
        packed = array("f")
        packed.frombytes(base64.b64decode(written, validate=True))
    except (binascii.Error, ValueError):
        raise bad_response(endpoint, "a vector in it is neither a list of numbers nor base64") from None
    return packed.tolist()
