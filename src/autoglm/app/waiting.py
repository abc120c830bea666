"""The task types that wait, as the checks and the schema see them: the engine itself knows what they do."""

from __future__ import annotations

from typing import Final

from autoglm.spec.catalog import OptionInfo, TaskTypeInfo

_DEADLINE: Final = OptionInfo(
    "deadline",
    {"type": ["string", "number"], "description": "how long it waits: a duration, or a point in time (ISO 8601)"},
)
APPROVAL: Final = TaskTypeInfo(
    name="approval",
    options={
        "message": OptionInfo(
            "message", {"type": "string", "minLength": 1, "description": "what is asked"}, required=True
        ),
        "form": OptionInfo(
            "form",
            {"type": "object", "description": "a JSON Schema of the data that goes with an approval"},
            templated=False,
        ),
        "who": OptionInfo("who", {"type": ["string", "array"], "description": "names of those who may answer"}),
        "deadline": _DEADLINE,
        "on_deadline": OptionInfo(
            "on_deadline",
            {"enum": ["fail", "approve", "reject", "skip"], "description": "what it means that nobody answered"},
            templated=False,
        ),
        "on_reject": OptionInfo(
            "on_reject",
            {"enum": ["fail", "continue"], "description": "fail, or succeed with `approved: false` in the result"},
            templated=False,
        ),
    },
    executor="",
    executors=(),
    description="Wait until a person approves or rejects.",
)
WAIT: Final = TaskTypeInfo(
    name="wait",
    options={
        "for": OptionInfo("for", {"type": ["string", "number"], "description": "how long: a duration"}),
        "until": OptionInfo("until", {"type": "string", "description": "until when: a point in time (ISO 8601)"}),
        "signal": OptionInfo("signal", {"type": "string", "minLength": 1, "description": "the signal it waits for"}),
        "deadline": _DEADLINE,
        "on_deadline": OptionInfo(
            "on_deadline",
            {"enum": ["fail", "skip"], "description": "what it means that the signal has not come"},
            templated=False,
        ),
    },
    executor="",
    executors=(),
    description="Wait for a time or a signal.",
)
