"""Steps: parts of an attempt's work that are recorded one by one. Functions of the machine.

Rules:

1. A step is told to be done only after the commit of its event: whoever goes on after it can rely on it.
2. Steps are a task instance's, not an attempt's: they survive a crash, parking and retries, and go when it ends.
3. The first value recorded for a key stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm.engine import messages as m
from autoglm.engine.state import Held, Instance, stored_text

if TYPE_CHECKING:
    from autoglm.engine.machine import Run
    from autoglm.engine.run_state import RunState


def recorded(state: RunState, instance: Instance, event: m.StepRecorded, at: float) -> None:
    """Note that a step is done."""
    if instance.held is None:
        instance.held = Held()
    instance.held.steps[event.key] = event.blob or bytes(event.value)


def done(run: Run, instance: Instance | None, news: m.StepDone) -> None:
    """Record a step of a running attempt; what is left of one that is over records nothing."""
    is_current = instance is not None and instance.attempt == news.attempt
    if instance is not None and is_current and not is_recorded(instance, news.key):
        raw, blob = run.boxed(news.value)
        run.emit(m.StepRecorded(news.task, news.attempt, news.key, raw, blob))
    run.command(m.GoOnAfterStep(news.task, news.attempt, news.key, is_current))


def is_recorded(instance: Instance, key: str) -> bool:
    """Return whether the step is recorded."""
    return instance.held is not None and key in instance.held.steps


def text(run: Run, instance: Instance, key: str) -> bytes | None:
    """Return the JSON text that is recorded for a step, None when there is none."""
    if instance.held is None or key not in instance.held.steps:
        return None
    return stored_text(instance.held.steps[key], run.load)
