"""A workflow as JSON text, for a run's journal: :meth:`Workflow.model_validate_json` reads it again.

It is what ``model_dump_json(by_alias=True, exclude_defaults=True)`` gives. Pydantic would first build serializers for
every model of a workflow file, which costs a run of one task a tenth of its time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from autoglm.spec.model import Model, Workflow


def workflow_text(workflow: Workflow) -> bytes:
    """Return the text of a workflow, without what is as it is by default and what only its document tells."""
    return _encoder.encode(workflow)


def _fields(model: Any) -> dict[str, Any]:
    if not isinstance(model, Model):
        raise TypeError(f"{type(model).__name__} does not belong in a workflow")
    values = model.__dict__
    return {key: value for name, key, default in _table(type(model)) if (value := values[name]) != default}


@cache
def _table(model: type[Model]) -> tuple[tuple[str, str, Any], ...]:
    """Return the fields of a model that are saved: attribute, key and default."""
    return tuple(
        (name, field.alias or name, field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
        if not field.exclude
    )


_encoder = msgspec.json.Encoder(enc_hook=_fields)
