"""``ctx.state``: durable keyed state as a mapping."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.base.redaction import Redactor, Secret
from autoglm.engine.messages import StateWritten
from autoglm.runtime.keyed_state import KeyedState
from autoglm.tasks.protocol import TaskContext

from .house import House


def make(**initial: bytes) -> tuple[KeyedState, list[StateWritten]]:
    written: list[StateWritten] = []
    return KeyedState(dict(initial), written.append, Redactor(["hunter2"]).scrub_json), written


def test_it_is_a_mapping_of_json_data() -> None:
    state, written = make(a=b"[1]")
    state["b"] = {"x": (1, 2)}
    state.setdefault("a", [])
    state["a"] = [*state["a"], 2]
    assert dict(state) == {"a": [1, 2], "b": {"x": [1, 2]}}
    del state["b"]
    assert ("b" in state, len(state), list(state)) == (False, 1, ["a"])
    assert state.pop("nothing", None) is None
    assert written == [StateWritten("b", b'{"x":[1,2]}'), StateWritten("a", b"[1,2]"), StateWritten("b", None)]


def test_what_was_read_is_a_copy() -> None:
    state, written = make(a=b"[1]")
    state["a"].append(2)
    assert state["a"] == [1]
    assert written == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("a", {1}), ("a", float("nan")), ("a", object()), (1, 1), (None, 1), ("\ud800", 1), ("a", "\ud800")],
)
def test_what_is_not_json_is_refused_and_changes_nothing(key: Any, value: Any) -> None:
    state, written = make()
    with pytest.raises(TaskError) as caught:
        state[key] = value
    assert caught.value.code == "not-json"
    assert not caught.value.retryable
    assert (dict(state), written) == ({}, [])


def test_secrets_are_not_written_down() -> None:
    state, written = make()
    state["token"] = {"of": ["hunter2"]}
    assert state["token"] == {"of": ["***"]}
    state[Secret("hunter2")] = 1
    assert state["hunter2"] == 1
    assert written == [StateWritten("token", b'{"of":["***"]}'), StateWritten("***", b"1")]


def test_a_key_that_is_not_there_is_a_key_error() -> None:
    state, written = make()
    with pytest.raises(KeyError):
        state["a"]
    with pytest.raises(KeyError):
        del state["a"]
    state["1"] = True
    assert 1 not in state
    assert "\ud800" not in state
    del state["1"]
    written.clear()
    assert written == []


def test_it_is_durable_over_a_resume_and_shared_by_all_tasks(house: House) -> None:
    flow = house.write("flow.yaml", "name: f\ntasks:\n  a: {handler: count}\n  b: {handler: count, depends_on: a}\n")
    store = str(house.root / "runs.db")

    async def first() -> str:
        async def count(ctx: TaskContext) -> Any:
            ctx.state["pages"] = [*ctx.state.get("pages", []), ctx.task_id]
            if ctx.task_id == "b":
                session.abort()
                await asyncio.Event().wait()

        with house.session(store, count=count) as session:
            return (await session.run(session.load(flow))).run_id

    async def second(run_id: str) -> Any:
        def count(ctx: TaskContext) -> Any:
            return ctx.state["pages"]

        with house.session(store, count=count) as session:
            report = await session.resume(run_id)
            assert report.succeeded
            return report.tasks["b"].result

    run_id = asyncio.run(first())
    assert asyncio.run(second(run_id))[0] == "a"


def test_threads_may_write_too_and_writes_come_before_their_attempt_s_end(house: House) -> None:
    flow = (
        "name: f\ntasks:\n  a: {loop: {over: '{{ range(20) }}'}, handler: note}\n  b: {handler: seen, depends_on: a}\n"
    )

    def note(ctx: TaskContext) -> None:
        ctx.state[ctx.task_id] = ctx.attempt

    report = asyncio.run(house.run(flow, note=note, seen=lambda ctx: len(ctx.state)))
    assert report.tasks["b"].result == 20
