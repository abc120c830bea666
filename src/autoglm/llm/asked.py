"""What was asked of a model, and what it answered, as data: what caches and cassettes know a call by. Pure.

Two calls are the same when model, messages, parameters, response format and schema are. Addresses, keys and headers
are not part of it, and are never written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from autoglm.llm.chat import ChatRequest, Completion
from autoglm.llm.embeddings import EmbeddingRequest, Embeddings
from autoglm.llm.errors import clipped
from autoglm.llm.models import Endpoint

Document = dict[str, Any]
_AROUND = 40
"""Characters that are shown before and after the first difference of two texts."""


def chat_document(endpoint: Endpoint, request: ChatRequest) -> Document:
    """Return what a chat call asks."""
    document: Document = {
        "model": f"{endpoint.profile.name}/{endpoint.model}",
        "messages": [dict(message) for message in request.messages],
    }
    parameters = {**endpoint.parameters, **request.parameters}
    if parameters:
        document["parameters"] = {name: parameters[name] for name in sorted(parameters)}
    if request.response_format is not None:
        document["response_format"] = request.response_format
    if request.schema is not None:
        document["schema"] = request.schema
    return document


def embedding_document(endpoint: Endpoint, request: EmbeddingRequest) -> Document:
    """Return what an embedding call asks."""
    document: Document = {"model": f"{endpoint.profile.name}/{endpoint.model}", "texts": list(request.texts)}
    parameters = {**endpoint.parameters, **request.parameters}
    if parameters:
        document["parameters"] = {name: parameters[name] for name in sorted(parameters)}
    return document


def digest_of(document: Document) -> str:
    """Return the name of what is asked: SHA-256 (hex) of its JSON text with sorted keys."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def completion_document(completion: Completion) -> Document:
    """Return an answer as plain data, without what differs from call to call (its id, its raw body)."""
    data: Document = msgspec.to_builtins(msgspec.structs.replace(completion, raw=b"", id=None))
    return {name: value for name, value in data.items() if value not in (None, [], "") or name == "text"}


def read_completion_document(data: Any) -> Completion:
    """Return the answer again. Raises msgspec.ValidationError."""
    return msgspec.convert(data, Completion)


def embeddings_document(embeddings: Embeddings) -> Document:
    """Return vectors as plain data."""
    data: Document = msgspec.to_builtins(embeddings)
    return {name: value for name, value in data.items() if name not in ("raw", "id") and value is not None}


def read_embeddings_document(data: Any) -> Embeddings:
    """Return the vectors again. Raises msgspec.ValidationError."""
    return msgspec.convert(data, Embeddings)


# --------------------------------------------------------------------------------------------------- differences


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield where two documents differ, and how, in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            place = f"{path}.{name}" if path else str(name)
            if name not in new:
                yield place, f"{_shown(old[name])} is gone"
            elif name not in old:
                yield place, f"{_shown(new[name])} is new"
            else:
                yield from differences(old[name], new[name], place)
    elif isinstance(old, list) and isinstance(new, list):
        for index, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from differences(one, other, f"{path}[{index}]")
        if len(old) != len(new):
            yield path, f"it had {len(old)} items and has {len(new)}"
    elif old != new:
        yield path, _told(old, new)


def _told(old: Any, new: Any) -> str:
    if not (isinstance(old, str) and isinstance(new, str)):
        return f"{_shown(old)} became {_shown(new)}"
    same = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), None)
    begin = max(0, (min(len(old), len(new)) if same is None else same) - _AROUND)
    return f"{_shown(old, begin)} became {_shown(new, begin)}"


def _shown(value: Any, begin: int = 0) -> str:
    if not isinstance(value, str):
        return clipped(json.dumps(value, ensure_ascii=False), 2 * _AROUND)
    dots = "…" if begin else ""
    return f"“{dots}{clipped(value[begin:], 2 * _AROUND)}”"
