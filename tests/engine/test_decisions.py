"""Decisions: which branch is taken, and what happens to the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoglm.base.redaction import MASK, Secret
from autoglm.engine import messages as m
from autoglm.engine.machine import Run
from autoglm.engine.states import RunStatus
from autoglm.graph.compile import compile_graph

from .conftest import Play
from .flows import reason, result, running, status, statuses, task, told, workflow
from .world import CATALOG


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
    assert result(world, "route") == {
        "branches": ["normal"],
        "rules": ["result > 5"],
        "operands": {"result": 7},
        "not_taken": ["fast", "slow"],
    }
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


def test_two_rules_that_lead_to_one_task_take_it_once(play: Play) -> None:
    world = play(decision("d", ("true", "x"), ("2 > 1", "x"), mode="all"), task("x", "d"))
    found = result(world, "d")
    assert (found["branches"], found["rules"]) == (["x"], ["true", "2 > 1"])


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


def test_a_branch_of_a_decision_that_was_skipped_was_not_chosen(play: Play) -> None:
    world = play(
        task("first"),
        decision("outer", ("result > 8", "deep"), after="first", default="other"),
        task("deep", "outer"),
        decision("inner", ("true", "leaf"), after="deep"),
        task("leaf", "first inner"), task("other", "outer"),
    )  # fmt: skip
    world.succeed("first", b"1")
    assert statuses(world) == {
        "first": "succeeded", "outer": "succeeded", "deep": "skipped", "inner": "skipped", "leaf": "skipped",
        "other": "running",
    }  # fmt: skip
    assert reason(world, "leaf") == "`inner` was skipped"


def test_a_rule_that_cannot_be_asked_fails_the_decision(play: Play) -> None:
    world = play(decision("d", ("nobody > 1", "x")), task("x", "d"))
    assert statuses(world) == {"d": "failed", "x": "skipped"}
    assert world.run.status is RunStatus.FAILED


def test_a_decision_is_one_event_and_no_attempt(play: Play) -> None:
    world = play(decision("d", ("true", "x")), task("x", "d"))
    assert told(world.events) == ["RunCreated", "RunStarted", "TaskSucceeded d", "AttemptStarted x"]
    assert world.check() is None


# ---------------------------------------------------------------------------------------------------- what is recorded


def test_the_operands_of_the_rules_that_were_tried_are_recorded(play: Play) -> None:
    rules = (("tasks.a.result.n > 8", "x"), ("inputs.k == 1", "y"), ("vars.late", "z"))
    world = play(task("a"), decision("d", *rules, after="a"), inputs={"k": 1}, vars={"late": True})
    world.succeed("a", b'{"n": 3}')
    assert result(world, "d")["operands"] == {"tasks.a.result.n": 3, "inputs.k": 1}


def test_operands_are_bounded_and_what_is_missing_is_left_out(play: Play) -> None:
    rule = "words | length > 1 and text != '' and pairs and (nothing | default(true)) and small"
    inputs = {"words": ["w"] * 50, "text": "x" * 1000, "pairs": {"a": "y" * 500}, "small": [1, {"b": 2}]}
    world = play(decision("d", (rule, "x")), task("x", "d"), inputs=inputs)
    assert result(world, "d")["operands"] == {
        "words": "a list of 50",
        "text": "x" * 200 + "…",
        "pairs": "a mapping of 1",
        "small": [1, {"b": 2}],
    }


def test_operands_show_no_secrets() -> None:
    options = {"conditions": [{"rule": "secrets.KEY == 'k' and inputs.token", "action": "x"}]}
    flow = workflow(task("d", type="decision", executor=None, options=options), task("x", "d"))
    run = Run(compile_graph(flow, CATALOG), lambda blob: b"null", {"KEY": Secret("k")})
    run.provide({"token": Secret("t")})
    created = m.RunCreated("run-1", "flow", m.Blob("0" * 64, 1), secret_inputs=("token",))
    events = run.handle([m.Create(created, b"{}"), m.Begin()], 1.0).events
    decided = next(event for event in events if isinstance(event, m.TaskSucceeded))
    assert json.loads(bytes(decided.result))["operands"] == {"secrets.KEY": MASK, "inputs.token": MASK}


# ------------------------------------------------------------------------------------------------- decided by a model


def by_model(*rules: tuple[str, str], **more: Any) -> Any:
    return decision("d", *rules, model="m.skops", features=["{{ inputs.n }}"], **more)


def test_rules_read_what_a_trained_model_predicts(play: Play) -> None:
    rules = (("prediction == 'bad' and probability > 0.8", "x"), ("probabilities.bad > inputs.floor", "y"))
    world = play(by_model(*rules, default="z"), *(task(n, "d") for n in "xyz"), inputs={"n": 4, "floor": 0.5})
    command = world.running["d", 1]
    assert command is not None
    assert command.options == {"model": "m.skops", "features": [4]}
    said = {"prediction": "bad", "probability": 0.7, "probabilities": {"bad": 0.7, "good": 0.3}}
    world.succeed("d", json.dumps(said).encode())
    assert running(world) == ["y"]
    assert result(world, "d") == {
        "branches": ["y"],
        "rules": ["probabilities.bad > inputs.floor"],
        "operands": {"prediction": "bad", "probability": 0.7, "probabilities.bad": 0.7, "inputs.floor": 0.5},
        "not_taken": ["x", "z"],
        **said,
    }
    world.crash()
    assert status(world, "x") == status(world, "z") == "skipped", "it is decided once"


def test_a_decision_by_a_model_is_retried_like_any_task(play: Play) -> None:
    world = play(by_model(("prediction == 1", "x")), task("x", "d"), inputs={"n": 1})
    world.fail("d")
    assert statuses(world) == {"d": "failed", "x": "skipped"}


def by_llm(**more: Any) -> Any:
    return task("d", type="decision", executor=None, options={"llm": "m", "prompt": "?", **more})


LABELS = {"urgent": "x", "calm": "y"}


def test_a_language_model_s_label_picks_the_branch(play: Play) -> None:
    world = play(by_llm(branches=LABELS), task("x", "d"), task("y", "d"))
    world.succeed("d", b'{"label": "calm", "confidence": 0.4}')
    assert statuses(world) == {"d": "succeeded", "x": "skipped", "y": "running"}
    assert result(world, "d") == {
        "branches": ["y"],
        "rules": ["label == calm"],
        "operands": {"label": "calm", "confidence": 0.4},
        "not_taken": ["x"],
        "label": "calm",
        "confidence": 0.4,
    }


def test_below_the_floor_the_fallback_follows(play: Play) -> None:
    world = play(
        by_llm(branches=["x", "y"], min_confidence=0.5, fallback="z"), task("x", "d"), task("y", "d"), task("z", "d")
    )
    world.succeed("d", b'{"label": "x", "confidence": 0.4}')
    assert running(world) == ["z"]
    assert result(world, "d")["rules"] == ["confidence < 0.5"]


@pytest.mark.parametrize("said", [b'{"label": "x", "confidence": 0.4}', b'{"label": "x"}', b'"x"'])
def test_below_the_floor_without_a_fallback_it_fails(play: Play, said: bytes) -> None:
    world = play(by_llm(branches=["x", "y"], min_confidence=0.5), task("x", "d"), task("y", "d"))
    world.succeed("d", said)
    found = world.run.find("d")
    assert found is not None
    assert found.failure is not None
    assert found.failure.code == "decision-unsure"
