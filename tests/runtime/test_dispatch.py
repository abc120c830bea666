"""Doing what the engine commands, whatever the work does."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from autoglm.app.report import RunReport
from autoglm.app.tools import Tools
from autoglm.base.errors import TaskError
from autoglm.engine import messages as m
from autoglm.engine.machine import Run
from autoglm.graph.compile import compile_graph
from autoglm.runtime.dispatch import Dispatcher, Toolbox
from autoglm.spec.model import Task, Workflow
from autoglm.stores.protocol import LogLine
from autoglm.tasks.protocol import TaskContext

from .house import CATALOG, House, Watcher

ONE = "name: one\ntasks:\n  a: {handler: work}\n"


def run_one(house: House, handler: Any, fields: str = "") -> RunReport:
    """Run one task that calls ``handler``."""
    return asyncio.run(house.run(f"name: one\ntasks:\n  a: {{handler: work{fields}}}\n", work=handler))


def error_of(report: RunReport, task: str = "a") -> dict[str, Any]:
    error = report.tasks[task].error
    assert error is not None
    return error


# ------------------------------------------------------------------------------------------------------------ results


@pytest.mark.parametrize("value", [None, 0, "", "text", [1, [2, {"a": None}]], {"x": 1.5}, True])
def test_json_data_comes_through(house: House, value: Any) -> None:
    assert run_one(house, lambda: value).tasks["a"].result == value


class Lazy:
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), b"bytes", float("nan"), {1: 2}, 2**70, "\ud800", [lambda: 1], Lazy(), iter([])]
)
def test_what_is_not_json_fails_the_attempt_with_where_it_stands(house: House, value: Any) -> None:
    report = run_one(house, lambda: {"deep": [value]})
    assert report.status == "failed"
    assert error_of(report)["code"] == "not-json"
    assert "$.deep[0]" in error_of(report)["message"]


def test_a_value_that_holds_itself_or_nests_too_deep_is_not_json(house: House) -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert error_of(run_one(house, lambda: loop))["code"] == "not-json"


def test_a_result_that_is_too_large_is_refused(house: House) -> None:
    assert error_of(run_one(house, lambda: "x" * (65 * 1024 * 1024)))["code"] == "output-too-large"


def test_a_large_result_is_a_blob_and_comes_through(house: House) -> None:
    async def main() -> None:
        flow = house.write("flow.yaml", "name: f\ntasks:\n  big: {}\n  size: {with: {of: '{{ tasks.big.result }}'}}\n")
        with house.session(str(house.root / "runs.db"), big=lambda: "x" * 300_000, size=len_of) as session:
            watcher = Watcher()
            report = await session.run(session.load(flow), observers=[watcher])
            assert report.tasks["size"].result == 300_000
            (event,) = (e for e in watcher.events if isinstance(e, m.AttemptSucceeded) and e.task == "big")
            assert event.blob is not None
            assert session.store.get_blob(event.blob.digest) == b'"' + b"x" * 300_000 + b'"'
            run, _, _ = session.open_run(report.run_id)
            assert run.result_of(run.find("big")) == "x" * 300_000  # type: ignore[arg-type]

    asyncio.run(main())


def len_of(of: str) -> int:
    return len(of)


def test_a_result_is_held_against_its_schema(house: House) -> None:
    fields = ", output_schema: {type: object, required: [n], properties: {n: {type: integer}}}"
    assert run_one(house, lambda: {"n": 1}, fields).succeeded
    report = run_one(house, lambda: {"n": "one"}, fields)
    assert error_of(report)["code"] == "schema-mismatch"
    assert "n" in error_of(report)["message"]
    assert error_of(run_one(house, lambda: None, fields))["code"] == "schema-mismatch"


def test_a_handler_may_change_what_it_was_given(house: House) -> None:
    def spoil(given: Any) -> int:
        given["rows"].append("more")
        given.clear()
        return 1

    flow = """
        name: f
        tasks:
          first: {}
          spoil: {with: {given: "{{ tasks.first.result }}"}, depends_on: first}
          again: {handler: look, with: {given: "{{ tasks.first.result }}"}, depends_on: spoil}
    """
    report = asyncio.run(
        house.run(flow, first=lambda: {"rows": [1]}, spoil=spoil, look=lambda given: given)
    )  # fmt: skip
    assert report.tasks["again"].result == {"rows": [1]}


# ----------------------------------------------------------------------------------------------------------- failures


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def raises(error: BaseException) -> Any:
    def handler() -> None:
        raise error

    async def handler_async() -> None:
        raise error

    return handler, handler_async


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("bad"), "handler-raised"),
        (Odd(), "handler-raised"),
        (SystemExit(3), "handler-exit"),
        (KeyboardInterrupt(), "handler-exit"),
        (asyncio.CancelledError(), "handler-cancelled"),
        (StopIteration(), "handler-raised"),
        (StopAsyncIteration(), "handler-raised"),
        (GeneratorExit(), "handler-exit"),
        (RecursionError(), "handler-raised"),
        (MemoryError(), "handler-raised"),
        (ExceptionGroup("several", [ValueError("x")]), "handler-raised"),
        (BaseExceptionGroup("several", [SystemExit(1)]), "handler-exit"),
        (TaskError("mine", code="my-code", details={"x": {1}}), "my-code"),
        (TaskError(123, code=5, classes=[7]), "5"),  # type: ignore[arg-type,list-item]
        (TaskError("\ud800", hint="\ud800", code="a\ud800"), "a?"),
        (TimeoutError(), "handler-raised"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_whatever_a_handler_raises_is_its_failure(
    house: House, error: BaseException, code: str, is_async: bool
) -> None:
    report = run_one(house, raises(error)[is_async])
    assert report.status == "failed"
    assert report.tasks["a"].status == "failed"
    assert error_of(report)["code"] == code


def test_a_failed_run_can_be_read_from_its_journal_whatever_was_raised(house: House) -> None:
    async def main() -> None:
        flow = house.write("flow.yaml", ONE)
        error = TaskError(b"x", code=None, classes=[object()], hint=1, details=[1])  # type: ignore[arg-type,list-item]
        with house.session(str(house.root / "runs.db"), work=raises(error)[1]) as session:
            report = await session.run(session.load(flow))
            run, _, _ = session.open_run(report.run_id)
            assert run.status == "failed"

    asyncio.run(main())


def test_a_handler_that_cancels_its_own_task_fails(house: House) -> None:
    async def suicide() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    report = run_one(house, suicide)
    assert report.status == "failed"
    assert error_of(report)["code"] in ("cancelled-itself", "handler-cancelled")


def test_a_handler_that_leaves_tasks_behind_harms_nobody(house: House) -> None:
    async def leave() -> int:
        leave.task = asyncio.ensure_future(asyncio.Event().wait())  # type: ignore[attr-defined]
        return 1

    assert run_one(house, leave).succeeded


def test_a_failure_names_its_classes_for_retry_on(house: House) -> None:
    tries: list[int] = []

    def flaky(ctx: TaskContext) -> str:
        tries.append(ctx.attempt)
        if len(tries) < 3:
            raise ConnectionResetError("gone")
        return ctx.idempotency_key

    fields = ", retry: {max_attempts: 5, delay: 1ms, on: [OSError]}"
    report = run_one(house, flaky, fields)
    assert report.succeeded
    assert tries == [1, 2, 3]
    assert report.tasks["a"].attempts == 3


# ------------------------------------------------------------------------------------------------------------- timeouts


def test_an_async_handler_is_stopped_when_its_time_is_up(house: House) -> None:
    ended = []

    async def slow(ctx: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(ctx.cancelled)

    report = run_one(house, slow, ", timeout: 20ms")
    assert (report.tasks["a"].status, error_of(report)["code"]) == ("timeout", "timeout")
    assert ended == [True]


def test_a_thread_is_abandoned_and_its_late_result_is_discarded(house: House) -> None:
    watcher = Watcher()
    began, may_end = threading.Event(), threading.Event()

    def stuck() -> str:
        began.set()
        may_end.wait()
        return "late"

    async def main() -> RunReport:
        discarded = asyncio.Event()
        watcher.when[m.AttemptFailed] = may_end.set
        watcher.when[m.ResultDiscarded] = discarded.set

        async def wait() -> str:
            await discarded.wait()
            return "seen"

        flow = house.write(
            "flow.yaml",
            "name: f\ntasks:\n  a: {handler: stuck, timeout: 20ms, on_error: continue}\n  b: {handler: wait}\n",
        )
        with house.session(stuck=stuck, wait=wait) as session:
            return await session.run(session.load(flow), observers=[watcher])

    report = asyncio.run(main())
    assert began.is_set()
    assert report.tasks["a"].status == "timeout"
    assert "abandoned" in error_of(report)["message"]
    assert report.tasks["b"].result == "seen"
    assert [e.abandoned for e in watcher.events if isinstance(e, m.AttemptFailed)] == [True]


def test_a_thread_that_never_ends_does_not_keep_the_run(house: House) -> None:
    may_end = threading.Event()
    report = run_one(house, lambda: may_end.wait() and None, ", timeout: 20ms")
    may_end.set()
    assert report.tasks["a"].status == "timeout"


def test_a_process_timeout_is_hard(house: House) -> None:
    house.write("tasks/work.py", "import time\ndef work():\n    time.sleep(1000)\n")
    report = asyncio.run(house.run("name: f\ntasks:\n  a: {handler: work, executor: process, timeout: 1s}\n"))
    assert report.tasks["a"].status == "timeout"
    assert "abandoned" not in error_of(report)["message"]


# ------------------------------------------------------------------------------------------------- stops and the rest


def test_an_attempt_that_is_stopped_before_it_has_begun_says_so(tmp_path: Path) -> None:
    """Its start and its stop may be acknowledged by one commit; a task that never began cannot answer for itself."""
    began: list[str] = []

    async def work() -> None:
        began.append("it began")

    async def main() -> m.Stimulus:
        flow = Workflow(
            name="f", tasks=(Task(name="a", type="function", executor="inline", options={"handler": "work"}),)
        )
        graph = compile_graph(flow, CATALOG)
        run = Run(graph, lambda blob: b"null")
        created = m.RunCreated("r", "f", m.Blob("0" * 64, 2))
        (start,) = run.handle([m.Create(created, b"{}"), m.Begin()], 1.0).commands
        (stop,) = run.handle([m.Cancel()], 2.0).commands
        tools = Tools({}, {"work": work})
        answers: asyncio.Queue[m.Stimulus] = asyncio.Queue()
        box = Toolbox(tools.task_type, tools.executor, tmp_path)
        dispatcher = Dispatcher(run, box, answers.put_nowait, lambda line: None)
        dispatcher.do(start)
        dispatcher.do(stop)
        answer = await answers.get()
        assert dispatcher.is_idle
        await dispatcher.close()
        await tools.close()
        return answer

    assert asyncio.run(asyncio.wait_for(main(), 10)) == m.AttemptStopped("a", 1)
    assert began == []


def test_fail_fast_over_many_items_ends(house: House) -> None:
    async def work(item: int) -> None:
        if item % 7 == 3:
            raise ValueError
        await asyncio.Event().wait()

    async def main() -> RunReport:
        flow = "name: f\ntasks:\n  a: {handler: work, loop: {over: '{{ range(500) }}', fail_fast: true}}\n"
        return await asyncio.wait_for(house.run(flow, work=work), 30)

    assert asyncio.run(main()).tasks["a"].status == "failed"


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "x" * 100_000, ""])
def test_lines_of_any_text_are_taken(house: House, text: str) -> None:
    async def main() -> list[LogLine]:
        def talk(ctx: TaskContext) -> None:
            ctx.log("stdout", text)
            ctx.log("log", f"{text}: {text}")
            ctx.logger.warning("%s", text)

        flow = house.write("flow.yaml", ONE)
        with house.session(str(house.root / "runs.db"), work=talk) as session:
            report = await session.run(session.load(flow))
            assert report.succeeded
            return [line for _, line in session.store.list_logs(report.run_id)]

    lines = asyncio.run(main())
    assert len(lines) == 3
    assert lines[2].level == "warning"
