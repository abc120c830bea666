from __future__ import annotations

import textwrap

import pytest

from autoglm.spec.catalog import Catalog, FunctionInfo, OptionInfo, TaskTypeInfo
from autoglm.spec.document import read_document
from autoglm.spec.expressions import ExpressionError
from autoglm.spec.model import Loop, Task, Workflow
from autoglm.spec.names import Kind, alias, data_dependencies, infer_inputs, task_templates
from autoglm.spec.parse import parse_workflow
from autoglm.spec.scopes import read_scopes, walk_scopes

TEXT = {"type": "string"}
CATALOG = Catalog(
    task_types={
        "function": TaskTypeInfo("function", {"handler": OptionInfo("handler", TEXT)}, ("handler",)),
        "ask": TaskTypeInfo("ask", {"prompt": OptionInfo("prompt", TEXT)}, ("prompt",)),
    },
    functions={"f": FunctionInfo("f", "tasks/f.py:1", accepts_any=True)},
)


def load(text: str) -> Workflow:
    workflow, diagnostics = parse_workflow(read_document(textwrap.dedent(text), "w.yaml"), CATALOG)
    assert workflow is not None
    assert not [d for d in diagnostics if d.is_error], diagnostics
    return workflow


def required(text: str) -> dict[str, bool]:
    return {name: spec.required for name, spec in infer_inputs(load(text)).items()}


def test_every_templated_field_is_found() -> None:
    task = Task(
        name="t",
        type="ask",
        when="a > 1",
        options={"prompt": "Say {{ b }}", "messages": [{"content": "{{ c }}"}, "plain"]},
        arguments={"x": {"y": "{{ d }}"}},
        env={"E": "{{ e }}"},
        result={"r": "{{ output.r }}"},
        on_error={"degrade": "{{ error.code }}"},
        loop=Loop(over="{{ f }}", collect="result.x"),
        rollback=Task(name="undo", type="ask", options={"prompt": "{{ output.id }}"}),
    )
    found = {path: (sorted(template.names), kind) for path, template, kind in task_templates(task)}
    assert found == {
        ("when",): (["a"], Kind.WHEN),
        ("options", "prompt"): (["b"], Kind.VALUE),
        ("options", "messages", 0, "content"): (["c"], Kind.VALUE),
        ("arguments", "x", "y"): (["d"], Kind.ARGUMENT),
        ("env", "E"): (["e"], Kind.VALUE),
        ("result", "r"): (["output"], Kind.RESULT),
        ("on_error", "degrade"): (["error"], Kind.DEGRADE),
        ("loop", "over"): (["f"], Kind.LOOP),
        ("loop", "collect"): (["result"], Kind.COLLECT),
        ("rollback", "options", "prompt"): (["output"], Kind.ROLLBACK),
    }


def test_a_template_that_cannot_be_read_raises() -> None:
    with pytest.raises(ExpressionError):
        list(task_templates(Task(name="t", type="ask", options={"prompt": "{{ a b }}"})))


def test_decision_rules_and_until_and_matrix() -> None:
    decision = Task(
        name="d",
        type="decision",
        options={"conditions": [{"rule": "priority > 8", "action": "x"}, {"rule": True, "action": "y"}]},
    )
    assert [(path, sorted(t.names)) for path, t, _ in task_templates(decision)] == [
        (("options", "conditions", 0, "rule"), ["priority"]),
        (("options", "conditions", 1, "rule"), []),
    ]
    looped = Task(name="l", type="ask", loop=Loop(until="result.done", max_iterations=3))
    assert [(path, kind) for path, _, kind in task_templates(looped)] == [(("loop", "until"), Kind.UNTIL)]
    matrix = Task(name="m", type="ask", loop=Loop(matrix={"a": "{{ xs }}", "b": [1, "{{ y }}"]}))
    assert [path for path, _, _ in task_templates(matrix)] == [("loop", "matrix", "a"), ("loop", "matrix", "b", 1)]


def test_data_dependencies_name_the_first_field() -> None:
    task = Task(
        name="t",
        type="ask",
        when="tasks.a.status == 'succeeded'",
        options={"prompt": "{{ tasks['fetch-page'].result }} {{ tasks.a.result }} {{ tasks[x].result }}"},
        arguments={"p": "{{ tasks.fetch_page.result }}"},
    )
    assert data_dependencies(task) == {
        "a": ("when",),
        "fetch_page": ("arguments", "p"),
        "fetch-page": ("options", "prompt"),
    }
    assert alias("fetch-page") == "fetch_page"


def test_a_group_depends_on_what_its_tasks_read_outside() -> None:
    inner = Task(name="b", type="ask", options={"prompt": "{{ tasks.a.result }} {{ tasks.out.result }}"})
    group = Task(name="g", type="group", tasks=(Task(name="a", type="ask"), inner))
    assert data_dependencies(group) == {"out": ("tasks", 1, "options", "prompt")}


def test_scopes_nest_lexically_and_the_nearest_task_wins() -> None:
    workflow = load(
        """
        tasks:
          - {name: a, type: function, handler: f}
          - name: g
            tasks:
              - {name: a, type: function, handler: f}
              - {name: b, type: function, handler: f, with: {x: "{{ tasks.a.result }}"}}
              - {name: c, type: function, handler: f, with: {x: "{{ tasks.out.result }}"}}
          - {name: out, type: function, handler: f}
        """
    )
    root, inner = walk_scopes(read_scopes(workflow))
    a, group, out = root.tasks
    assert inner.owner is group
    assert inner.tasks[1].upstreams.keys() == {0}
    assert inner.find("a") is inner.tasks[0]
    assert inner.find("out") is out
    assert group.upstreams.keys() == {2}
    assert group.upstreams[2].is_data
    assert a.upstreams == {}
    assert inner.visible() == ["a", "b", "c", "a", "g", "out"]


def test_aliases_and_branches_become_edges() -> None:
    workflow = load(
        """
        tasks:
          - {name: fetch-page, type: function, handler: f}
          - {name: use, type: function, handler: f, with: {x: "{{ tasks.fetch_page.result }}"}}
          - {decision_node: route, depends_on: use, conditions: [{rule: "score > 1", action: high}], default: low}
          - {name: high, type: function, handler: f}
          - {name: low, type: function, handler: f}
        """
    )
    scope = read_scopes(workflow)
    assert scope.tasks[1].upstreams.keys() == {0}
    assert scope.tasks[3].upstreams[2].is_branch
    assert scope.tasks[4].upstreams[2].is_branch


# ---------------------------------------------------------------------------------------------------- inferred inputs


def test_free_names_are_the_required_inputs() -> None:
    assert required(
        """
        vars: {tone: dry}
        tasks:
          - {name: a, prompt: "Write about {{ topic }} in a {{ tone }} tone for {{ inputs.reader.name }}"}
          - {name: b, depends_on: a, prompt: "{{ result }} {{ tasks.a.status }} {{ secrets.K }} {{ run.id }}"}
        outputs: {x: "{{ tasks.b.result }} {{ footer }}"}
        """
    ) == {"topic": True, "footer": True, "reader": True}


def test_a_name_that_may_be_a_field_of_the_single_upstream_is_not_required() -> None:
    text = """
        tasks:
          - {name: a, type: function, handler: f}
          - {decision_node: d, depends_on: a, conditions: [{rule: "priority > 8", action: b}]}
          - {name: b, type: function, handler: f%s}
          %s
        """
    assert required(text % ("", "")) == {"priority": False}
    assert required(text % (', with: {p: "{{ priority }}"}', "")) == {"priority": False}
    assert required(text % ("", '- {name: c, prompt: "{{ priority }}"}')) == {"priority": True}


def test_a_field_that_the_upstream_declares_is_no_input() -> None:
    text = """
        tasks:
          - name: a
            prompt: hello
            output_schema: {type: object, properties: {title: {type: string}}}
          - {name: b, depends_on: a, prompt: "{{ title }} {{ other }}"}
        """
    assert required(text) == {"other": True}


def test_several_upstreams_give_no_names() -> None:
    text = """
        tasks:
          - {name: a, type: function, handler: f}
          - {name: b, type: function, handler: f}
          - {name: c, depends_on: [a, b], prompt: "{{ title }}"}
        """
    assert required(text) == {"title": True}


def test_nearer_names_are_no_inputs() -> None:
    text = """
        tasks:
          - name: g
            loop: {over: "{{ rows }}", as: row}
            tasks:
              - {name: inner, prompt: "{{ row.x }} {{ item }} {{ index }} {{ word }}", with: {word: "{{ free }}"}}
          - name: mapped
            prompt: hi
            result: {a: "{{ output.a }}", b: "{{ result }}"}
            on_error: {degrade: "{{ error.message }}"}
          - {name: looped, prompt: "{{ item }}", loop: {over: "{{ item }}", collect: "result.x"}}
        """
    assert required(text) == {"rows": True, "free": True}


def test_a_name_with_a_default_is_not_required() -> None:
    assert required("tasks: [{name: a, prompt: \"{{ x | default('y') }} {{ inputs.z is defined }}\"}]") == {
        "x": False,
        "z": False,
    }


def test_names_that_a_loop_binds_are_never_inferred() -> None:
    text = """
    tasks:
      - {name: a, handler: f, with: {x: "{{ item }} {{ index }} {{ previous }} {{ error }} {{ other }}"}}
      - {name: b, handler: f, with: {x: "{{ inputs.item }}"}}
    """
    assert required(text) == {"other": True, "item": True}
