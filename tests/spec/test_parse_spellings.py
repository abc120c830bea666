from __future__ import annotations

import json
from typing import Any

import pytest

from autoglm.base.errors import SpecError
from autoglm.spec.document import Document, read_document
from autoglm.spec.model import CacheSpec, Degrade, Join, OnError, Outcome, Retry, Task, Workflow
from autoglm.spec.parse import field_path, field_place, parse_workflow
from tests.spec.catalogs import CATALOG


def parse(text: str, file: str = "flow.yaml", **files: str) -> Workflow:
    document = read_document(text, file)
    workflow, diagnostics = parse_workflow(document, CATALOG, read_file=lambda name: files[name.replace(".", "_")])
    assert not diagnostics
    assert workflow is not None
    # What the parser builds by hand must be what pydantic would have made of it.
    assert Workflow.model_validate(workflow.model_dump(by_alias=False)).model_dump() == workflow.model_dump()
    return workflow


def only(text: str) -> Task:
    (task,) = parse(f"tasks:\n- name: t\n  {text}").tasks
    return task


LIST = """
version: 1.0
name: flow
tasks:
  - name: fetch
    handler: fetch
    url: https://example.org
  - name: clean
    depends_on: [fetch]
    with: {text: "{{ tasks.fetch.output }}", limit: 3}
    retries: 2
  - name: route
    depends_on: clean
    type: decision
    conditions: [{rule: result > 3, action: report}]
    default: fetch
  - {name: report, needs: [route], script: scripts/report.py, args: [-v]}
"""
MAPPING = """
name: flow
tasks:
  fetch: {url: "https://example.org"}
  clean: {depends_on: {fetch: }, handler: clean, text: "{{ tasks.fetch.output }}", limit: 3, retry: {max_attempts: 3}}
  route: {needs: clean, decision_node: route, conditions: [{rule: result > 3, action: report}], default: fetch}
  report: {type: script, depends_on: route, with: {script: scripts/report.py, args: [-v]}}
"""
GRAPH = {
    "task_graph": {
        "fetch": {"action": "fetch", "with": {"url": "https://example.org"}},
        "clean": {"depends_on": ["fetch"], "clean": {"text": "{{ tasks.fetch.output }}", "limit": 3}, "retries": 2},
        "route": {
            "depends_on": ["clean"],
            "conditions": [{"rule": "result > 3", "action": "report"}],
            "default": "fetch",
        },
        "report": {"depends_on": ["route"], "script": {"x": 1}, "args": ["-v"]},
    }
}
GRAPH["task_graph"]["report"]["script"] = "scripts/report.py"
PLAYBOOK = """
- name: fetch
  fetch: {url: "https://example.org"}
- name: clean
  clean:
    text: "{{ tasks.fetch.output }}"
    limit: 3
  retries: 2
- decision_node: route
  conditions: [{rule: result > 3, action: report}]
  default: fetch
- name: report
  script: scripts/report.py
  args: [-v]
"""


def test_every_spelling_gives_the_same_workflow() -> None:
    first = parse(LIST).model_dump()
    assert [task["name"] for task in first["tasks"]] == ["fetch", "clean", "route", "report"]
    assert first["tasks"][0]["options"] == {"handler": "fetch"}
    assert first["tasks"][0]["arguments"] == {"url": "https://example.org"}
    assert parse(MAPPING).model_dump() == first
    assert parse(json.dumps(GRAPH), "jobs/flow.json").model_dump() == first
    assert parse(json.dumps(GRAPH), "flow.yaml").model_dump() == first
    assert parse(PLAYBOOK).model_dump() == first


def test_what_follows_branches_in_a_playbook_follows_them_all() -> None:
    decide = (
        "- {decision_node: route, conditions: [{rule: x > 1, action: one}, {rule: x > 0, action: clean}], default: "
    )
    rest = "\n".join(f"- {{name: {name}, script: s.sh}}" for name in ("one", "more", "two", "end", "last"))
    workflow = parse(f"- {{name: zero, script: s.sh}}\n{decide}two}}\n{rest}")
    assert {task.name: list(task.depends_on) for task in workflow.tasks} == {
        "zero": [],
        "route": ["zero"],
        "one": ["route"],
        "more": ["one"],
        "two": ["route"],
        "end": ["more", "two", "clean"],  # a function that the decision calls
        "last": ["end"],
    }


def test_every_spelling_tells_where_a_field_stands() -> None:
    for text, file in (
        (LIST, "l.yaml"),
        (MAPPING, "m.yaml"),
        (json.dumps(GRAPH, indent=1), "g.json"),
        (PLAYBOOK, "p.yaml"),
    ):
        document = read_document(text, file)
        workflow, _ = parse_workflow(document, CATALOG)
        assert workflow is not None
        fetch, clean, route, report = workflow.tasks

        def at(task: Task, *path: str | int, document: Document = document) -> str:
            place = field_place(document, task, *path)
            return document.excerpt(place.line)[place.column - 1 :].strip(' "')

        assert at(fetch, "arguments", "url").startswith("https:")
        assert at(fetch, "name").startswith("fetch")
        assert at(fetch).startswith("fetch")
        assert at(clean, "arguments", "limit").startswith("3")
        assert at(report, "options", "script").startswith("scripts/report.py")
        assert at(report, "options", "args", 0).startswith("-v")
        assert at(route, "options", "conditions", 0, "action").startswith("report")
        assert at(route, "name").startswith("route")
        if file != "p.yaml":
            assert at(clean, "depends_on", "fetch").startswith(("fetch", "}"))
            assert at(report, "depends_on", "route").startswith("route")


def test_a_decision_alone_is_a_workflow() -> None:
    text = '{"decision_node": "route", "conditions": [{"rule": "x > 1", "action": "clean"}]}'
    workflow = parse(text, "a/pick.json")
    assert workflow.name == "pick"
    assert workflow.tasks[0].type == "decision"
    assert workflow.tasks[0].options == {"conditions": [{"rule": "x > 1", "action": "clean"}]}
    assert field_path(workflow.tasks[0], "name") == ("decision_node",)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("script: a.py", "script"),
        ("handler: fetch", "function"),
        ("action: fetch", "function"),
        ("prompt: hi", "llm_generate"),
        ("prompt_template: hi", "llm_generate"),
        ("workflow: ./other.yaml", "workflow"),
        ("url: https://example.org", "http"),
        ("image: busybox", "container"),
        ("conditions: [{rule: a, action: b}]", "decision"),
        ("tasks: [{name: a, script: b}]", "group"),
        ("llm_generate: {prompt: hi, model: m}", "llm_generate"),
        ("user: {name: a, state: b}", "function"),
        ("type: approval\n  message: ok?", "approval"),
        ("description: nothing else", "function"),
    ],
)
def test_types_follow_from_keys(text: str, kind: str) -> None:
    task = only(text)
    assert task.type == kind
    if "llm_generate:" in text:
        assert task.options == {"prompt": "hi", "model": "m"}
    if kind == "approval":
        assert task.options == {"message": "ok?"}


def test_a_function_that_takes_the_key_wins_over_the_key_s_type() -> None:
    (task,) = parse("tasks: {fetch: {url: x}}").tasks
    assert (task.type, task.options, task.arguments) == ("function", {"handler": "fetch"}, {"url": "x"})


def test_shared_fields() -> None:
    task = only(
        """script: a.py
  when: x > 1
  join: all_done
  depends_on: {a: [succeeded, skipped], b: failed, c: }
  retry: {max_attempts: 4, delay: 500ms, max_delay: 1m, jitter: none, on: timeout, max_elapsed: PT10M}
  timeout: 1h30m
  on_error: {degrade: [1]}
  priority: 3
  pool: db
  env: {A: 1, B: true, C: x}
  labels: {v: 1.5}
  resources: {memory: 2GiB, cpu: 0.5}
  cache: {ttl: 1h}
  result: "{{ output.x }}"
  output_schema: {type: object}
  rollback: {handler: fetch, url: x}"""
    )
    assert task.when == "x > 1"
    assert task.join is Join.ALL_DONE
    assert task.depends_on == {"a": (Outcome.SUCCEEDED, Outcome.SKIPPED), "b": (Outcome.FAILED,), "c": None}
    assert task.retry == Retry(
        max_attempts=4, delay=0.5, max_delay=60.0, jitter="none", on=("timeout",), max_elapsed=600.0
    )
    assert task.timeout == 5400
    assert task.on_error == Degrade(degrade=[1])
    assert task.pool == ("db",)
    assert task.env == {"A": "1", "B": "true", "C": "x"}
    assert task.labels == {"v": "1.5"}
    assert task.resources == {"memory": 2 * 1024**3, "cpu": 0.5}
    assert task.cache == CacheSpec(ttl=3600.0)
    assert task.rollback is not None
    assert task.rollback.options == {"handler": "fetch"}
    assert task.rollback.arguments == {"url": "x"}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("[a, b]", {"over": ["a", "b"]}),
        ('"{{ users }}"', {"over": "{{ users }}"}),
        (
            "{over: [1], as: user, max_parallel: 4, fail_fast: true, min_success: 95%, collect: result.x}",
            {
                "over": [1],
                "as_": "user",
                "max_parallel": 4,
                "fail_fast": True,
                "min_success": 0.95,
                "collect": "result.x",
            },
        ),
        ("{file: rows.csv}", {"file": "rows.csv"}),
        ("{matrix: {a: [1], b: '{{ x }}'}}", {"matrix": {"a": [1], "b": "{{ x }}"}}),
        ("{until: result.done, max_iterations: 5}", {"until": "result.done", "max_iterations": 5}),
    ],
)
def test_loops(text: str, fields: dict[str, Any]) -> None:
    loop = only(f"loop: {text}").loop
    assert loop is not None
    assert {name: getattr(loop, name) for name in fields} == fields


def test_defaults_lie_below_each_task() -> None:
    workflow = parse(
        """
defaults: {retry: {delay: 2s, max_attempts: 5}, timeout: 10s, executor: thread, env: {A: a, B: b}, on_error: continue}
tasks:
  - {name: plain, handler: fetch}
  - {name: own, handler: fetch, retries: 0, timeout: 1s, env: {B: c}, on_error: fail}
  - {name: none, script: x.py, retry: null, timeout: null}
  - {name: group, tasks: {inner: {handler: fetch}}}
"""
    )
    plain, own, none, group = workflow.tasks
    assert plain.retry == Retry(max_attempts=5, delay=2.0)
    assert (plain.timeout, plain.executor, plain.on_error) == (10.0, "thread", OnError.CONTINUE)
    assert plain.env == {"A": "a", "B": "b"}
    assert own.retry == Retry(max_attempts=1, delay=2.0)
    assert (own.timeout, own.on_error, own.env) == (1.0, OnError.FAIL, {"A": "a", "B": "c"})
    assert (none.retry, none.timeout, none.executor) == (None, None, None)
    assert (group.retry, group.timeout) == (None, None)
    assert group.tasks[0].timeout == 10.0
    assert field_path(plain, "retry", "delay") == ("defaults", "retry", "delay")
    assert field_path(plain, "env", "A") == ("defaults", "env", "A")
    assert field_path(own, "env", "B") == ("tasks", 1, "env", "B")
    assert field_path(own, "retry", "max_attempts") == ("tasks", 1, "retries")


def test_header() -> None:
    workflow = parse(
        """
x-common: &env {A: "1"}
inputs:
  topic: string
  count: {type: integer, default: 3, minimum: 1}
  key: {type: string, secret: true, enum: [a, b]}
  maybe: {default: null}
  tags: {type: [array, "null"], items: {type: string}}
vars: {files: [one.yaml, two.json], x: inline}
models: {small: openai/gpt-x, big: {base_url: "http://x/v1", api_key: "{{ secrets.K }}", parameters: {top_p: 1}}}
pools: {db: 4, net: {limit: 2}}
max_parallel: 8
schedule: priority
durability: process
budget: {calls: 3}
outputs: {all: "{{ tasks.a.result }}"}
tasks: {a: {handler: fetch, env: *env}, b: {handler: fetch, env: {<<: *env, B: 2}}}
""",
        one_yaml="x: 1\ny: 2\n",
        two_json='{"y": 3}',
    )
    assert {name: spec.required for name, spec in workflow.inputs.items()} == {
        "topic": True,
        "count": False,
        "key": True,
        "maybe": False,
        "tags": True,
    }
    assert workflow.inputs["count"].json_schema == {"minimum": 1}
    assert workflow.inputs["key"].enum == ("a", "b")
    assert workflow.inputs["tags"].type == ("array", "null")
    assert workflow.vars == {"x": "inline", "y": 3}
    assert workflow.models["small"].model == "openai/gpt-x"
    assert workflow.models["big"].parameters == {"top_p": 1}
    assert workflow.pools["db"].limit == 4
    assert workflow.tasks[1].env == {"A": "1", "B": "2"}
    assert (workflow.max_parallel, workflow.schedule, workflow.durability) == (8, "priority", "process")


def test_vars_as_a_list_of_files_and_mappings() -> None:
    workflow = parse("vars: [{x: 1, y: 1}, a.yaml, {x: 3}]\ntasks: {fetch: {url: x}}", a_yaml="{x: 2, z: 2}")
    assert workflow.vars == {"x": 3, "y": 1, "z": 2}


@pytest.mark.parametrize("name", ["步骤一", "हिन्दी", "a-b_c 1", "été", "1"])
def test_names_of_any_script(name: str) -> None:
    assert parse(json.dumps({"tasks": [{"name": name, "handler": "fetch"}]})).tasks[0].name == name


def test_a_document_from_data_has_places() -> None:
    document = Document.from_data({"tasks": {"a": {"script": "x", "retris": 3}}}, "<python>")
    _, diagnostics = parse_workflow(document, CATALOG)
    assert [(found.code, found.excerpt) for found in diagnostics] == [("unknown-key", '      "retris": 3')]
    with pytest.raises(SpecError, match="not-json"):
        Document.from_data({"tasks": object()}, "<python>")


def test_groups_nest_as_deep_as_a_file_may() -> None:
    task: dict[str, Any] = {"script": "x"}
    for _ in range(40):
        task = {"tasks": {"inner": task}}
    assert parse(json.dumps({"tasks": {"outer": task}}), "deep.json").tasks[0].type == "group"
