"""The Python API, as one uses it in a script or a notebook."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.runtime.house import House

import autoglm
from autoglm.app.api import Run, WorkflowBuilder, run_sync
from autoglm.base.errors import SpecError, UsageError
from autoglm.engine import messages as m


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return House(tmp_path)


def test_load_and_run(house: House) -> None:
    house.write("tasks/work.py", "def double(n): return n * 2\n")
    path = house.write(
        "flow.yaml", "tasks:\n  double: {with: {n: '{{ n }}'}}\noutputs: {twice: '{{ tasks.double.result }}'}\n"
    )
    flow = autoglm.load(path)
    run = flow.run(n=21)
    assert (run.status, run.succeeded, run.outputs) == ("succeeded", True, {"twice": 42})
    assert run.tasks["double"].result == 42
    assert isinstance(run.events[0], m.RunCreated)
    assert isinstance(run.events[-1], m.RunSucceeded)
    assert run.as_dict()["outputs"] == {"twice": 42}
    assert (house.root / ".autoglm").is_dir(), "it is recorded in the project"


def test_a_run_that_waits_is_answered_from_python(house: House) -> None:
    tasks = [
        {"name": "ok", "type": "approval", "message": "good?"},
        {"name": "paid", "type": "wait", "signal": "paid", "depends_on": "ok"},
    ]
    loaded = autoglm.Workflow.from_data({"name": "asks", "tasks": tasks}, {})._loaded

    class Leaves:
        def on_events(self, events: object, at: float) -> None:
            session.drain()

        def on_log(self, line: object) -> None: ...

    with house.session(str(house.root / "runs.db")) as session:
        run = Run(run_sync(lambda: session.run(loaded, run_id="r", observers=[Leaves()])), session)
        assert [question["task"] for question in run.questions] == ["ok"]
        with pytest.raises(UsageError, match="nobody waits"):
            run.signal("paid")
        run.approve("ok", by="ann", data={"n": 1})
        with pytest.raises(UsageError, match="answered already"):
            run.reject("ok", by="ann")


def test_from_dependencies(house: House) -> None:
    order: list[str] = []
    handlers = {name: (lambda name=name: order.append(name)) for name in ("extract", "clean", "load")}
    flow = autoglm.Workflow.from_dependencies({"load": ["clean"], "clean": "extract"}, handlers)
    assert flow.run().succeeded
    assert order == ["extract", "clean", "load"]
    assert not (house.root / ".autoglm").exists(), "without a file it lives in memory"


def test_from_dependencies_refuses_cycles_and_missing_handlers(house: House) -> None:
    with pytest.raises(SpecError) as caught:
        autoglm.Workflow.from_dependencies({"a": ["b"], "b": ["a"]}, {"a": print, "b": print})
    assert "cycle" in {diagnostic.code for diagnostic in caught.value.diagnostics}
    with pytest.raises(SpecError) as caught:
        autoglm.Workflow.from_dependencies({"a": ["missing"]}, {"a": print})
    assert "missing" in str(caught.value)


def test_the_builder(house: House) -> None:
    def fetch(topic: str) -> list[str]:
        return [topic, topic.upper()]

    async def clean(item: str) -> str:
        return f"<{item}>"

    flow = WorkflowBuilder("report")
    flow.input("topic", type="string", default="tides")
    pages = flow.task("fetch", fetch, topic="{{ inputs.topic }}")
    flow.task("clean", clean, after=pages, fields={"loop": "{{ tasks.fetch.result }}"}, item="{{ item }}")
    flow.output("all", "{{ tasks.clean.result }}")
    built = flow.build()
    assert built.run().outputs == {"all": ["<tides>", "<TIDES>"]}
    assert built.run(topic="x").outputs == {"all": ["<x>", "<X>"]}
    with pytest.raises(UsageError) as caught:
        flow.task("fetch", fetch)
    assert caught.value.code == "duplicate-task"


def test_run_works_inside_a_running_loop_too(house: House) -> None:
    flow = autoglm.Workflow.from_dependencies({"a": []}, {"a": lambda: 1})

    async def notebook() -> str:
        here = flow.run()
        there = await flow.arun()
        return f"{here.status} {there.status}"

    assert asyncio.run(notebook()) == "succeeded succeeded"


def test_errors_come_out_of_the_other_thread_as_they_are(house: House) -> None:
    flow = autoglm.Workflow.from_dependencies({"a": []}, {"a": lambda: 1})

    async def notebook() -> None:
        with pytest.raises(UsageError, match="no input of workflow"):
            flow.run(nothing=object())

    with pytest.raises(UsageError):
        flow.run(nothing=object())

    async def raises() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_sync(raises)


def test_a_failed_run_is_no_exception(house: House) -> None:
    def a() -> None:
        raise ValueError("bad <b>luck</b>")

    run = autoglm.Workflow.from_dependencies({"a": []}, {"a": a}).run()
    assert run.status == "failed"
    assert run.outputs == {}
    assert run.error is not None
    assert "bad <b>luck</b>" in run.error["message"]
    assert "0/1 tasks" in repr(run)
    page = run._repr_html_()
    assert "<b>luck" not in page
    assert "&lt;b&gt;luck" in page


def test_reprs_are_short_and_escaped(house: House) -> None:
    handlers = {"<script>": lambda: "<img src=x>" * 100}
    flow = autoglm.Workflow.from_data(
        {"name": "<i>", "tasks": {"a": {"handler": "<script>", "description": "<b>"}}}, handlers
    )
    run = flow.run()
    assert repr(flow) == "<Workflow <i>: 1 tasks>"
    assert repr(run).startswith(f"<Run {run.run_id} of <i>: succeeded, 1/1 tasks")
    for page in (flow._repr_html_(), run._repr_html_()):
        assert "<i>" not in page
        assert "<img" not in page
        assert len(page) < 2000


def test_configure_makes_another_workflow(house: House) -> None:
    flow = autoglm.Workflow.from_dependencies({"a": []}, {"a": lambda: 1})
    stored = flow.configure(store=str(house.root / "mine.db"), run_id="mine", labels={"team": "x"}, max_parallel=1)
    run = stored.run()
    assert run.run_id == "mine"
    assert (house.root / "mine.db").exists()
    assert flow.run().run_id != "mine"


def test_a_handler_cannot_interrupt_the_process(house: House) -> None:
    async def work() -> None:
        raise KeyboardInterrupt

    flow = autoglm.Workflow.from_dependencies({"a": []}, {"a": work})
    flow = flow.configure(store=str(house.root / "runs.db"), run_id="r")
    assert (flow.run().tasks["a"].error or {})["code"] == "handler-exit"
    with pytest.raises(UsageError) as caught:
        flow.resume("r")
    assert caught.value.code == "run-ended"


def test_aresume_continues_what_was_paused(house: House) -> None:
    path = house.write("flow.yaml", "tasks:\n  a: {handler: work}\n  b: {handler: work, depends_on: a}\n")
    house.write("tasks/work.py", "def work(): return 1\n")

    async def main() -> None:
        with house.session(str(house.root / "runs.db")) as session:
            session.drain()
            report = await session.run(session.load(path), run_id="r")
            assert report.status == "paused"
        flow = autoglm.load(path).configure(store=str(house.root / "runs.db"))
        run = await flow.aresume("r")
        assert run.succeeded
        assert run.tasks["b"].result == 1

    asyncio.run(main())


def test_logs(house: House) -> None:
    def a(ctx):  # type: ignore[no-untyped-def]
        ctx.logger.info("hello")

    run = autoglm.Workflow.from_dependencies({"a": []}, {"a": a}).run()
    assert [(line.task, line.level, line.text) for line in run.logs] == [("a", "info", "hello")]


def test_each_of_several_answers_fits_the_schema_and_not_their_list() -> None:
    schema = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
    task = {"name": "ask", "type": "llm_generate", "prompt": "hi", "n": 2, "output_schema": schema}
    run = autoglm.Workflow.from_data({"name": "several", "tasks": [task]}).configure(offline=True).run()
    assert run.succeeded, run.error
    assert [set(each) for each in run.tasks["ask"].result] == [{"label"}] * 2
