"""Decisions: which branch is taken, and what happens to the others."""

from __future__ import annotations

from typing import Any

from autoglm.engine.states import RunStatus

from .conftest import Play
from .flows import reason, result, running, status, statuses, task, told


def decision(name: str, *rules: tuple[str, str], after: str = "", default: str | None = None, **options: Any) -> Any:
    conditions = [{"rule": rule, "action": action} for rule, action in rules]
    given = {"conditions": conditions, **({"default": default} if default else {}), **options}
    return task(name, after, type="decision", executor=None, options=given)


def test_the_first_rule_that_holds_is_taken_and_the_others_are_skipped(play: Play) -> None:
    world = play(
        task("score"),
        decision("route", ("result > 8", "fast"), ("result > 5", "normal"), ("result > 2", "slow"), after="score"),
        task("fast", "route"), task("normal", "route"), task("slow", "route"), task("end", "fast normal slow"),
    )  # fmt: skip
    world.succeed("score", b"7")
    assert running(world) == ["normal"]
    assert status(world, "fast") == status(world, "slow") == "skipped"
    assert reason(world, "fast") == "`route` chose another branch"
    assert result(world, "route") == {"branches": ["normal"], "rules": ["result > 5"]}
    world.succeed("normal")
    assert running(world) == ["end"], "a join after a branch runs"


def test_rules_read_the_fields_of_the_upstream_s_result(play: Play) -> None:
    world = play(task("a"), decision("d", ("priority > 8", "x"), after="a"), task("x", "d"))
    world.succeed("a", b'{"priority": 9}')
    assert running(world) == ["x"]


def test_the_default_is_taken_when_no_rule_holds(play: Play) -> None:
    world = play(decision("d", ("1 > 2", "x"), default="y"), task("x", "d"), task("y", "d"))
    assert statuses(world) == {"d": "succeeded", "x": "skipped", "y": "running"}


def test_the_default_is_left_when_a_rule_holds(play: Play) -> None:
    world = play(decision("d", ("2 > 1", "x"), default="y"), task("x", "d"), task("y", "d"))
    assert statuses(world) == {"d": "succeeded", "x": "running", "y": "skipped"}


def test_without_a_default_all_branches_may_be_skipped(play: Play) -> None:
    world = play(decision("d", ("1 > 2", "x")), task("x", "d"), task("after", "x"))
    assert statuses(world) == {"d": "succeeded", "x": "skipped", "after": "skipped"}
    assert world.run.status is RunStatus.SUCCEEDED


def test_mode_all_takes_every_rule_that_holds(play: Play) -> None:
    world = play(
        decision("d", ("true", "x"), ("false", "y"), ("true", "z"), mode="all", default="w"),
        *(task(name, "d") for name in "xyzw"),
    )
    assert running(world) == ["x", "z"]
    assert status(world, "w") == "skipped"


def test_a_branch_is_one_without_depends_on_too(play: Play) -> None:
    world = play(decision("d", ("1 > 2", "x"), default="y"), task("x"), task("y"))
    assert statuses(world) == {"d": "succeeded", "x": "skipped", "y": "running"}


def test_what_depends_on_a_decision_and_is_no_branch_runs_anyhow(play: Play) -> None:
    world = play(decision("d", ("1 > 2", "x")), task("x", "d"), task("log", "d"))
    assert statuses(world) == {"d": "succeeded", "x": "skipped", "log": "running"}


def test_a_branch_of_two_decisions_runs_when_one_of_them_chose_it(play: Play) -> None:
    for first, second, runs in [("1", "0", True), ("0", "1", True), ("0", "0", False)]:
        world = play(decision("d", (first, "x")), decision("e", (second, "x")), task("x", "d e"))
        assert status(world, "x") == ("running" if runs else "skipped")


def test_a_rule_that_cannot_be_asked_fails_the_decision(play: Play) -> None:
    world = play(decision("d", ("nobody > 1", "x")), task("x", "d"))
    assert statuses(world) == {"d": "failed", "x": "skipped"}
    assert world.run.status is RunStatus.FAILED


def test_a_decision_is_one_event_and_no_attempt(play: Play) -> None:
    world = play(decision("d", ("true", "x")), task("x", "d"))
    assert told(world.events) == ["RunCreated", "RunStarted", "TaskSucceeded d", "AttemptStarted x"]
    assert world.check() is None
