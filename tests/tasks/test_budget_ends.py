"""What ends a budget while calls are made, and what is counted of a call that nobody heard the end of."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from autoglm.app.report import RunReport
from autoglm.cli.entry import enter
from tests.llm.web_peer import Server, refused, run_async, serving
from tests.runtime.house import House

MODEL = "models: {m: {base_url: %s, model: big}, cheap: {base_url: %s, model: small}}\n"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def flow(server: Server, allowed: str, **fields: Any) -> str:
    task = {"name": "a", "model": "m", "prompt": "hello", "max_tokens": 10, **fields}
    return f"budget: {allowed}\n{MODEL % (server.url, server.url)}tasks:\n- {json.dumps(task)}\n"


async def drive(house: House, text: str, run_id: str = "r", **manner: Any) -> RunReport:
    path = house.write("flow.yaml", text)
    with house.session("runs.db") as session:
        return await session.run(session.load(path), run_id=run_id, **manner)


class Held:
    """Keeps calls waiting, and tells when the first one is there."""

    def __init__(self, *models: str) -> None:
        self.models = models
        self.is_there = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def __call__(self, body: dict[str, Any]) -> None:
        if not self.models or body["model"] in self.models:
            self.is_there.set()
            await self.goes_on.wait()


@run_async
async def test_a_call_ends_when_the_time_of_a_budget_is_up(house: House) -> None:
    async with serving(before=Held()) as server:
        report = await drive(house, flow(server, "{wall_time: 300ms, tokens: 10000}"))
    error = report.tasks["a"].error
    assert error is not None
    assert (error["code"], report.tasks["a"].attempts) == ("budget-exhausted", 1)
    assert "0.3 s have passed" in error["message"]
    assert (report.usage["lost_calls"], report.usage.get("calls", 0)) == (1, 0)
    assert report.usage["lost_tokens"] >= 10, "what it may have used is counted"


@run_async
async def test_a_refused_call_waits_no_longer_than_the_budget_lasts(house: House) -> None:
    async with serving(lambda number, _: refused({"retry-after": "300"})) as server:
        async with asyncio.timeout(30):
            report = await drive(house, flow(server, "{wall_time: 300ms}"))
    assert report.tasks["a"].error is not None
    assert report.tasks["a"].error["code"] == "budget-exhausted"
    assert len(server.asked) == 1


@run_async
async def test_why_a_budget_paused_the_run_is_told(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(before=Held()) as server:
        report = await drive(house, flow(server, "{wall_time: 300ms, on_exhausted: pause}"))
    why = "the run's budget is used up: 0.3 s have passed"
    assert (report.status, report.paused) == ("paused", why)
    assert report.as_dict()["paused"] == why


@run_async
async def test_a_call_goes_on_with_another_model_when_the_time_is_up(house: House) -> None:
    async with serving(before=Held("big")) as server:
        report = await drive(house, flow(server, "{wall_time: 300ms, on_exhausted: {degrade: cheap}}"))
    assert report.status == "succeeded"
    assert [body["model"] for body in server.asked] == ["big", "small"]
    assert (report.usage["calls"], report.usage["lost_calls"]) == (1, 1)


@run_async
async def test_a_call_under_way_when_the_process_ends_is_counted_at_its_worst(house: House) -> None:
    held = Held()
    async with serving(before=held) as server:
        path = house.write("flow.yaml", flow(server, "{calls: 3}", loop={"over": [1, 2, 3], "max_parallel": 1}))
        with house.session("runs.db") as session:
            first = asyncio.ensure_future(session.run(session.load(path), run_id="r"))
            await held.is_there.wait()
            session.abort()
            await first
        held.goes_on.set()
        with house.session("runs.db") as session:
            report = await session.resume("r")
            assert session.store.get_run("r").usage["tasks"]["a"]["lost_calls"] == 1
    assert report.status == "failed"
    assert (report.usage["calls"], report.usage["lost_calls"]) == (2, 1)
    assert len(server.asked) == 3, "three calls were allowed, and the one that was lost is one of them"


@run_async
async def test_what_a_timed_out_attempt_used_is_counted(house: House) -> None:
    async with serving(before=Held()) as server:
        report = await drive(house, flow(server, "{calls: 2}", timeout="300ms", retries=3, retry={"delay": "1ms"}))
    error = report.tasks["a"].error
    assert error is not None
    assert error["code"] == "budget-exhausted"
    assert (len(server.asked), report.usage["lost_calls"]) == (2, 2)


@run_async
async def test_a_stand_in_is_paid_from_its_tasks_budget(house: House) -> None:
    fails = {"model": "m", "on_error": {"degrade": {"model": "cheap"}}}
    async with serving(lambda number, body: refused(status=400) if body["model"] == "big" else None) as server:
        allowed = await drive(house, flow(server, "{calls: 9}", budget={"calls": 2}, **fails), "r1")
        denied = await drive(house, flow(server, "{calls: 9}", budget={"tokens": 1, "calls": 1}, **fails), "r2")
    assert (allowed.status, allowed.usage["calls"]) == ("succeeded", 2)
    assert denied.status == "failed"
    assert len(server.asked) == 2, "neither the task nor its stand-in could be paid"


def test_show_explain_and_the_summary_tell_why_a_run_is_paused(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> None:
        async with serving() as server:
            text = flow(server, "{calls: 1, on_exhausted: pause}", loop={"over": [1, 2, 3], "max_parallel": 1})
            await drive(house, text)

    asyncio.run(run())
    project = ["--project", str(house.root), "--store", "runs.db"]
    why = "the run's budget is used up: 1 of 1 calls used"
    for command in (["show", "r"], ["show", "r", "--json"], ["explain", "r"]):
        capsys.readouterr()
        assert enter([*command, *project]) == 0
        assert why in capsys.readouterr().out, command
