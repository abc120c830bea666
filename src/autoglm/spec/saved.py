"""A workflow as JSON text, for a run's journal: :meth:`Workflow.model_validate_json` reads it again.

It is what ``model_dump_json(by_alias=True, exclude_defaults=True)`` gives. Pydantic would first build serializers for
every model of a workflow file, which costs a run of one task a tenth of its time.
"""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from autoglm.spec.model import Model, Workflow


def workflow_text(workflow: Workflow) -> bytes:
    """Return the text of a workflow, without what is as it is by default and what only its document tells."""
    return _encoder.encode(workflow)


def _fields(model: Any) -> dict[str, Any]:
    kind = model.__class__
    fields = getattr(model, "__pydantic_fields_set__", _NO_FIELDS)
    told = _latest.get(kind)
    if told is None or told.fields is not fields:  # most tasks of a large file are told alike, and share the set
        told = _latest[kind] = _Told(fields, *_told(kind, frozenset(fields)))
    values = model.__dict__
    found = {}
    for name, key in told.required:
        found[key] = values[name]
    for name, key, default in told.optional:
        value = values[name]
        if value != default:
            found[key] = value
    return found


class _Told(NamedTuple):
    """What is saved of a model of which ``fields`` were told: attribute, key and default."""

    fields: Set[str]
    required: list[tuple[str, str]]
    optional: list[tuple[str, str, Any]]


@lru_cache(1024)
def _told(model: type, fields: frozenset[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str, Any]]]:
    if not issubclass(model, Model):
        raise TypeError(f"{model.__name__} does not belong in a workflow")
    required: list[tuple[str, str]] = []
    optional: list[tuple[str, str, Any]] = []
    for name, field in model.model_fields.items():
        if name in fields and not field.exclude:
            if field.is_required():
                required.append((name, field.alias or name))
            else:
                optional.append((name, field.alias or name, field.get_default(call_default_factory=True)))
    return required, optional


_NO_FIELDS: Set[str] = frozenset()
_latest: dict[type, _Told] = {}
_encoder = msgspec.json.Encoder(enc_hook=_fields)
