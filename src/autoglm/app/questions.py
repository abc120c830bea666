"""What a run waits for, as lists and documents show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from autoglm.engine import messages as m
from autoglm.engine.machine import Run


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """What a run waits for, as lists and documents show it."""

    task: str
    question: m.Question

    def is_late(self, now: float) -> bool:
        """Return whether its time is up, though no process has noticed yet."""
        return self.question.deadline is not None and now >= self.question.deadline

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; what is not said is left out."""
        return {"task": self.task, **msgspec.json.decode(msgspec.json.encode(self.question))}


def open_questions(run: Run) -> tuple[OpenQuestion, ...]:
    """Return what a run waits for, in the order in which it was asked."""
    found = sorted(run.questions.values(), key=lambda instance: instance.number)
    return tuple(
        OpenQuestion(each.id, each.held.question)
        for each in found
        if each.held is not None and each.held.question is not None
    )
