"""Errors about budgets, caches and cassettes."""

from __future__ import annotations

import json
from typing import Any

from tests.errors.scene import Scene
from tests.llm.batch_peer import serve_batches
from tests.llm.peer import completion, serve

MODEL = "models: {m: {base_url: URL, model: big}}\n"
ASK = "tasks:\n- {name: a, model: m, prompt: 'Count to three.', max_tokens: 50}\n"


def answer(_: dict[str, Any]) -> dict[str, Any]:
    return completion("one, two, three")


def test_budgets_of_those_who_ask_no_model(scene: Scene) -> None:
    scene.write(
        "flow.yaml",
        """\
        budget: {cost: 1, on_exhausted: {degrade: chaep}}
        models: {cheap: ollama/qwen3}
        tasks:
          - {name: a, script: "true", budget: {calls: 1}, cache: true}
          - {name: b, model: cheap, prompt: hello, budget: {calls: 1, on_exhausted: {degrade: cheep}}}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("budget-not-available", "cache-not-available", "unknown-model")


def test_splits_that_lead_nowhere(scene: Scene) -> None:
    scene.write(
        "flow.yaml",
        """\
        models: {cheap: ollama/qwen3}
        tasks:
          - {name: a, prompt: hello, model: {split: {one: {model: cheap}}}}
          - {name: b, prompt: hello, model: {split: {one: {model: cheep}, two: {weight: -1, colour: red}}}}
          - {name: c, prompt: hello, model: {split: {one: {}, two: {}}, canary: {arm: three, metric: quality}}}
          - {name: d, prompt: hello, model: {split: {one: {}, two: {}}, canary: {arm: two, metric: luck}}}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("model-split-invalid", "unknown-model")


def test_batches_that_cannot_be(scene: Scene) -> None:
    batched = ASK.replace("max_tokens: 50", "execution: batch, batch: {gather: 10ms, poll: 20ms}")
    with scene.serving(serve_batches(ends_as="failed")) as peer:
        scene.run(MODEL.replace("URL", peer.url) + batched)
        openai = MODEL.replace("URL", peer.url).replace("model: big", "model: big, provider: openai")
        scene.write("flow.yaml", openai + batched)
        scene.autoglm("run", "flow.yaml", "-q", "--run-id", "r2")
    scene.shows("batch-unsupported", "batch-failed")


def test_a_budget_without_a_limit(scene: Scene) -> None:
    scene.write("flow.yaml", "budget: {on_exhausted: pause}\n" + ASK)
    scene.autoglm("validate", "flow.yaml")
    scene.shows("budget-empty")


def test_a_budget_that_is_used_up(scene: Scene) -> None:
    with scene.serving(serve(answer)) as peer:
        flow = "budget: {tokens: 40}\n" + MODEL.replace("URL", peer.url) + ASK
        scene.run(flow)
    scene.shows("budget-exhausted")


def test_a_model_without_a_price(scene: Scene) -> None:
    with scene.serving(serve(answer)) as peer:
        scene.run("budget: {cost: 1, on_unpriced: fail}\n" + MODEL.replace("URL", peer.url) + ASK)
    scene.shows("model-unpriced")


def test_limits_on_the_command_line(scene: Scene) -> None:
    scene.write("flow.yaml", ASK.replace("m,", "ollama/x,"))
    for words in ("cost", "cost=much", "money=5", "tokens=0"):
        scene.autoglm("run", "flow.yaml", "--budget", words)
    scene.shows("budget-option")


def test_a_cassette_that_is_not_there(scene: Scene) -> None:
    scene.write("flow.yaml", ASK.replace("m,", "ollama/x,"))
    scene.autoglm("run", "flow.yaml", "--cassette", "replay")
    scene.write("tape.jsonl", '{"task": "a"}\n')
    scene.autoglm("run", "flow.yaml", "--cassette", "tape.jsonl")
    scene.autoglm("run", "flow.yaml", "--cassette", "tape.jsonl/x", "--cassette-mode", "record")
    scene.autoglm("run", "flow.yaml", "--cassette", ".", "--cassette-mode", "replay")
    scene.autoglm("run", "flow.yaml", "--cassette", "record", "--cassette-mode", "replay")
    scene.shows("cassette-missing", "cassette-unreadable", "cassette-unwritable", "usage")


def test_a_prompt_that_has_changed_since(scene: Scene) -> None:
    asked = {
        "model": "ollama/x",
        "messages": [{"role": "user", "content": "Count to two."}],
        "parameters": {"max_tokens": 50},
    }
    scene.write("tape.jsonl", json.dumps({"task": "a", "asked": asked, "answer": {"text": "one, two"}}) + "\n")
    scene.run(ASK.replace("m,", "ollama/x,"), "--cassette", "tape.jsonl", "--cassette-mode", "replay")
    scene.write("empty.jsonl", "")
    scene.autoglm("run", "flow.yaml", "-q", "--run-id", "r2", "--cassette", "empty.jsonl", "--cassette-mode", "replay")
    scene.shows("cassette-mismatch")


def test_a_day_that_cannot_be_looked_up(scene: Scene) -> None:
    import asyncio

    from autoglm.base.errors import StoreError
    from autoglm.llm.budgets import Use
    from autoglm.spec.model import Budget
    from autoglm.tasks.account import Account, DayPurse, SharedRecords

    class Full:
        def get_entry(self, key: str, now: float) -> None:
            return None

        def put_entries(self, writes: Any, now: float) -> list[bool]:
            raise StoreError("the disk that holds the store is full", code="disk-full", hint="make room")

    records = SharedRecords(Full(), is_blocking=False)  # type: ignore[arg-type]
    account = Account(run_id="r", clock=lambda: 1.0, records=records, day=DayPurse("team", Budget(cost=1.0), records))
    with scene.refuses("a call of a run in the namespace team"):
        asyncio.run(account.reserve("a", Use(10, 0.1, 1)))
    scene.shows("budget-unreadable")


def test_a_run_that_a_budget_paused(scene: Scene) -> None:
    with scene.serving(serve(answer)) as peer:
        fields = "prompt: hello, model: m, max_tokens: 5, loop: {over: [1, 2, 3], max_parallel: 1}"
        models = {"m": {"base_url": peer.url, "model": "big"}}
        scene.run_task(fields, models=models, budget={"calls": 2, "on_exhausted": "pause"})
        scene.autoglm("explain", "r1")
    scene.shows()
