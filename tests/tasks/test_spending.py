"""Whole runs against a real server: turns, refusals, budgets, kept answers and cassettes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autoglm.app.report import RunReport
from autoglm.engine import messages as m
from autoglm.tasks.cassettes import Cassette, CassetteMode
from tests.llm.peer import completion
from tests.llm.web_peer import refused, run_async, serving
from tests.runtime.house import House, Watcher

MODEL = "models: {m: {base_url: %s, model: big%s}}\n"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def one(prompt: str = "hello", **fields: Any) -> str:
    return "tasks:\n- " + json.dumps({"name": "a", "model": "m", "prompt": prompt, "max_tokens": 10, **fields}) + "\n"


async def drive(house: House, flow: str, store: str = "memory", **manner: Any) -> tuple[RunReport, Watcher]:
    watcher = Watcher()
    with house.session(store) as session:
        loaded = session.load(house.write("flow.yaml", flow))
        return await session.run(loaded, observers=[watcher], **manner), watcher


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("header", ["retry-after-ms", "retry-after"])
@run_async
async def test_a_refusal_parks_and_counts_as_no_attempt(house: House, header: str) -> None:
    wait = {"retry-after-ms": "300"} if header == "retry-after-ms" else {"retry-after": "1"}
    async with serving(lambda number, _: refused(wait) if number == 1 else None) as server:
        report, watcher = await drive(house, MODEL % (server.url, "") + one())
    assert report.status == "succeeded"
    assert report.tasks["a"].attempts == 1
    parked = [event for event in watcher.events if isinstance(event, m.ParkingBegan)]
    assert len(parked) == 1
    assert parked[0].reason.startswith("refused by m: ")
    assert (report.usage["calls"], report.usage["refused"]) == (1, 1)


@run_async
async def test_patience_ends(house: House) -> None:
    async with serving(lambda number, _: refused()) as server:
        report, _ = await drive(house, MODEL % (server.url, ", limits: {patience: 0}") + one())
    error = report.tasks["a"].error
    assert error is not None
    assert error["code"] == "model-rate-limited"
    assert len(server.asked) == 1


@run_async
async def test_an_overload_halves_what_is_under_way(house: House) -> None:
    async with serving(lambda number, _: refused(status=503) if number <= 8 else None, meet=8) as server:
        flow = MODEL % (server.url, "") + one(loop=list(range(24)))
        report, _ = await drive(house, flow)
    assert report.status == "succeeded"
    assert len(report.tasks["a"].result) == 24
    assert report.usage["calls"] == 24
    assert report.usage["refused"] >= 8


@run_async
async def test_a_limit_of_calls_under_way_holds_for_two_runs_at_once(house: House) -> None:
    async with serving() as server:
        flow = MODEL % (server.url, ", limits: {max_parallel: 3}") + one("{{ item }}", loop=list(range(15)))
        path = house.write("flow.yaml", flow)

        async def run() -> RunReport:
            with house.session("shared.db") as session:
                return await session.run(session.load(path))

        reports = await asyncio.gather(run(), run())
    assert [report.status for report in reports] == ["succeeded", "succeeded"]
    assert len(server.asked) == 30
    assert server.most_at_once <= 3


# -------------------------------------------------------------------------------------------------------- budgets


@run_async
async def test_a_budget_of_calls_is_kept_to_with_many_at_once(house: House) -> None:
    async with serving() as server:
        flow = "budget: {calls: 7}\n" + MODEL % (server.url, "") + one("{{ item }}", loop=list(range(30)))
        report, _ = await drive(house, flow)
    assert report.status == "failed"
    assert len(server.asked) == 7
    assert report.usage["calls"] == 7


@run_async
async def test_a_call_waits_for_what_others_leave_of_a_budget(house: House) -> None:
    """The worst case of two calls does not fit; what they use does."""
    async with serving() as server:
        need = 10 + int((3 + 4 + 2) * 1.25)
        flow = f"budget: {{tokens: {need * 2}}}\n" + MODEL % (server.url, "") + one(loop=[1, 2, 3])
        report, watcher = await drive(house, flow)
    assert report.status == "succeeded"
    assert report.usage["calls"] == 3
    reasons = [event.reason for event in watcher.events if isinstance(event, m.ParkingBegan)]
    assert any("waits for calls under way" in reason for reason in reasons)


@run_async
async def test_costs_are_counted_by_the_projects_own_prices(house: House) -> None:
    (house.root / "autoglm.yaml").write_text("prices: {big: {input: 1000, output: 2000}}\n")
    async with serving() as server:
        flow = (
            "budget: {cost: 0.05}\n" + MODEL % (server.url, "") + one(loop={"over": list(range(9)), "max_parallel": 1})
        )
        report, _ = await drive(house, flow)
    assert report.status == "failed"
    assert report.usage["cost"] == pytest.approx(len(server.asked) * (7 * 1000 + 3 * 2000) / 1e6)
    assert report.usage["cost"] <= 0.05


@run_async
async def test_a_budget_survives_a_pause_and_is_raised_for_a_resume(house: House) -> None:
    async with serving() as server:
        flow = (
            "budget: {calls: 2, on_exhausted: pause}\n"
            + MODEL % (server.url, "")
            + one("{{ item }}", loop={"over": [1, 2, 3, 4], "max_parallel": 1})
        )
        report, _ = await drive(house, flow, "runs.db", run_id="r")
        assert (report.status, len(server.asked)) == ("paused", 2)
        with house.session("runs.db") as session:
            report = await session.resume("r")
        assert (report.status, len(server.asked)) == ("paused", 2)
        with house.session("runs.db") as session:
            report = await session.resume("r", budget={"calls": 10})
        assert (report.status, len(server.asked)) == ("succeeded", 4)
        with house.session("runs.db") as session:
            usage = session.store.get_run("r").usage
    assert usage["total"]["calls"] == 4
    assert usage["tasks"]["a"]["calls"] == 4


@run_async
async def test_a_used_up_budget_goes_on_with_another_model(house: House) -> None:
    async with serving() as server:
        flow = (
            f"models: {{m: {{base_url: '{server.url}', model: big}}, s: {{base_url: '{server.url}', model: small}}}}\n"
            "budget: {calls: 2, on_exhausted: {degrade: s}}\n" + one(loop={"over": [1, 2, 3, 4, 5], "max_parallel": 1})
        )
        report, _ = await drive(house, flow)
    assert report.status == "succeeded"
    assert [body["model"] for body in server.asked] == ["big", "big", "small", "small", "small"]


@run_async
async def test_a_tasks_own_budget_and_that_of_the_group_around_it(house: House) -> None:
    async with serving() as server:
        flow = MODEL % (server.url, "") + (
            "tasks:\n"
            "- name: g\n"
            "  budget: {calls: 3}\n"
            "  on_error: continue\n"
            "  tasks:\n"
            "  - {name: x, model: m, prompt: x, loop: {over: [1, 2], max_parallel: 1}}\n"
            "  - {name: y, model: m, prompt: y, depends_on: x, loop: {over: [1, 2], max_parallel: 1}}\n"
            "- {name: free, model: m, prompt: z, budget: {calls: 1}}\n"
        )
        report, _ = await drive(house, flow)
    assert report.tasks["g"].status == "failed"
    assert report.tasks["free"].status == "succeeded"
    assert len(server.asked) == 4


@run_async
async def test_the_budget_of_a_called_file_is_for_all_its_calls(house: House) -> None:
    async with serving() as server:
        model = MODEL % (server.url, "")
        house.write("inner.yaml", "budget: {calls: 3}\n" + model + one(loop=[1, 2]))
        report, _ = await drive(
            house,
            model + "tasks:\n- {name: c, workflow: ./inner.yaml, loop: {over: [1, 2], max_parallel: 1}}\n"
            "- {name: own, model: m, prompt: z, depends_on: {c: [failed, succeeded]}}\n",
        )
    assert report.tasks["c"].status == "failed"
    assert report.tasks["own"].status == "succeeded"
    assert len(server.asked) == 4


@run_async
async def test_a_namespaces_day_is_shared_by_runs_and_what_is_left_is_given_back(house: House) -> None:
    (house.root / "autoglm.yaml").write_text("budgets: {team: {calls: 5}}\n")
    async with serving() as server:
        flow = "namespace: team\n" + MODEL % (server.url, "") + one(loop={"over": [1, 2], "max_parallel": 1})
        statuses = [(await drive(house, flow, "runs.db"))[0].status for _ in range(3)]
    assert statuses == ["succeeded", "succeeded", "failed"]
    assert len(server.asked) == 5


# --------------------------------------------------------------------------------------------------- kept answers


@run_async
async def test_the_same_question_is_asked_once(house: House) -> None:
    async with serving() as server:
        flow = MODEL % (server.url, "") + one(cache=True)
        first, _ = await drive(house, flow, "runs.db")
        second, _ = await drive(house, flow, "runs.db")
        other, _ = await drive(house, flow.replace("hello", "goodbye"), "runs.db")
    assert [body["messages"][-1]["content"] for body in server.asked] == ["hello", "goodbye"]
    assert first.tasks["a"].result == second.tasks["a"].result == "to: hello"
    assert (first.usage["calls"], second.usage["calls"], second.usage["cache_hits"]) == (1, 0, 1)
    assert "input_tokens" not in second.usage
    assert other.usage["calls"] == 1


@run_async
async def test_an_answer_that_nobody_could_use_is_not_kept(house: House) -> None:
    def reply(number: int, _: dict[str, Any]) -> web.Response | None:
        return web.json_response(completion("no json" if number == 1 else '{"n": 1}'), dumps=json.dumps)

    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with serving(reply) as server:
        flow = MODEL % (server.url, "") + one(cache=True, output_schema=schema, retries=3)
        first, _ = await drive(house, flow, "runs.db")
        second, _ = await drive(house, flow, "runs.db")
    assert first.tasks["a"].result == second.tasks["a"].result == {"n": 1}
    assert second.usage["calls"] == 0


@pytest.mark.parametrize(("scope", "asked"), [("project", 1), ("workflow", 2), ("run", 3)])
@run_async
async def test_scopes(house: House, scope: str, asked: int) -> None:
    async with serving() as server:
        flow = MODEL % (server.url, "") + one(cache={"scope": scope})
        for name in ("one", "one", "two"):
            await drive(house, f"name: {name}\n{flow}", "runs.db")
    assert len(server.asked) == asked


@run_async
async def test_a_cassette_answers_without_a_server_and_says_what_changed(house: House) -> None:
    path = house.root / "tapes" / "flow.jsonl"
    async with serving() as server:
        flow = MODEL % (server.url, "") + one("say {{ item }}", loop=[2, 1, 10])
        recorded, _ = await drive(house, flow, cassette=Cassette.open(path, CassetteMode.RECORD))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["task"] for line in lines] == ["a[0]", "a[1]", "a[2]"]
    assert lines[2]["asked"]["messages"] == [{"role": "user", "content": "say 10"}]
    assert server.url not in path.read_text()

    replayed, _ = await drive(house, flow, cassette=Cassette.open(path, CassetteMode.REPLAY))
    assert replayed.tasks["a"].result == recorded.tasks["a"].result
    assert (replayed.usage["replayed"], replayed.usage["calls"]) == (3, 0)

    changed, _ = await drive(house, flow.replace("say", "tell"), cassette=Cassette.open(path, CassetteMode.REPLAY))
    assert changed.status == "failed"
    with house.session() as session:
        loaded = session.load(house.write("flow.yaml", flow.replace("say", "tell")))
        watcher = Watcher()
        await session.run(loaded, observers=[watcher], cassette=Cassette.open(path, CassetteMode.REPLAY))
    failure = next(event.failure for event in watcher.events if isinstance(event, m.AttemptFailed))
    assert failure.code == "cassette-mismatch"
    assert "“say 2” became “tell 2”" in failure.message


@run_async
async def test_auto_asks_what_is_missing_and_adds_it(house: House) -> None:
    path = house.root / "flow.jsonl"
    async with serving() as server:
        for items in ([1, 2], [1, 2, 3], [3]):
            flow = MODEL % (server.url, "") + one("{{ item }}", loop=items)
            await drive(house, flow, cassette=Cassette.open(path, CassetteMode.AUTO))
    assert [body["messages"][-1]["content"] for body in server.asked] == ["1", "2", "3"]
    assert len(path.read_text().splitlines()) == 3


@run_async
async def test_a_cassette_holds_no_secret(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "sesame-open-4711")
    path = house.root / "flow.jsonl"
    async with serving() as server:
        flow = MODEL % (server.url, ", api_key: '{{ secrets.TOKEN }}'") + one("my token is {{ secrets.TOKEN }}")
        await drive(house, flow, cassette=Cassette.open(path, CassetteMode.RECORD))
        assert "sesame" in server.asked[0]["messages"][0]["content"]
    assert "sesame" not in path.read_text()
    monkeypatch.setenv("TOKEN", "another-word-0815")
    replayed, _ = await drive(house, flow, cassette=Cassette.open(path, CassetteMode.REPLAY))
    assert replayed.status == "succeeded"
