"""When a task runs, given how its upstreams ended (FORMAT, "Skips")."""

from __future__ import annotations

import pytest

from autoglm.engine.states import RunStatus
from autoglm.spec.model import OnError

from .conftest import Play
from .flows import reason, running, status, statuses, task
from .world import World

RUNS, SKIPS, POISONED = "runs", "skipped", "skipped because of a failure"

RULES = {
    #                 ok+ok   ok+skip skip+skip ok+bad    bad+bad   skip+bad
    "none_failed": (RUNS, RUNS, SKIPS, POISONED, POISONED, POISONED),
    "all_succeeded": (RUNS, SKIPS, SKIPS, POISONED, POISONED, POISONED),
    "all_done": (RUNS, RUNS, RUNS, RUNS, RUNS, RUNS),
    "one_succeeded": (RUNS, RUNS, SKIPS, RUNS, POISONED, POISONED),
    "one_failed": (SKIPS, SKIPS, SKIPS, RUNS, RUNS, RUNS),
}
ENDINGS = ("ok ok", "ok skip", "skip skip", "ok bad", "bad bad", "skip bad")


def end(world: World, name: str, how: str) -> None:
    if how == "ok":
        world.succeed(name)
    elif how == "bad":
        world.fail(name)


@pytest.mark.parametrize(
    ("join", "endings", "expected"),
    [(join, ending, fate) for join, fates in RULES.items() for ending, fate in zip(ENDINGS, fates, strict=True)],
)
@pytest.mark.parametrize("turned", [False, True])
def test_each_rule(play: Play, join: str, endings: str, expected: str, turned: bool) -> None:
    first, second = endings.split()
    world = play(
        task("a", when="{{ false }}" if first == "skip" else None),
        task("b", when="{{ false }}" if second == "skip" else None),
        task("end", "a b", join=join),
    )
    for name, how in [("b", second), ("a", first)] if turned else [("a", first), ("b", second)]:
        end(world, name, how)
    instance = world.run.find("end")
    assert instance is not None
    fate = RUNS if running(world) == ["end"] else POISONED if instance.upstream_failed else SKIPS
    assert fate == expected
    if fate != RUNS:
        assert instance.status == "skipped"
        assert instance.reason


def test_one_succeeded_does_not_wait_for_the_rest(play: Play) -> None:
    world = play(task("a"), task("b"), task("end", "a b", join="one_succeeded"))
    world.succeed("b")
    assert running(world) == ["a", "end"]
    world.succeed("end")
    world.fail("a")
    assert statuses(world) == {"a": "failed", "b": "succeeded", "end": "succeeded"}


def test_one_failed_does_not_wait_for_the_rest(play: Play) -> None:
    world = play(task("a"), task("b"), task("end", "a b", join="one_failed"))
    world.fail("a")
    assert running(world) == ["b", "end"]


def test_one_failed_runs_after_a_failure_that_it_names_itself(play: Play) -> None:
    world = play(task("a"), task("b"), task("mend", "a:failed b", join="one_failed"))
    world.succeed("b")
    world.fail("a")
    assert running(world) == ["mend"]


@pytest.mark.parametrize(
    ("accepts", "how", "runs"),
    [
        ("succeeded", "ok", True),
        ("succeeded", "bad", False),
        ("failed", "bad", True),
        ("failed", "ok", False),
        ("failed", "skip", False),
        ("skipped", "skip", True),
        ("succeeded,skipped", "skip", True),
        ("succeeded,failed", "bad", True),
    ],
)
def test_outcomes_in_depends_on(play: Play, accepts: str, how: str, runs: bool) -> None:
    world = play(task("a", when="{{ false }}" if how == "skip" else None), task("b", f"a:{accepts}"))
    end(world, "a", how)
    assert running(world) == (["b"] if runs else [])
    if not runs:
        assert status(world, "b") == "skipped"
        assert "`a` ended" in (reason(world, "b") or "")


def test_an_outcome_must_hold_whatever_the_join(play: Play) -> None:
    world = play(task("a"), task("b"), task("end", "a:failed b", join="all_done"))
    world.succeed("a")
    world.succeed("b")
    assert status(world, "end") == "skipped"
    assert reason(world, "end") == "`a` ended succeeded, not failed"
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_chain_below_a_skipped_task_skips_and_the_run_succeeds(play: Play) -> None:
    world = play(task("a", when="{{ 1 > 2 }}"), task("b", "a"), task("c", "b"))
    assert statuses(world) == {"a": "skipped", "b": "skipped", "c": "skipped"}
    assert reason(world, "a") == "`when` is false: {{ 1 > 2 }}"
    assert reason(world, "c") == "`b` was skipped"
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_failure_travels_down_a_chain_of_skips(play: Play) -> None:
    world = play(task("a"), task("b", "a"), task("c", "b"), task("last", "c", join="one_failed"))
    world.fail("a")
    assert statuses(world) == {"a": "failed", "b": "skipped", "c": "skipped", "last": "pending"} | {"last": "running"}
    assert reason(world, "c") == "`b` did not succeed"
    world.succeed("last")
    assert world.run.status is RunStatus.FAILED


def test_the_run_fails_with_the_first_failure_s_own_words(play: Play) -> None:
    world = play(task("a"), task("b"), task("c", "b"))
    world.fail("b")
    assert world.run.status is RunStatus.RUNNING, "what does not hang on it goes on"
    world.succeed("a")
    assert world.run.failure is not None
    assert world.run.failure.code == "task-failed"
    assert world.run.failure.message == "`b` failed: it went wrong"


def test_a_tolerated_failure_counts_as_success_for_what_follows(play: Play) -> None:
    world = play(task("a", on_error=OnError.CONTINUE), task("b", "a"), task("c", "b", join="all_succeeded"))
    world.fail("a")
    world.succeed("b")
    world.succeed("c")
    assert statuses(world) == {"a": "failed", "b": "succeeded", "c": "succeeded"}
    assert world.run.status is RunStatus.SUCCEEDED


def test_what_is_skipped_because_of_a_failure_is_not_tolerated_for_it(play: Play) -> None:
    world = play(task("a"), task("b", "a", on_error=OnError.CONTINUE), task("c", "b"))
    world.fail("a")
    assert statuses(world) == {"a": "failed", "b": "skipped", "c": "skipped"}


def test_a_condition_is_asked_once_the_upstreams_have_ended(play: Play) -> None:
    world = play(task("a"), task("yes", "a", when="{{ result > 3 }}"), task("no", "a", when="{{ tasks.a.result > 4 }}"))
    world.succeed("a", b"4")
    assert statuses(world) == {"a": "succeeded", "yes": "running", "no": "skipped"}


def test_a_condition_that_cannot_be_asked_fails_its_task(play: Play) -> None:
    world = play(task("a", when="{{ nobody > 1 }}"), task("b", "a"))
    assert statuses(world) == {"a": "failed", "b": "skipped"}
    instance = world.run.find("a")
    assert instance is not None
    assert instance.failure is not None
    assert "nobody" in instance.failure.message


def test_a_skipped_upstream_reads_as_null(play: Play) -> None:
    world = play(task("a", when="{{ false }}"), task("b"), task("c", "a b", arguments={"x": "{{ tasks.a.result }}"}))
    world.succeed("b")
    command = world.running[("c", 1)]
    assert command is not None
    assert command.arguments == {"x": None}


DATA = {
    #                 control ok, data:   control skipped, data:   control bad, data:
    #                 skip      bad       ok        skip           ok        skip
    "none_failed": (RUNS, POISONED, SKIPS, SKIPS, POISONED, POISONED),
    "all_succeeded": (SKIPS, POISONED, SKIPS, SKIPS, POISONED, POISONED),
    "all_done": (RUNS, RUNS, RUNS, RUNS, RUNS, RUNS),
    "one_succeeded": (RUNS, RUNS, SKIPS, SKIPS, POISONED, POISONED),
    "one_failed": (SKIPS, SKIPS, SKIPS, SKIPS, RUNS, RUNS),
}
CONTROL_AND_DATA = ("ok skip", "ok bad", "skip ok", "skip skip", "bad ok", "bad skip")


@pytest.mark.parametrize(
    ("join", "endings", "expected"),
    [
        (join, ending, fate)
        for join, fates in DATA.items()
        for ending, fate in zip(CONTROL_AND_DATA, fates, strict=True)
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_only_read_does_not_make_up_for_what_is_depended_on(
    play: Play, join: str, endings: str, expected: str, turned: bool
) -> None:
    control, data = endings.split()
    world = play(
        task("a", when="{{ false }}" if control == "skip" else None),
        task("b", when="{{ false }}" if data == "skip" else None),
        task("end", "a", join=join, arguments={"x": "{{ tasks.b.result }}"}),
    )
    for name, how in [("b", data), ("a", control)] if turned else [("a", control), ("b", data)]:
        end(world, name, how)
    instance = world.run.find("end")
    assert instance is not None
    fate = RUNS if running(world) == ["end"] else POISONED if instance.upstream_failed else SKIPS
    assert fate == expected


@pytest.mark.parametrize("join", ["one_succeeded", "one_failed"])
def test_a_task_that_need_not_wait_for_all_waits_for_what_it_reads(play: Play, join: str) -> None:
    world = play(
        task("a"), task("b"), task("data"), task("end", "a b", join=join, arguments={"x": "{{ tasks.data.result }}"})
    )
    end(world, "a", "ok" if join == "one_succeeded" else "bad")
    assert running(world) == ["b", "data"]
    world.succeed("data")
    assert running(world) == ["b", "end"]


def test_a_task_that_only_reads_is_joined_by_what_it_reads(play: Play) -> None:
    world = play(
        task("a"),
        task("b", when="{{ false }}"),
        task("end", arguments={"x": "{{ tasks.a.result }}{{ tasks.b.result }}"}),
    )
    world.succeed("a")
    assert running(world) == ["end"]


def test_a_branch_is_joined_by_its_decision(play: Play) -> None:
    rules = {"conditions": [{"rule": "true", "action": "yes"}]}
    world = play(
        task("a"),
        task("route", type="decision", executor=None, options=rules, when="{{ false }}"),
        task("yes", arguments={"x": "{{ tasks.a.result }}"}),
    )
    world.succeed("a")
    assert status(world, "yes") == "skipped"
