from __future__ import annotations

import textwrap
import time
from typing import Any

import pytest

from autoglm.base.diagnostics import Diagnostic, Severity
from autoglm.spec.catalog import Catalog, FunctionInfo, OptionInfo, TaskTypeInfo
from autoglm.spec.document import read_document
from autoglm.spec.model import InputSpec, ModelSpec, Task, Workflow
from autoglm.spec.parse import parse_workflow
from autoglm.spec.validate import validate

TEXT = {"type": "string"}
CATALOG = Catalog(
    task_types={
        "function": TaskTypeInfo(
            "function", {"handler": OptionInfo("handler", TEXT)}, ("handler",), executors=("inline", "thread")
        ),
        "script": TaskTypeInfo("script", {"script": OptionInfo("script", TEXT, required=True)}, ("script",)),
        "llm_generate": TaskTypeInfo(
            "llm_generate",
            {
                "model": OptionInfo("model", TEXT),
                "prompt": OptionInfo("prompt", TEXT),
                "temperature": OptionInfo("temperature", {"type": "number", "minimum": 0, "maximum": 2}),
                "mode": OptionInfo("mode", {"type": "string", "enum": ["fast", "slow"]}, templated=False),
            },
            ("prompt",),
        ),
    },
    functions={
        "f": FunctionInfo("f", "tasks/f.py:1", accepts_any=True),
        "clean": FunctionInfo("clean", "tasks/clean.py:3", ("text", "limit"), ("text",)),
        "pair": FunctionInfo("pair", "tasks/pair.py:1", ("left", "right"), ("left", "right")),
        "with_context": FunctionInfo("with_context", "tasks/c.py:1", ("ctx", "text"), ("text",)),
        "done": FunctionInfo("done", "tasks/done.py:1"),
    },
    models={"AutoGLM-Chat": ModelSpec()},
    files=frozenset({"scripts/fetch.py", "data/rows.csv"}),
    config={"region": {"name": "eu"}},
    env=frozenset({"HOME"}),
)


def check(text: str) -> list[Diagnostic]:
    document = read_document(textwrap.dedent(text).lstrip(), "w.yaml")
    workflow, diagnostics = parse_workflow(document, CATALOG)
    assert workflow is not None
    assert not [d for d in diagnostics if d.is_error], diagnostics
    return validate(workflow, CATALOG, document)


def only(text: str) -> Diagnostic:
    found = check(text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def pointed(diagnostic: Diagnostic) -> str:
    place = diagnostic.place
    assert place is not None
    assert diagnostic.excerpt is not None
    assert place.line == place.end_line
    return diagnostic.excerpt[place.column - 1 : place.end_column - 1]


def test_a_right_file_has_nothing_to_say() -> None:
    assert (
        check(
            """
            inputs: {topic: {type: string}, size: {type: object, schema: {properties: {w: {type: integer}}}}}
            vars: {tone: {en: dry}}
            pools: {p: {limit: 2}}
            models: {mine: {provider: openai, api_key: "{{ secrets.K }}"}}
            tasks:
              - {name: fetch, script: scripts/fetch.py, pool: p}
              - {name: clean, depends_on: fetch, type: function, handler: clean}
              - name: ask
                depends_on: clean
                model: mine
                prompt: "{{ topic }} {{ inputs.size.w }} {{ vars.tone.en }} {{ result }} {{ config.region.name }}"
                with: {home: "{{ env.HOME }}"}
                temperature: 0.5
                output_schema:
                  type: object
                  properties: {title: {type: string}, tags: {type: array, items: {type: string}}}
              - decision_node: route
                depends_on: ask
                conditions: [{rule: "title == 'x'", action: yes-way}]
                default: no-way
              - {name: yes-way, prompt: "{{ tasks.ask.result.tags[0] }} {{ tasks.ask.result.nope | default('') }}"}
              - {name: no-way, prompt: "{{ tasks.ask.result.title.upper() }}"}
              - {name: end, depends_on: [yes-way, no-way], type: function, handler: done}
              - name: each
                loop: {over: "{{ tasks.ask.result.tags }}", as: tag}
                tasks:
                  - {name: one, prompt: "{{ tag }} {{ index }} {{ tasks.clean.result }}"}
                  - {name: two, depends_on: one, prompt: "{{ result }}"}
            outputs: {x: "{{ tasks.end.result }}", y: "{{ tasks.yes_way.result }}"}
            """
        )
        == []
    )


# --------------------------------------------------------------------------------------------------------- upstreams


def test_unknown_upstream() -> None:
    found = only(
        """
        tasks:
          - {name: summarize, script: scripts/fetch.py}
          - name: report
            script: scripts/fetch.py
            depends_on: [sumarize]
        """
    )
    assert str(found) == "w.yaml:5:18: error[unknown-task]: `report` depends on `sumarize`, which does not exist"
    assert found.hint == "did you mean `summarize` (line 2)?"
    assert pointed(found) == "sumarize"


def test_unknown_task_in_a_template() -> None:
    found = only(
        """
        tasks:
          - {name: a-b, script: scripts/fetch.py}
          - {name: c, prompt: "x {{ tasks.a_c.result }} {{ tasks.a_b.result }}"}
        """
    )
    assert found.code == "unknown-task"
    assert pointed(found) == "a_c"
    assert "a-b" in (found.hint or "")


def test_a_group_is_a_scope() -> None:
    found = only(
        """
        tasks:
          - {name: out, script: scripts/fetch.py}
          - name: g
            tasks:
              - {name: inner, script: scripts/fetch.py, depends_on: out}
        """
    )
    assert "does not exist in the group `g`" in found.message
    assert "outside of this group" in (found.hint or "")


@pytest.mark.parametrize(
    ("tasks", "cycle"),
    [
        ("- {name: a, depends_on: b, handler: f}\n- {name: b, depends_on: a, handler: f}", "a → b → a"),
        (
            """\
            - {name: a, handler: f, with: {x: '{{ tasks.c.result }}'}}
            - {name: b, handler: f, depends_on: a}
            - {name: c, handler: f, depends_on: b}
            - {name: below, handler: f, depends_on: c}
            """,
            "a → b → c → a",
        ),
    ],
)
def test_cycles_are_printed(tasks: str, cycle: str) -> None:
    found = only("tasks:\n" + textwrap.indent(textwrap.dedent(tasks), "  "))
    assert found.code == "cycle"
    assert cycle in found.message


def test_each_knot_is_one_cycle() -> None:
    tasks = "\n".join(f"  - {{name: t{i}, handler: f, depends_on: [t{i ^ 1}, t{max(0, i - 2)}]}}" for i in range(2, 8))
    found = check(f"tasks:\n  - {{name: t0, handler: f}}\n  - {{name: t1, handler: f}}\n{tasks}\n")
    assert [d.code for d in found] == ["cycle"] * 3
    assert "t2 → t3 → t2" in found[0].message


def test_a_task_cannot_wait_for_itself() -> None:
    assert only("tasks: [{name: a, handler: f, depends_on: a}]").code == "self-dependency"
    assert only("tasks: [{name: a, handler: f, with: {x: '{{ tasks.a.result }}'}}]").code == "self-dependency"
    assert check("tasks: [{name: a, handler: f, result: '{{ output.x }}'}]") == []


def test_decisions_lead_somewhere() -> None:
    found = only("tasks: [{decision_node: d, conditions: [{rule: 'env.HOME == 1', action: gone}], default: done}]")
    assert found.code == "unknown-task"
    assert "leads to `gone`" in found.message
    assert pointed(found) == "gone"


# --------------------------------------------------------------------------------------------- conditions, reaching


@pytest.mark.parametrize(("when", "says"), [("1 > 2", "always false"), ("true", "always true"), ("'x'", "always true")])
def test_constant_conditions(when: str, says: str) -> None:
    found = only(f'tasks: [{{name: a, handler: f, when: "{when}"}}]')
    assert found.code == "constant-condition"
    assert found.severity is Severity.WARNING
    assert says in found.message


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ("- {name: b, handler: f, depends_on: off}", "`off` never runs"),
        ("- {name: b, handler: f, depends_on: [off, on], join: all_succeeded}", "`off` never runs"),
        ("- {name: b, handler: f, depends_on: {off: [succeeded, failed], on: [succeeded]}}", "`off` never runs"),
        ("- {name: b, handler: f, depends_on: {on: [failed], after: [succeeded]}}", "`on` would have to end both"),
        ("- {name: b, handler: f, depends_on: off, with: {x: '{{ tasks.on.result }}'}}", "`off` never runs"),
    ],
)
def test_unreachable_tasks(tasks: str, reason: str) -> None:
    found = check(
        "tasks:\n  - {name: off, handler: f, when: 'false'}\n  - {name: on, handler: f}\n"
        "  - {name: after, handler: f, depends_on: on}\n  " + tasks
    )
    assert [d.code for d in found] == ["constant-condition", "unreachable-task"]
    assert reason in found[1].message
    assert not found[1].is_error


@pytest.mark.parametrize(
    "task",
    [
        "{name: b, handler: f, depends_on: [off, on]}",
        "{name: b, handler: f, depends_on: on, with: {x: '{{ tasks.off.result }}'}}",
        "{name: b, handler: f, depends_on: off, join: all_done}",
        "{name: b, handler: f, depends_on: {off: [skipped]}}",
        "{name: b, handler: f, depends_on: {on: [failed]}}",
        "{name: b, handler: f, depends_on: {on: [failed, succeeded], after: [succeeded]}}",
    ],
)
def test_reachable_tasks(task: str) -> None:
    found = check(
        "tasks:\n  - {name: off, handler: f, when: 'false'}\n  - {name: on, handler: f}\n"
        "  - {name: after, handler: f, depends_on: on}\n  - " + task
    )
    assert [d.code for d in found] == ["constant-condition"]


def test_two_branches_of_one_decision_exclude_each_other() -> None:
    text = """
        inputs: {n: {type: integer}}
        tasks:
          - {decision_node: d, conditions: [{rule: "n > 1", action: a}], default: b}
          - {name: a, handler: f}
          - {name: b, handler: f}
          - {name: c, handler: f, depends_on: [a, b]%s}
        """
    assert check(text % "") == []
    found = only(text % ", join: all_succeeded")
    assert found.code == "unreachable-task"
    assert "`d` would have to choose both `a` and `b`" in found.message


def test_until_and_previous() -> None:
    found = check(
        "tasks: [{name: a, handler: f, loop: {until: 'true', max_iterations: 3}, with: {x: '{{ previous }}'}}]"
    )
    assert [d.code for d in found] == ["constant-condition"]
    assert only("tasks: [{name: a, handler: f, with: {x: '{{ previous }}'}}]").code == "previous-outside-until"


# ------------------------------------------------------------------------------------------------- names and fields


def ask(prompt: str, more: str = "") -> str:
    return f"""
inputs: {{topic: {{type: string}}, size: {{type: object, schema: {{properties: {{w: {{type: integer}}}}}}}}}}
vars: {{tone: {{en: dry, list: [1]}}}}
tasks:
  - name: up
    prompt: "{{{{ topic }}}} {{{{ size }}}}"
    output_schema:
      type: object
      properties:
        title: {{type: string}}
        rows: {{type: array, items: {{type: object, properties: {{id: {{type: integer}}}}}}}}
  - {{name: wide, handler: f}}
  - {{name: ask, depends_on: up, prompt: "{prompt}"{more}}}
"""


@pytest.mark.parametrize(
    ("prompt", "code", "word", "hint"),
    [
        ("{{ topik }}", "unknown-name", "topik", "did you mean `topic`?"),
        ("{{ titel }}", "unknown-name", "titel", "did you mean `title`?"),
        ("{{ zzz }}", "unknown-name", "zzz", "in scope: config, env, inputs,"),
        ("{{ wide }}", "unknown-name", "wide", "write `tasks.wide.result`"),
        ("{{ item }}", "unknown-name", "item", "no loop"),
        ("{{ inputs.topik }}", "unknown-name", "topik", "did you mean `topic`?"),
        ("{{ vars.tone.fr }}", "unknown-field", "fr", "it has: en, list"),
        ("{{ tone.fr }}", "unknown-field", "fr", "it has: en, list"),
        ("{{ config.region.nam }}", "unknown-field", "nam", "did you mean `name`?"),
        ("{{ env.SHELL }}", "unknown-name", "SHELL", "templates may read: HOME"),
        ("{{ inputs.size.h }}", "unknown-field", "h", "its schema has: w"),
        ("{{ tasks.up.result.titel }}", "unknown-field", "titel", "did you mean `title`?"),
        ("{{ tasks.up.result.rows.id }}", "unknown-field", "id", None),
        ("{{ tasks.up.result.rows[0].idd }}", "unknown-field", "idd", "did you mean `id`?"),
        ("{{ tasks.up.result.title.x }}", "unknown-field", "x", None),
        ("{{ result.titel }}", "unknown-field", "titel", "did you mean `title`?"),
        ("{{ rows[0].nope }}", "unknown-field", "nope", "its schema has: id"),
        ("{{ tasks.up.reslt }}", "unknown-field", "reslt", "did you mean `result`?"),
        ("{{ tasks.up.title }}", "unknown-field", "title", "write `tasks.up.result.title`"),
        ("{{ tasks.up.error.kind }}", "unknown-field", "kind", None),
        ("{{ tasks[topic].result }}", "dynamic-task-reference", "tasks", "write `tasks.NAME`"),
        ("{{ topic + }}", "template-syntax", "}", None),
        ("{{ topic | uper }}", "template-syntax", None, "did you mean `upper`?"),
    ],
)
def test_names_and_fields(prompt: str, code: str, word: str | None, hint: str | None) -> None:
    found = only(ask(prompt))
    assert found.code == code
    if word is not None:
        assert pointed(found) == word
    if hint is not None:
        assert hint in (found.hint or "")


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ tasks.up.result.rows[0].id }}",
        "{{ title }} {{ rows[0].id }}",
        "{{ tasks.up.result.nope | default('') }}",
        "{{ zzz is defined }}",
        "{{ tasks.wide.result.anything.at.all }}",
        "{{ tasks.up.result.title.upper() }}",
        "{{ vars.tone.list[0] }}",
        "{% for r in rows %}{{ r.whatever }}{{ loop.index }}{% endfor %}",
        "{{ secrets.ANY }} {{ run.id }} {{ tasks.up.error.code }}",
    ],
)
def test_what_is_fine(prompt: str) -> None:
    assert [d for d in check(ask(prompt)) if d.code != "unused-input"] == []


def test_several_upstreams() -> None:
    for source, code in (("{{ result }}", "ambiguous-result"), ("{{ title }}", "unknown-name")):
        found = only(ask(source, ", with: {x: '{{ tasks.wide.result }}'}"))
        assert found.code == code
        assert "tasks.up.result" in (found.hint or "")


def test_result_without_an_upstream() -> None:
    assert only("tasks: [{name: a, prompt: '{{ result }}'}]").code == "unknown-name"
    assert check("tasks: [{name: a, prompt: hi, result: '{{ result.x }}'}]") == []


def test_the_result_of_a_loop_is_a_list() -> None:
    text = """
        tasks:
          - {name: a, prompt: hi, loop: [1, 2], output_schema: {type: object, properties: {t: {type: string}}}}
          - {name: b, prompt: "{{ tasks.a.result%s }}"}
        """
    assert only(text % ".t").code == "unknown-field"
    assert only(text % "[0].u").code == "unknown-field"
    assert check(text % "[0].t") == []


def test_outputs_are_checked_too() -> None:
    found = check("tasks: [{name: a, prompt: hi}]\noutputs: {x: '{{ tasks.b.result }}', y: '{{ c }}', z: '{{ d + }}'}")
    assert [d.code for d in found] == ["unknown-task", "unknown-name", "template-syntax"]


def test_unused_inputs() -> None:
    found = only("inputs: {a: {type: string}, b: {type: string}}\ntasks: [{name: t, prompt: '{{ a }}'}]")
    assert (found.code, found.severity, pointed(found)) == ("unused-input", Severity.WARNING, "b")
    used_by_function = "inputs: {text: {type: string}}\ntasks: [{name: t, handler: clean}]"
    assert check(used_by_function) == []
    assert check("inputs: {a: {type: string}}\ntasks: [{name: t, prompt: '{{ inputs | tojson }}'}]") == []


# ---------------------------------------------------------------------------------------------- types and handlers


@pytest.mark.parametrize(
    ("task", "code", "word", "hint"),
    [
        ("{name: a, type: llm_generat, prompt: x}", "unknown-type", "llm_generat", "did you mean `llm_generate`?"),
        ("{name: a, handler: claen, with: {text: x}}", "unknown-function", "claen", "did you mean `clean`?"),
        ("{name: a, handler: zzz}", "unknown-function", "zzz", "define `def zzz(…)`"),
        ("{name: a, handler: clean, with: {text: x, limt: 3}}", "unknown-parameter", "limt", "did you mean `limit`?"),
        ("{name: a, handler: clean}", "missing-parameter", None, "write `with: {text: …}`"),
        ("{name: a, handler: f, executor: thred}", "unknown-executor", "thred", "did you mean `thread`?"),
        ("{name: a, handler: f, executor: subprocess}", "wrong-executor", "subprocess", "it runs in: inline, thread"),
        ("{name: a, handler: f, pool: gpu}", "unknown-pool", "gpu", "declare it under `pools`"),
        ("{name: a, prompt: x, model: AutoGLM-Chatt}", "unknown-model", "AutoGLM-Chatt", "`AutoGLM-Chat`"),
        ("{name: a, prompt: x, temperature: hot}", "invalid-option", "hot", None),
        ("{name: a, prompt: x, temperature: 3}", "invalid-option", "3", None),
        ("{name: a, prompt: x, mode: fats}", "invalid-option", "fats", None),
        ("{name: a, prompt: x, mode: '{{ env.HOME }}'}", "template-not-allowed", None, "write the value itself"),
        (
            "{name: a, script: scripts/fecth.py}",
            "missing-script",
            "scripts/fecth.py",
            "did you mean `scripts/fetch.py`?",
        ),
        ("{name: a, handler: f, loop: {file: data/row.csv}}", "missing-file", "data/row.csv", "data/rows.csv"),
        ("{name: a, prompt: x, output_schema: {type: strin}}", "invalid-schema", "strin", None),
        ("{name: a, retry: {max_attempts: 2}, tasks: [{name: b, handler: f}]}", "retry-on-group", None, "`retry`"),
    ],
)
def test_types_and_handlers(task: str, code: str, word: str | None, hint: str | None) -> None:
    found = only(f"tasks: [{task}]")
    assert found.code == code
    if word is not None:
        assert pointed(found) == word
    if hint is not None:
        assert hint in (found.hint or "")


@pytest.mark.parametrize(
    "task",
    [
        "{name: a, prompt: x, model: openai/gpt-5}",
        "{name: a, prompt: x, model: '{{ env.HOME }}', temperature: '{{ env.HOME }}'}",
        "{name: a, prompt: x, temperature: 1, mode: fast}",
        "{name: a, handler: 'package.module:function'}",
        "{name: a, handler: with_context, with: {text: x, extra: 1}}",
        "{name: a, script: ls}",
        "{name: a, script: ./scripts/fetch.py}",
        "{name: a, script: '{{ env.HOME }}/x.py'}",
        "{name: a, handler: f, loop: {file: data/rows.csv#path}}",
        "{name: a, handler: clean, loop: [1], with: {text: '{{ item }}'}}",
    ],
)
def test_what_the_catalog_allows(task: str) -> None:
    assert check(f"tasks: [{task}]") == []


def test_parameters_filled_by_upstreams() -> None:
    up = "tasks:\n  - {name: left, handler: f}\n  - {name: other, handler: f}\n  - "
    assert check(up + "{name: a, handler: clean, depends_on: other}") == []
    assert check(up + "{name: a, handler: pair, depends_on: [left, other]}") == []
    assert only(up + "{name: a, handler: pair}".replace("pair}", "clean}")).code == "missing-parameter"
    closed = "tasks:\n  - {name: up, prompt: x, output_schema: {type: object, properties: {left: {}}}}\n  - "
    assert check(closed + "{name: a, handler: pair, depends_on: up}") == []
    closed = closed.replace("left", "no")
    assert [d.code for d in check(closed + "{name: a, handler: pair, depends_on: up}")] == ["missing-parameter"] * 2


def test_a_literal_key_is_refused() -> None:
    workflow = Workflow(
        name="w",
        models={"mine": ModelSpec(api_key="sk-123"), "ok": ModelSpec(api_key="{{ secrets.K }}")},
        tasks=(Task(name="a", type="llm_generate", options={"prompt": "x"}),),
    )
    found = validate(workflow, CATALOG)
    assert [d.code for d in found] == ["literal-secret"]
    assert found[0].place is None


def test_everything_at_once_and_sorted() -> None:
    found = check(
        """
        tasks:
          - {name: a, handler: nope, depends_on: b}
          - {name: c, prompt: "{{ x }}", executor: moon}
          - {name: d, type: odd}
        """
    )
    assert [d.code for d in found] == [
        "unknown-function",
        "unknown-task",
        "unknown-name",
        "unknown-executor",
        "unknown-type",
    ]
    assert all(d.place and d.hint for d in found)


def test_a_workflow_that_no_file_gave() -> None:
    workflow = Workflow(
        name="w",
        inputs={"x": InputSpec()},
        tasks=(Task(name="a", type="function", options={"handler": "clean"}, arguments={"text": "{{ y }}"}),),
    )
    assert {d.code for d in validate(workflow, CATALOG)} == {"unknown-name", "unused-input"}


def big(count: int) -> Workflow:
    tasks: list[Task] = []
    for i in range(count):
        before = f"t{max(0, i - 1)}"
        options: dict[str, Any] = (
            {"handler": "clean"} if i % 2 else {"prompt": f"About {{{{ tasks.{before}.result }}}}"}
        )
        tasks.append(
            Task(
                name=f"t{i}",
                type="function" if i % 2 else "llm_generate",
                options=options if i else {"prompt": "hi"},
                arguments={"text": f"{{{{ tasks.{before}.result.title }}}}"} if i % 2 else {},
                depends_on={before: None} if i else {},
                output_schema=None if i % 2 else {"type": "object", "properties": {"title": TEXT}},
            )
        )
    return Workflow(name="big", tasks=tuple(tasks))


def test_ten_thousand_tasks() -> None:
    workflow = big(10_000)
    began = time.perf_counter()
    assert validate(workflow, CATALOG) == []
    assert time.perf_counter() - began < 6  # 0.5 s on an idle core
