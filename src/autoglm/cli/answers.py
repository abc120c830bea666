"""The command that answers an open question, for people to copy."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from autoglm.cli.measure import harmless

if TYPE_CHECKING:
    from autoglm.engine.messages import Question


def answer_command(run: str, task: str, question: Question) -> str:
    """Return it; ``run`` is the run's id, with the options that find its project."""
    if question.kind == "signal":
        return f"autoglm signal {run} {shlex.quote(harmless(question.signal or ''))}"
    data = " --data JSON" if question.kind == "approval" and question.form else ""
    return f"autoglm approve {run} {shlex.quote(harmless(task))}{data}"
