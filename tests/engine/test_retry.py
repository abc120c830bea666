"""When a failed attempt is repeated, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm.base.errors import Failure
from autoglm.engine import messages as m
from autoglm.engine import retry
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Degrade, OnError, Retry

from .conftest import Play
from .flows import arguments, result, running, status, statuses, task
from .world import World

BOOM = Failure("boom", "it went wrong", ("boom",))


def due_in(world: World, task_id: str) -> float:
    """Return the seconds until the next attempt."""
    instance = world.run.find(task_id)
    assert instance is not None
    assert instance.due is not None
    return instance.due - world.now


def policy(**fields: object) -> Retry:
    return Retry(**{"max_attempts": 10, "delay": 1.0, "factor": 2.0, "max_delay": 5.0, "jitter": "none", **fields})


def test_the_delay_grows_by_the_factor_up_to_the_cap() -> None:
    assert [retry.delay(policy(), made, 0.5) for made in (1, 2, 3, 4, 5, 10**6)] == [1, 2, 4, 5, 5, 5]


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_full_jitter_draws_evenly_below_the_ceiling(made: int, draw: float) -> None:
    ceiling = retry.delay(policy(), made, draw)
    assert retry.delay(policy(jitter="full"), made, draw) == ceiling * draw
    assert 0 <= retry.delay(policy(jitter="full"), made, draw) <= ceiling


def test_chance_depends_on_nothing_but_its_arguments_and_spreads() -> None:
    draws = [retry.chance("run", f"t[{n}]", 1) for n in range(1000)]
    assert draws == [retry.chance("run", f"t[{n}]", 1) for n in range(1000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert 0.45 < sum(draws) / 1000 < 0.55
    assert retry.chance("run", "t", 1) != retry.chance("run", "t", 2) != retry.chance("other", "t", 2)


def test_an_attempt_that_failed_waits_and_holds_no_slot(play: Play) -> None:
    world = play(task("a", retry=policy()), task("b"), max_parallel=1)
    world.fail("a")
    assert statuses(world) == {"a": "retrying", "b": "running"}
    assert due_in(world, "a") == 1.0
    world.succeed("b")
    world.pass_time(0.9)
    assert running(world) == []
    world.pass_time(0.1)
    assert list(world.running) == [("a", 2)]
    world.fail("a")
    assert due_in(world, "a") == 2.0


def test_attempts_that_are_used_up_end_terminated(play: Play) -> None:
    world = play(task("a", retry=policy(max_attempts=2)), task("b", "a:failed"))
    world.fail("a")
    world.pass_time(1.0)
    world.fail("a")
    assert statuses(world) == {"a": "terminated", "b": "running"}


def test_one_attempt_is_no_retry(play: Play) -> None:
    world = play(task("a", retry=policy(max_attempts=1)))
    world.fail("a")
    assert statuses(world) == {"a": "failed"}


def test_a_failure_that_says_so_is_not_retried(play: Play) -> None:
    world = play(task("a", retry=policy()))
    world.fail("a", retryable=False)
    assert statuses(world) == {"a": "failed"}


@pytest.mark.parametrize(
    ("failure", "covered"),
    [
        (Failure("timeout", "", ("timeout",)), True),
        (Failure("http-error", "", ("http_503", "http_5xx")), True),
        (Failure("boom", "", ("boom",)), False),
        (Failure("timeout", "", ("timeout",), retryable=False), False),
    ],
)
def test_on_names_the_classes_that_are_retried(failure: Failure, covered: bool) -> None:
    assert retry.covers(policy(on=("timeout", "http_5xx")), failure) is covered
    assert retry.covers(policy(), failure) is failure.retryable


def test_a_class_that_is_not_named_fails_at_once(play: Play) -> None:
    world = play(task("a", retry=policy(on=("bang",))))
    world.fail("a", "bang")
    assert status(world, "a") == "retrying"
    world.pass_time(1.0)
    world.fail("a", "boom")
    assert statuses(world) == {"a": "failed"}


def test_max_elapsed_counts_from_the_first_attempt(play: Play) -> None:
    world = play(task("a", retry=policy(max_elapsed=4.0)))
    world.fail("a")
    world.pass_time(1.0)
    world.pass_time(1.5)
    world.fail("a")  # 2.5 s have passed, and the next attempt would begin after 4.5 s
    assert statuses(world) == {"a": "terminated"}


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(30, 30.0), (0.5, 1.0), (-3, 1.0), ("soon", 1.0), (None, 1.0), (True, 1.0), ([1], 1.0)],
)
def test_what_the_other_side_asked_for_is_waited_for_at_least(asked: object, seconds: float) -> None:
    failure = Failure("http-error", "", (), details={"retry_after": asked})
    assert retry.delay(policy(), 1, 0.5, failure) == seconds


@pytest.mark.parametrize("asked", [2**64 - 1, 1e308])
def test_an_endless_wait_is_a_wait(play: Play, asked: float) -> None:
    world = play(task("a", retry=policy()))
    world.fail("a", retry_after=asked)
    assert status(world, "a") == "retrying"
    world.handle(m.Cancel())
    assert world.run.status is RunStatus.CANCELLED


def test_inputs_that_cannot_be_built_any_more_end_the_retries(play: Play) -> None:
    world = play(task("a", retry=policy(), arguments={"x": "{{ inputs.x }}"}), inputs={"x": 1})
    world.fail("a")
    world.run.world.values["inputs"] = {}
    world.pass_time(1.0)
    assert statuses(world) == {"a": "terminated"}


def test_inputs_that_cannot_be_built_fail_a_task_without_an_attempt(play: Play) -> None:
    world = play(task("a", arguments={"x": "{{ 1 / inputs.zero }}"}, retry=policy()), inputs={"zero": 0})
    assert statuses(world) == {"a": "failed"}
    assert not world.started


# ------------------------------------------------------------------------------------------------- degrade, continue


def test_degrade_succeeds_with_its_value_once_all_retries_failed(play: Play) -> None:
    world = play(
        task("a", retry=policy(max_attempts=2), on_error=Degrade(degrade="{{ [error.code, error.message] }}")),
        task("b", "a", arguments={"x": "{{ result }}"}),
    )
    world.fail("a")
    assert status(world, "a") == "retrying"
    world.pass_time(1.0)
    world.fail("a")
    assert result(world, "a") == ["boom", "it went wrong"]
    assert arguments(world, "b") == {"x": ["boom", "it went wrong"]}


def test_degrade_also_stands_in_for_a_loop_a_group_and_inputs_that_cannot_be_built(play: Play) -> None:
    spare = Degrade(degrade={"n": 0})
    world = play(
        task("inputs", arguments={"x": "{{ nobody }}"}, on_error=spare),
        task("when", when="{{ nobody }}", on_error=spare),
        task("end", "inputs when"),
    )
    assert result(world, "inputs") == result(world, "when") == {"n": 0}
    assert status(world, "end") == "running"


def test_a_degraded_value_that_cannot_be_had_leaves_the_failure(play: Play) -> None:
    world = play(task("a", on_error=Degrade(degrade="{{ nobody }}")))
    world.fail("a")
    assert statuses(world) == {"a": "failed"}


def test_what_was_cancelled_is_not_degraded(play: Play) -> None:
    world = play(task("a", on_error=Degrade(degrade=1)))
    world.handle(m.Cancel())
    world.stopped("a")
    assert statuses(world) == {"a": "cancelled"}


def test_continue_lets_the_run_succeed(play: Play) -> None:
    world = play(task("a", on_error=OnError.CONTINUE))
    world.fail("a")
    assert statuses(world) == {"a": "failed"}
    assert world.run.status is RunStatus.SUCCEEDED
