"""A workflow as JSON text, for a run's journal: :meth:`Workflow.model_validate_json` reads it again.

It is what ``model_dump_json(by_alias=True, exclude_defaults=True)`` gives. Pydantic would first build serializers for
every model of a workflow file, which costs a run of one task a tenth of its time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from autoglm.spec.model import Model, Workflow


def workflow_text(workflow: Workflow) -> bytes:
    """Return the text of a workflow, without what is as it is by default and what only its document tells."""
    return _encoder.encode(workflow)


def _fields(model: Any) -> dict[str, Any]:
    told = _told(model.__class__, frozenset(getattr(model, "model_fields_set", ())))
    values = model.__dict__
    return {key: value for name, key, default in told if (value := values[name]) != default}


@lru_cache(1024)
def _told(model: type, told: frozenset[str]) -> tuple[tuple[str, str, Any], ...]:
    """Return those of the ``told`` fields of a model that are saved: attribute, key and default."""
    if not issubclass(model, Model):
        raise TypeError(f"{model.__name__} does not belong in a workflow")
    return tuple(
        (name, field.alias or name, field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
        if name in told and not field.exclude
    )


_encoder = msgspec.json.Encoder(enc_hook=_fields)
