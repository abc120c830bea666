"""What is known of a run's model calls before anything of it begins."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.runtime.house import House

from autoglm.app.preflight import look_at
from autoglm.app.session import Session
from autoglm.base.diagnostics import Diagnostic, Severity
from autoglm.base.errors import SpecError
from autoglm.cli.entry import enter

KEYED = "http://127.0.0.1:9/v1"
FLOW = """
models:
  own: {base_url: "http://127.0.0.1:9/v1", api_key: "{{ secrets.OWN_KEY }}"}
budget: {cost: 1, on_exhausted: {degrade: deepseek/deepseek-chat}}
tasks:
  - {name: first, script: "touch began"}
  - {name: listed, prompt: hello, model: [own, openai/gpt-5]}
  - {name: split, prompt: hello, model: {split: {a: {model: qwen/q}, b: {temperature: 0}}}}
  - {name: judge, type: llm_judge, subject: x, rubric: good, model: zhipu/glm-4.7}
  - {name: pick, type: decision, llm: anthropic/c, prompt: which, branches: {a: first, b: listed}}
  - name: group
    tasks:
      - {name: inner, prompt: hello, model: own, budget: {calls: 1, on_exhausted: {degrade: openai/gpt-4}}}
  - {name: call, workflow: other.yaml}
  - {name: spare, prompt: hello, model: own, on_error: {degrade: {model: openai/spare}}}
finally:
  - {name: last, prompt: bye, model: openai/last}
"""
OTHER = "tasks:\n  - {name: deep, prompt: hello, model: openai/deep}\n"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZHIPUAI_API_KEY", "ZAI_API_KEY", "OPENAI_API_KEY", "DEEPSEEK_API_KEY", "OWN_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def looked(path: Path, inputs: dict[str, object] | None = None) -> list[Diagnostic]:
    with Session.open(path) as session:
        return look_at(session, path, session.load(path).workflow, inputs)


async def refusal(path: Path, inputs: dict[str, object] | None = None) -> list[Diagnostic]:
    with Session.open(path, store="memory") as session:
        with pytest.raises(SpecError) as caught:
            await session.run(session.load(path), inputs)
        assert session.store.list_runs(limit=1) == []
    return list(caught.value.diagnostics)


def test_every_model_that_any_task_may_come_to_needs_its_key_before_the_run_begins(house: House) -> None:
    path = house.write("flow.yaml", FLOW)
    house.write("other.yaml", OTHER)
    found = asyncio.run(refusal(path))
    named = {each.message.split("`")[1]: each for each in found}
    expected = {"own", "openai/gpt-5", "qwen/q", "zhipu/glm-4.7", "anthropic/c", "deepseek/deepseek-chat"}
    assert named.keys() == {*expected, "openai/gpt-4", "openai/deep", "openai/spare", "openai/last"}
    assert not (house.root / "began").exists()
    assert all(each.place is not None and each.hint and "--offline" in each.hint for each in found)
    assert {each.code for each in found} == {"model-key-missing", "secret-missing"}
    assert named["openai/deep"].place.file.endswith("other.yaml")  # type: ignore[union-attr]
    assert "`listed`, `split`, `group.inner` and 1 more ask it" in named["own"].message
    assert "`finally.last`" in named["openai/last"].message


def test_who_only_looks_is_warned(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    path = house.write("flow.yaml", FLOW)
    house.write("other.yaml", OTHER)
    assert {each.severity for each in looked(path)} == {Severity.WARNING}
    assert enter(["validate", str(path)]) == 0
    assert "warning[model-key-missing]" in capsys.readouterr().out
    assert enter(["plan", str(path)]) == 0
    assert "warning[model-key-missing]" in capsys.readouterr().err


def test_a_rehearsal_and_a_replay_need_no_key(house: House) -> None:
    path = house.write("flow.yaml", "tasks:\n  - {name: a, prompt: hello}\n")
    assert enter(["run", str(path), "--offline", "-q"]) == 0
    asked = {"operation": "chat"}
    house.write("tape.jsonl", json.dumps({"task": "a", "asked": asked, "answer": {}}) + "\n")
    code = enter(["run", str(path), "--cassette", str(house.root / "tape.jsonl"), "--cassette-mode", "replay", "-q"])
    assert code == 1, "it begins, and the task fails over the tape"


def test_a_test_needs_no_key(house: House) -> None:
    house.write("flow.yaml", "tasks:\n  - {name: a, prompt: hello}\n")
    text = "workflow: flow.yaml\ncases:\n  - {name: one, mocks: {a: {value: hi}}, expect: {status: succeeded}}\n"
    assert enter(["test", str(house.write("flow.test.yaml", text))]) == 0


def test_what_inputs_give_is_checked_with_their_values(house: House) -> None:
    path = house.write(
        "flow.yaml",
        """
        inputs: {labels: {type: array}, model: {type: string, default: openai/gpt-5}}
        models: {small: {base_url: http://127.0.0.1:9/v1, context_tokens: 100}}
        tasks:
          - {name: sort, type: llm_classify, model: small, text: hello, labels: "{{ inputs.labels }}"}
          - {name: ask, model: "{{ model }}", prompt: hello}
          - {name: shadowed, model: "{{ model }}", prompt: hello, with: {model: small}}
          - {name: each, model: "{{ model }}", prompt: hello, loop: {over: [small], as: model}}
          - {name: long, model: small, prompt: "{{ 'word ' * 1000 }}"}
          - {name: maybe, model: [small, ollama/big], prompt: "{{ 'word ' * 1000 }}"}
        """,
    )
    found = asyncio.run(refusal(path, {"labels": ["one"]}))
    assert [(each.code, each.place.line if each.place else 0) for each in found] == [
        ("label-set-invalid", 5),
        ("model-key-missing", 6),
        ("prompt-too-long", 9),
    ]
    assert [each.code for each in looked(path)] == ["prompt-too-long"], "nothing is known of the inputs yet"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ("prompt: hello, model: odd", "model-address-invalid"),
        ("prompt: hello, model: here, execution: batch", "batch-unsupported"),
        ("prompt: hello, model: here, images: no.png", "image-invalid"),
        ("prompt: hello, model: here, images: 'data:image/png;base64,xx'", "image-invalid"),
        ("prompt: hello, model: here, output_schema: {$ref: '#/$defs/gone'}", "output-schema-invalid"),
        ("prompt: hello, model: here, output_schema: {type: string, pattern: '['}", "output-schema-invalid"),
        ("prompt: hello, model: zhipu/glm-4.7, temperature: 3", "model-parameter-invalid"),
    ],
)
def test_what_is_wrong_in_the_file_is_an_error_to_whoever_looks(house: House, fields: str, code: str) -> None:
    house.write("no.png", "text")
    models = f"models: {{here: {{base_url: '{KEYED}'}}, odd: {{base_url: 'ftp://x/v1'}}}}\n"
    path = house.write("flow.yaml", f"{models}tasks:\n  - {{name: a, {fields}}}\n")
    found = [each for each in looked(path) if each.is_error]
    assert [each.code for each in found] == [code]
    assert found[0].place is not None
    assert found[0].place.line in (1, 2, 3)


def test_a_sound_file_has_nothing_to_say(house: House) -> None:
    schema = "{type: object, properties: {a: {$ref: '#/$defs/b'}}, $defs: {b: {type: string, pattern: '^x$'}}}"
    task = f"{{name: a, prompt: hello, model: ollama/qwen3, output_schema: {schema}}}"
    assert looked(house.write("flow.yaml", f"tasks:\n  - {task}\n")) == []


def test_a_run_that_goes_on_needs_the_keys_of_what_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = house.write(
        "flow.yaml",
        """
        models: {own: {base_url: "http://127.0.0.1:9/v1", api_key: "{{ secrets.OWN_KEY }}", limits: {patience: 0}}}
        tasks:
          - {name: done, type: llm_embed, texts: x, model: own, on_error: {degrade: [1.0]}}
          - {name: asks, prompt: hello, model: own, depends_on: done}
        """,
    )
    monkeypatch.setenv("OWN_KEY", "a-key")
    assert enter(["run", str(path), "-q", "--run-id", "r1"]) == 1
    monkeypatch.delenv("OWN_KEY")
    capsys.readouterr()
    project = ["--project", str(house.root)]
    assert enter(["retry", "r1", *project]) == 2
    said = capsys.readouterr().err
    assert "flow.yaml:2:60: error[secret-missing]" in said
    assert "`asks` asks it" in said, "what succeeded is not asked for again"
    assert enter(["retry", "r1", "--from", "done", "--yes", *project]) == 2
    assert "`done`, `asks` ask it" in capsys.readouterr().err
    assert enter(["cancel", "r1", *project]) == 2, "it has ended"
