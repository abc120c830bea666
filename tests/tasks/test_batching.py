"""Loops whose calls go through a provider's batch API: gathered, parked, looked after, and asked online in the end."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from autoglm.engine import messages as m
from tests.llm.batch_peer import serve_batches
from tests.runtime.house import House
from tests.tasks.test_spending import drive, run_async

TERMS = {"gather": "10s", "poll": "150ms", "deadline": "1h"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def flow(url: str, count: int, provider: str = "openai", terms: dict[str, Any] = TERMS, **header: Any) -> str:
    """Return a loop of so many calls, sent once all of them are gathered, however slow the machine is."""
    model = {"base_url": url, "model": "gpt-4.1", "provider": provider}
    task = {
        "name": "a",
        "model": "m",
        "prompt": "{{ item }}",
        "max_tokens": 20,
        "execution": "batch",
        "batch": {"calls": count, **terms},
        "loop": list(range(count)),
    }
    return json.dumps({"models": {"m": model}, "tasks": [task], **header})


@run_async
async def test_a_loop_is_one_batch_at_half_the_price(house: House) -> None:
    async with serve_batches() as peer:
        report, watcher = await drive(house, flow(peer.url, 30))
    assert report.tasks["a"].result == [f"batched: {number}" for number in range(30)]
    assert len(peer.batches) == 1
    assert not peer.online
    (batch,) = peer.batches.values()
    lines = peer.lines(batch)
    assert {line["url"] for line in lines} == {"/v1/chat/completions"}
    assert len({line["custom_id"] for line in lines}) == 30
    assert (report.usage["calls"], report.usage["batched"]) == (30, 30)
    assert report.usage["cost"] == pytest.approx(30 * (7 * 2 + 3 * 8) / 1e6 / 2)
    assert peer.looks <= 6  # one look serves all who wait
    reasons = {event.reason for event in watcher.events if isinstance(event, m.ParkingBegan)}
    assert reasons == {"its call is gathered for a batch", "in the batch batch-0 of 30 calls"}


@run_async
async def test_a_restart_asks_for_nothing_again(house: House) -> None:
    async with serve_batches(ends_after=1_000_000) as peer:
        terms = {**TERMS, "poll": "2s"}
        with house.session("runs.db") as session:
            loaded = session.load(house.write("flow.yaml", flow(peer.url, 5, terms=terms)))
            running = asyncio.create_task(session.run(loaded, run_id="r"))
            await peer.made.wait()
            session.abort()
            assert (await running).status not in ("succeeded", "failed")
        peer.ends_after = 1
        with house.session("runs.db") as session:
            report = await session.resume("r")
    assert report.status == "succeeded"
    assert report.tasks["a"].result == [f"batched: {number}" for number in range(5)]
    assert len(peer.batches) == 1


@run_async
async def test_at_the_deadline_calls_are_made_online(house: House) -> None:
    async with serve_batches(ends_after=1_000_000) as peer:
        report, _ = await drive(house, flow(peer.url, 4, terms={**TERMS, "deadline": "400ms"}))
    assert report.tasks["a"].result == [f"online: {number}" for number in range(4)]
    assert peer.batches["batch-0"]["status"] == "cancelling"
    assert (report.usage["calls"], report.usage.get("batched", 0)) == (4, 0)


@run_async
async def test_what_a_batch_left_out_is_asked_online_and_what_failed_in_it_fails(house: House) -> None:
    async with serve_batches(left_out=2, failing=1) as peer:
        text = json.loads(flow(peer.url, 5))
        text["tasks"][0]["loop"] = {"over": list(range(5)), "min_success": 0.5}
        report, watcher = await drive(house, json.dumps(text))
    kinds = sorted(str(answer).partition(":")[0] for answer in report.tasks["a"].result)
    assert kinds == ["None", "batched", "batched", "online", "online"]
    failed = [event.failure for event in watcher.events if isinstance(event, m.AttemptFailed)]
    assert [failure.code for failure in failed] == ["model-request-rejected"]


@run_async
async def test_a_batch_that_is_refused_fails_its_attempts(house: House) -> None:
    async with serve_batches(ends_as="failed") as peer:
        report, watcher = await drive(house, flow(peer.url, 2))
    assert report.status == "failed"
    failures = [event.failure for event in watcher.events if isinstance(event, m.AttemptFailed)]
    assert {failure.code for failure in failures} == {"batch-failed"}
    assert "the file is too old" in failures[0].message


@run_async
async def test_a_budget_counts_batched_calls(house: House) -> None:
    async with serve_batches() as peer:
        report, _ = await drive(house, flow(peer.url, 9, terms={**TERMS, "gather": "100ms"}, budget={"calls": 4}))
    assert report.status == "failed"
    assert report.usage["calls"] == 4
    assert sum(len(peer.lines(batch)) for batch in peer.batches.values()) == 4


# --------------------------------------------------------------------------------------- when nobody knows whether


KILLED = """
import os, sys
sys.argv = ["autoglm", "run", sys.argv[1], "--run-id", "r", "--store", sys.argv[2], "-q"]
from autoglm.cli.entry import enter
sys.exit(enter(sys.argv[1:]))
"""


@run_async
async def test_a_batch_that_was_accepted_as_the_process_was_killed_is_taken_over(house: House) -> None:
    async with serve_batches(holds=True) as peer:
        path = house.write("flow.yaml", flow(peer.url, 6))
        arguments = [sys.executable, "-c", KILLED, str(path), str(house.root / "runs.db")]
        process = await asyncio.create_subprocess_exec(*arguments, cwd=house.root)
        await peer.made.wait()
        process.kill()
        await process.wait()
        peer.holds = False
        for number in range(5):  # others' batches, over several pages
            peer.batches[f"other-{number}"] = {"id": f"other-{number}", "status": "completed", "metadata": {"run": "r"}}
        with house.session("runs.db") as session:
            report = await session.resume("r")
    assert report.status == "succeeded"
    assert report.tasks["a"].result == [f"batched: {number}" for number in range(6)]
    assert [name for name in peer.batches if name.startswith("batch")] == ["batch-0"]
    assert not peer.online


@run_async
async def test_what_was_never_accepted_is_sent_anew(house: House) -> None:
    async with serve_batches(holds=True) as peer:
        path = house.write("flow.yaml", flow(peer.url, 3))
        with house.session("runs.db") as session:
            running = asyncio.create_task(session.run(session.load(path), run_id="r"))
            await peer.made.wait()
            session.abort()
            await running
        peer.holds = False
        peer.batches.clear()  # as if the provider had lost it
        with house.session("runs.db") as session:
            report = await session.resume("r")
    assert report.tasks["a"].result == [f"batched: {number}" for number in range(3)]
    assert len(peer.batches) == 1


@run_async
async def test_a_batch_whose_answer_was_cut_off_is_found(house: House) -> None:
    async with serve_batches(cuts=1) as peer:
        report, _ = await drive(house, flow(peer.url, 3))
    assert report.tasks["a"].result == [f"batched: {number}" for number in range(3)]
    assert len(peer.batches) == 1
    assert report.tasks["a"].attempts in (0, 1)


@run_async
async def test_where_batches_cannot_be_listed_that_is_said(house: House) -> None:
    async with serve_batches(cuts=1, lists=False) as peer:
        report, watcher = await drive(house, flow(peer.url, 3))
    assert report.status == "succeeded"
    assert len(peer.batches) == 2
    assert any("may be made twice" in line.text for line in watcher.lines)


@run_async
async def test_a_look_that_fails_is_no_failure(house: House) -> None:
    async with serve_batches(fails_looks=3) as peer:
        report, watcher = await drive(house, flow(peer.url, 3))
    assert report.status == "succeeded"
    assert len(peer.batches) == 1
    assert not [event for event in watcher.events if isinstance(event, m.AttemptFailed)]


@run_async
async def test_five_thousand_calls_go_out_in_as_many_batches_as_it_takes(house: House) -> None:
    async with serve_batches() as peer:
        text = json.loads(flow(peer.url, 5000, terms={**TERMS, "gather": "2s", "poll": "5s", "calls": 2000}))
        text["tasks"][0]["loop"] = {"over": "{{ range(5000) }}", "max_parallel": 200}
        report, _ = await drive(house, json.dumps(text))
    assert report.status == "succeeded"
    assert report.tasks["a"].result == [f"batched: {number}" for number in range(5000)]
    sizes = [len(peer.lines(batch)) for batch in peer.batches.values()]
    assert max(sizes) == 2000, "more than a loop has open, and no more than is allowed"
    assert len(sizes) < 10
    asked = [line["custom_id"] for batch in peer.batches.values() for line in peer.lines(batch)]
    assert len(asked) == len(set(asked)) == 5000
