"""Loops that go on until something is true: what they see, when they end, and what stays of them."""

from __future__ import annotations

from typing import Any

import pytest

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Degrade, Loop, OnError, PoolSpec, Retry

from .conftest import Play
from .flows import arguments, group, result, running, status, statuses, task, told
from .world import World

SEEN = {"previous": "{{ previous }}", "index": "{{ index }}"}


def until(condition: str, limit: int = 10, **fields: Any) -> Loop:
    return Loop(until=condition, max_iterations=limit, **fields)


def code(world: World, name: str) -> str:
    found = world.run.find(name)
    assert found is not None
    assert found.failure is not None
    return found.failure.code


def test_it_ends_when_the_condition_is_true_and_gives_the_last_result(play: Play) -> None:
    world = play(task("a", loop=until("result > 2"), arguments=SEEN), task("b", "a", arguments={"x": "{{ result }}"}))
    for index, previous in enumerate([None, 1, 2]):
        assert running(world) == [f"a[{index}]"], "one iteration follows the other"
        assert arguments(world, f"a[{index}]") == {"previous": previous, "index": index}
        world.succeed(f"a[{index}]", str(index + 1).encode())
    assert arguments(world, "b") == {"x": 3}


def test_until_sees_the_iteration_before_the_one_that_has_ended(play: Play) -> None:
    world = play(task("a", loop=until("previous is not none and result - previous < 2")))
    for number in (1, 5, 6):
        assert status(world, "a") == "running"
        world.succeed(running(world)[0], str(number).encode())
    assert result(world, "a") == 6


def test_while_is_asked_before_an_iteration(play: Play) -> None:
    world = play(task("a", loop=Loop(while_="previous < 3", initial=1, max_iterations=9), arguments=SEEN))
    assert arguments(world, "a[0]")["previous"] == 1
    world.succeed("a[0]", b"2")
    world.succeed("a[1]", b"3")
    assert result(world, "a") == 3


@pytest.mark.parametrize(("collect", "expected"), [(None, {"n": 7}), ("result", [])])
def test_a_loop_may_run_no_iteration_at_all(play: Play, collect: str | None, expected: object) -> None:
    loop = Loop(while_="previous.n < inputs.n", initial={"n": "{{ inputs.n }}"}, max_iterations=9, collect=collect)
    world = play(task("a", loop=loop), inputs={"n": 7})
    assert result(world, "a") == expected
    assert world.run.status is RunStatus.SUCCEEDED


def test_collect_gives_the_list_and_previous_stays_the_result(play: Play) -> None:
    world = play(task("a", loop=until("result.n == 2", collect="[index, result.n]"), arguments=SEEN))
    world.succeed("a[0]", b'{"n": 1}')
    assert arguments(world, "a[1]")["previous"] == {"n": 1}
    world.succeed("a[1]", b'{"n": 2}')
    assert result(world, "a") == [[0, 1], [1, 2]]


def test_a_group_is_repeated_as_a_whole(play: Play) -> None:
    inner = task("b", "a", arguments={"so_far": "{{ previous }}", "x": "{{ result }}"})
    world = play(group("g", task("a"), inner, loop=until("result == 'done'")))
    world.succeed("g[0].a", b"5")
    assert arguments(world, "g[0].b") == {"so_far": None, "x": 5}
    world.succeed("g[0].b", b'"more"')
    world.succeed("g[1].a", b"6")
    assert arguments(world, "g[1].b") == {"so_far": "more", "x": 6}
    world.succeed("g[1].b", b'"done"')
    assert result(world, "g") == "done"


def test_loops_that_repeat_nest(play: Play) -> None:
    inner = task("a", loop=until("result > 1"), arguments=SEEN)
    world = play(group("g", inner, loop=until("result > 5", as_="turn"), arguments={}))
    world.succeed("g[0].a[0]", b"1")
    assert arguments(world, "g[0].a[1]") == {"previous": 1, "index": 1}
    world.succeed("g[0].a[1]", b"2")
    assert arguments(world, "g[1].a[0]") == {"previous": None, "index": 0}
    world.succeed("g[1].a[0]", b"6")
    assert result(world, "g") == 6


def test_the_limit_fails_the_loop_with_a_code_of_its_own(play: Play) -> None:
    world = play(task("a", loop=until("result > 5", 2)))
    world.succeed("a[0]")
    world.succeed("a[1]")
    assert statuses(world) == {"a": "failed"}
    assert code(world, "a") == "loop-limit"


def test_at_the_limit_it_may_succeed_with_the_last_result(play: Play) -> None:
    world = play(task("a", loop=until("result > 5", 2, on_limit="succeed")))
    world.succeed("a[0]")
    world.succeed("a[1]", b"4")
    assert result(world, "a") == 4


def test_a_condition_that_cannot_be_computed_fails_the_loop(play: Play) -> None:
    world = play(task("a", loop=until("result.missing")))
    world.succeed("a[0]", b"{}")
    assert code(world, "a") == "unknown-field"


def test_a_failed_iteration_is_retried_and_then_fails_the_loop(play: Play) -> None:
    world = play(task("a", loop=until("result > 5"), retry=Retry(max_attempts=2, jitter="none"), arguments=SEEN))
    world.succeed("a[0]", b"1")
    world.fail("a[1]")
    world.pass_time(1.0)
    assert arguments(world, "a[1]") == {"previous": 1, "index": 1}
    world.fail("a[1]")
    assert code(world, "a") == "loop-failed"


def test_a_failed_iteration_may_degrade_to_a_value_and_go_on(play: Play) -> None:
    world = play(task("a", loop=until("result == 'spare'"), on_error=Degrade(degrade="spare")))
    world.fail("a[0]")
    assert result(world, "a") == "spare"


def test_a_reopened_run_goes_on_at_the_iteration_that_failed(play: Play) -> None:
    world = play(task("a", loop=until("result > 5"), arguments=SEEN))
    world.succeed("a[0]", b"1")
    world.succeed("a[1]", b"2")
    world.fail("a[2]")
    assert world.run.status is RunStatus.FAILED
    world.handle(m.Reopen())
    assert running(world) == ["a[2]"]
    assert arguments(world, "a[2]") == {"previous": 2, "index": 2}
    world.succeed("a[2]", b"6")
    assert result(world, "a") == 6


def test_a_reopened_group_goes_on_within_the_iteration_that_failed(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), loop=until("result > 5")))
    world.succeed("g[0].a")
    world.succeed("g[0].b")
    world.succeed("g[1].a")
    world.fail("g[1].b")
    world.handle(m.Reopen())
    assert running(world) == ["g[1].b"]


def test_iterations_before_a_reopening_do_not_count_against_the_limit(play: Play) -> None:
    world = play(task("a", loop=until("result > 5", 1), arguments=SEEN))
    world.succeed("a[0]", b"1")
    assert code(world, "a") == "loop-limit"
    world.handle(m.Reopen())
    assert arguments(world, "a[1]") == {"previous": 1, "index": 1}
    world.succeed("a[1]", b"6")
    assert world.run.status is RunStatus.SUCCEEDED


def test_the_wait_between_iterations_is_a_timer_that_holds_no_slot(play: Play) -> None:
    world = play(task("a", loop=until("result > 1", delay=60.0)), task("b", loop=until("result > 1")), max_parallel=1)
    world.succeed("a[0]")
    assert running(world) == ["b[0]"]
    world.succeed("b[0]", b"2")
    world.pass_time(59.0)
    assert running(world) == []
    world.crash()
    assert running(world) == []
    world.pass_time(1.0)
    assert running(world) == ["a[1]"]
    world.succeed("a[1]", b"2")
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_cancelled_wait_ends_at_once_and_may_be_taken_up_again(play: Play) -> None:
    world = play(task("a", loop=until("result > 1", delay=60.0)))
    world.succeed("a[0]")
    world.handle(m.Cancel())
    assert world.run.status is RunStatus.CANCELLED
    world.handle(m.Reopen())
    assert running(world) == []
    world.pass_time(60.0)
    assert running(world) == ["a[1]"]


def test_a_crash_between_iterations_loses_nothing(play: Play) -> None:
    world = play(task("a", loop=until("result > 2"), arguments=SEEN))
    for number in (1, 2):
        world.succeed(running(world)[0], str(number).encode())
        world.crash()
        assert arguments(world, f"a[{number}]") == {"previous": number, "index": number}


def test_when_is_asked_once_for_the_whole_loop(play: Play) -> None:
    world = play(task("a", loop=until("true", 3), when="inputs.go"), inputs={"go": False})
    assert statuses(world) == {"a": "skipped"}


def test_continue_tolerates_the_loop_as_a_whole(play: Play) -> None:
    world = play(task("a", loop=until("result > 5", 1), on_error=OnError.CONTINUE), task("b", "a"))
    world.succeed("a[0]")
    assert statuses(world) == {"a": "failed", "b": "running"}


def test_a_loop_that_is_stopped_while_its_next_iteration_waits_for_its_turn_ends(play: Play) -> None:
    again = task("again", "first", loop=Loop(until="index == 2", max_iterations=4), pool=("one",))
    outer = group("g", task("first"), again, loop=Loop(over=[1, 2], fail_fast=True))
    world = play(task("holder", pool=("one",)), outer, pools={"one": PoolSpec(limit=1)})
    world.succeed("g[1].first")
    assert status(world, "g[1].again") == "running"
    assert "TaskCancelled g[1].again" in told(world.fail("g[0].first"))
    assert status(world, "g") == "failed"
    world.succeed("holder")
