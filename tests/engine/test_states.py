"""The one table of steps."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from autoglm.base.errors import EngineError
from autoglm.engine.states import (
    COARSE,
    FAILURES,
    FINAL,
    RUN_FINAL,
    RUN_TRANSITIONS,
    TRANSITIONS,
    RunStatus,
    TaskStatus,
    step,
    step_run,
)

S = TaskStatus


def test_every_state_stands_in_every_table() -> None:
    assert set(TRANSITIONS) == set(COARSE) == set(TaskStatus)
    assert set(RUN_TRANSITIONS) == set(RunStatus)
    assert FAILURES < FINAL
    assert set(RUN_FINAL) < set(RunStatus)


@pytest.mark.parametrize(("old", "new"), list(product(TaskStatus, TaskStatus)))
def test_a_task_takes_the_steps_of_the_table_and_no_other(old: TaskStatus, new: TaskStatus) -> None:
    if new in TRANSITIONS[old]:
        assert step("a", old, new) is new
        return
    with pytest.raises(EngineError, match=f"'a' cannot go from {old} to {new}") as caught:
        step("a", old, new)
    assert caught.value.code == "invalid-transition"


@pytest.mark.parametrize(("old", "new"), list(product(RunStatus, RunStatus)))
def test_a_run_takes_the_steps_of_the_table_and_no_other(old: RunStatus, new: RunStatus) -> None:
    if new in RUN_TRANSITIONS[old]:
        assert step_run(old, new) is new
        return
    with pytest.raises(EngineError, match=f"cannot go from {old} to {new}"):
        step_run(old, new)


def test_the_steps_that_the_format_promises() -> None:
    chain = [S.PENDING, S.RUNNING, S.TIMEOUT, S.RETRYING, S.RUNNING, S.FAILED, S.TERMINATED]
    for old, new in pairwise(chain):
        step("a", old, new)
    step("a", S.PENDING, S.FAILED)
    step("a", S.SUCCEEDED, S.ROLLED_BACK)


@pytest.mark.parametrize("final", sorted(FINAL))
def test_a_final_state_is_left_only_to_begin_again_or_to_be_undone_or_retried(final: TaskStatus) -> None:
    assert TRANSITIONS[final] <= {S.PENDING, S.ROLLED_BACK, S.RETRYING, S.TERMINATED}
    assert S.PENDING in TRANSITIONS[final]
