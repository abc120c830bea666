"""Splits in whole runs: shares that stay, what each arm comes to, and canaries that take over or are taken out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.llm.peer import completion
from tests.llm.web_peer import run_async, serving
from tests.runtime.house import House
from tests.tasks.test_spending import drive


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def flow(url: str, split: dict[str, Any], items: list[Any], **fields: Any) -> str:
    models = {name: {"base_url": url, "model": name} for name in ("old", "new")}
    task = {"name": "a", "model": split, "prompt": "{{ item }}", "loop": items, "max_tokens": 20, **fields}
    return json.dumps({"models": models, "tasks": [task]})


SPLIT = {"split": {"stable": {"model": "old", "weight": 3}, "canary": {"model": "new", "system": "Be brief."}}}


@run_async
async def test_arms_differ_in_model_and_prompt_and_items_keep_theirs(house: House) -> None:
    async with serving() as server:
        text = flow(server.url, {**SPLIT, "by": "{{ item % 10 }}"}, list(range(40)))
        first, _ = await drive(house, text, "runs.db", run_id="one")
        await drive(house, text, "runs.db", run_id="two")
        with house.session("runs.db") as session:
            arms = session.store.get_run("one").usage["arms"]["a"]
    assert first.status == "succeeded"
    model_of: dict[str, set[str]] = {}
    for body in server.asked:
        model_of.setdefault(str(int(body["messages"][-1]["content"]) % 10), set()).add(body["model"])
        assert (body["messages"][0]["role"] == "system") is (body["model"] == "new")
    assert all(len(models) == 1 for models in model_of.values())
    assert {"old", "new"} == set().union(*model_of.values())
    assert arms["stable"]["attempts"] + arms["canary"]["attempts"] == 40
    assert arms["stable"]["seconds"] > 0
    assert arms["stable"]["calls"] == arms["stable"]["attempts"]


@run_async
async def test_a_canary_that_fails_is_taken_out_for_all_runs(house: House) -> None:
    def reply(_: int, body: dict[str, Any]) -> web.Response | None:
        return web.json_response({"error": {"message": "no"}}, status=500) if body["model"] == "new" else None

    canary = {"arm": "canary", "metric": "failures", "min_calls": 5}
    split = {"split": {"stable": {"model": "old"}, "canary": {"model": "new"}}, "canary": canary}
    async with serving(reply) as server:
        fields = {"on_error": "continue", "loop": {"over": list(range(60)), "max_parallel": 1, "min_success": 0}}
        await drive(house, flow(server.url, split, [], **fields), "runs.db", run_id="r1")
        asked = [body["model"] for body in server.asked]
        assert 5 <= asked.count("new") < 25
        server.asked.clear()
        await drive(house, flow(server.url, split, [], **fields), "runs.db", run_id="r2")
    assert {body["model"] for body in server.asked} == {"old"}


@run_async
async def test_a_canary_of_better_quality_takes_over(house: House) -> None:
    def reply(_: int, body: dict[str, Any]) -> web.Response | None:
        score = 0.9 if body["model"] == "new" else 0.5
        return web.json_response(completion(json.dumps({"score": score})), dumps=json.dumps)

    schema = {"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]}
    canary = {"arm": "canary", "metric": "quality", "quality": "score", "min_calls": 5}
    split = {"split": {"stable": {"model": "old"}, "canary": {"model": "new"}}, "canary": canary}
    async with serving(reply) as server:
        text = flow(
            server.url, split, list(range(40)), output_schema=schema, loop={"over": list(range(40)), "max_parallel": 1}
        )
        await drive(house, text, "runs.db", run_id="r")
        with house.session("runs.db") as session:
            arms = session.store.get_run("r").usage["arms"]["a"]
            lines = [line.text for _, line in session.store.list_logs("r")]
    assert [body["model"] for body in server.asked[-10:]] == ["new"] * 10
    assert arms["canary"]["quality"] / arms["canary"]["rated"] == pytest.approx(0.9)
    assert any("the arm canary takes over: quality 0.9 beside 0.5" in line for line in lines)


@run_async
async def test_an_arm_is_kept_through_a_refusal(house: House) -> None:
    def reply(number: int, _: dict[str, Any]) -> web.Response | None:
        if number > 1:
            return None
        return web.json_response({"error": {"message": "slow"}}, status=429, headers={"retry-after-ms": "50"})

    async with serving(reply) as server:
        report, _ = await drive(house, flow(server.url, SPLIT, [1]))
    assert report.status == "succeeded"
    assert len({body["model"] for body in server.asked}) == 1


@run_async
async def test_the_next_model_is_asked_rather_than_a_refusal_waited_out(house: House) -> None:
    def reply(_: int, body: dict[str, Any]) -> web.Response | None:
        if body["model"] == "new":
            return None
        return web.json_response({"error": {"message": "slow"}}, status=429, headers={"retry-after": "3600"})

    async with serving(reply) as server:
        text = flow(server.url, {}, [1]).replace('"model": {}', '"model": ["old", "new"]')
        report, _ = await drive(house, text)
    assert report.tasks["a"].result == ["to: 1"]
    assert [body["model"] for body in server.asked] == ["old", "new"]


@run_async
async def test_an_arm_may_have_its_prompt_in_a_file(house: House) -> None:
    house.write("prompts/short.md", "---\nsystem: Be brief.\ntemperature: 0\n---\nIn a word: {{ item }}\n")
    split = {"split": {"stable": {"model": "old"}, "canary": {"model": "new", "prompt_file": "prompts/short.md"}}}
    async with serving() as server:
        report, watcher = await drive(house, flow(server.url, split, list(range(20))))
    assert report.status == "succeeded"
    for body in server.asked:
        said = [message["content"] for message in body["messages"]]
        if body["model"] == "new":
            assert said[0] == "Be brief."
            assert said[1].startswith("In a word: ")
            assert body["temperature"] == 0
        else:
            assert said[0].isdecimal()
    assert {body["model"] for body in server.asked} == {"old", "new"}
    assert any("in the arm `canary` is prompts/short.md@" in line.text for line in watcher.lines)


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


@run_async
async def test_each_model_of_a_list_gets_images_in_its_own_form(house: House) -> None:
    """The first takes addresses, the second does not."""

    def reply(_: int, body: dict[str, Any]) -> web.Response | None:
        return web.json_response({"error": {"message": "no"}}, status=500) if body["model"] == "first" else None

    async def image(request: web.Request) -> web.Response:
        return web.Response(body=PNG, content_type="image/png")

    async with serving(reply, more=[web.get("/a.png", image)]) as server:
        address = server.url.removesuffix("/v1") + "/a.png"
        models = {
            "first": {"base_url": server.url, "provider": "openai", "model": "first"},
            "second": {"base_url": server.url, "provider": "ollama", "model": "second"},
        }
        task = {"name": "a", "model": ["first", "second"], "prompt": "What?", "images": address, "max_tokens": 5}
        report, _ = await drive(house, json.dumps({"models": models, "tasks": [task]}))
    assert report.status == "succeeded"
    sent = {body["model"]: body["messages"][-1]["content"] for body in server.asked}
    of = {
        model: next(part["image_url"]["url"] for part in parts if "image_url" in part) for model, parts in sent.items()
    }
    assert of["first"] == address
    assert of["second"].startswith("data:image/png;base64,")
