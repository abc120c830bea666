"""What is wrong with expressions and templates: as they are written, and when they are evaluated."""

from __future__ import annotations

import json

from tests.errors.scene import Scene

ECHO = "def echo(value=None): return value\n"


def written(scene: Scene, *texts: str, field: str = "when") -> None:
    """Validate a workflow of one task an expression."""
    tasks = [
        {"name": f"t{number}", "handler": "echo", field: {"value": text} if field == "with" else text}
        for number, text in enumerate(texts)
    ]
    scene.write("tasks/echo.py", ECHO)
    (scene.root / "flow.yaml").write_text(
        "inputs: {list: {default: [1, 2]}, map: {default: {a: 1}}}\ntasks:\n"
        + "".join(f"  - {json.dumps(task)}\n" for task in tasks)
        + "outputs: {used: '{{ list }} {{ map }}'}\n"
    )
    scene.autoglm("validate", "flow.yaml")


def evaluated(scene: Scene, *templates: str) -> None:
    """Run a workflow in which each template is an argument of a task of its own."""
    tasks = [
        {"name": f"t{number}", "handler": "echo", "with": {"value": template}}
        for number, template in enumerate(templates)
    ]
    scene.write("tasks/echo.py", ECHO)
    scene.run(
        "inputs: {list: {default: [1, 2]}, map: {default: {a: 1}}, text: {default: abc}}\ntasks:\n"
        + "".join(f"  - {json.dumps(task)}\n" for task in tasks)
    )


def test_statements_and_names_that_a_template_does_not_have(scene: Scene) -> None:
    written(scene, "{% include 'head.txt' %}", "{{ self.x }}", "{{ 1e400 }}", field="with")
    scene.shows("template-syntax")


def test_conditions_that_cannot_be_read(scene: Scene) -> None:
    written(
        scene, "{{  }}", "inputs.list |", "inputs.list and", "inputs.list and {{ inputs.map }}", "9" * 5000 + " > 1"
    )
    scene.shows("template-syntax")


def test_a_condition_that_nests_without_end(scene: Scene) -> None:
    scene.write("flow.json", json.dumps({"tasks": [{"name": "a", "script": "a.sh", "when": "(" * 3000}]}))
    scene.autoglm("validate", "flow.json")
    scene.shows("template-syntax")


def test_entries_and_fields_that_are_not_there(scene: Scene) -> None:
    evaluated(scene, "{{ inputs.list[2] }}", "{{ inputs.list.size }}", "{{ inputs.map.b }}", "{{ inputs.text.size }}")
    scene.shows("unknown-field")


def test_values_that_are_no_data(scene: Scene) -> None:
    evaluated(scene, "{{ range }}", "{{ namespace(a=1) }}", "{{ {1: 'one'} }}", "{{ 1e308 * 10 }}")
    scene.shows("expression-failed")


def test_what_would_take_too_much(scene: Scene) -> None:
    evaluated(
        scene,
        "{% for a in range(3000) %}{% for b in range(3000) %}{% endfor %}{% endfor %}",
        "{{ inputs.text | replace('', 'x' * 10 ** 7) }}",
        "{{ ('x' * 90000) | regex_replace('x', 'y' * 9000) }}",
        "{{ ['x' * 10 ** 7, 'x' * 10 ** 7] | join }}",
        "{{ '%99999d' % 7 }}",
        "{{ ('%s' * 100) % ('x' * 10 ** 6) }}",
        "{{ '%s%s' | format('x' * 10 ** 7, 'x' * 10 ** 7) }}",
        "{{ inputs.text | indent(10 ** 9) }}",
        "{{ ('x' * 200000) | regex_search('x') }}",
        "{{ inputs.text | regex_search('x' * 2000) }}",
    )
    evaluated(
        scene,
        "{{ inputs.text | regex_search('(x+)+') }}",
        "{{ 2 ** 64 }}",
        "{{ 'x'.center(10 ** 9) }}",
        "{{ 2 ** 10 ** 9 }}",
        "{{ '{:99999}'.format(7) }}",
        "{{ range(10 ** 9) }}",
        "{{ range(9 * 10 ** 6) }}",
        "{% for a in range(2000) %}{{ 'x' * 10000 }}{% endfor %}",
        "{% set n = namespace(v=[]) %}{% for a in range(300) %}{% set n.v = [n.v] %}{% endfor %}{{ n.v }}",
    )
    scene.shows("expression-too-large")


def test_a_failure_that_would_tell_a_secret(scene: Scene) -> None:
    scene.patch.setenv("KEY", "hunter2-hunter2")
    evaluated(scene, "{{ secrets.KEY / 2 }}")
    scene.shows("expression-failed")


def test_a_template_that_is_too_long(scene: Scene) -> None:
    scene.write("tasks/echo.py", ECHO)
    task = {"name": "a", "handler": "echo", "with": {"value": "{{ run.id | upper }}" + "x" * 1_100_000}}
    scene.write("flow.json", json.dumps({"tasks": [task]}))
    scene.autoglm("validate", "flow.json")
    scene.shows("expression-too-large")


def test_filters_that_get_the_wrong_thing(scene: Scene) -> None:
    evaluated(
        scene,
        "{{ 5 | fromjson }}",
        "{{ '{' | fromjson }}",
        "{{ 'a?' | b64decode }}",
        "{{ '%s %(a)s' | format('x', a=1) }}",
        "{{ inputs.text | regex_search(5) }}",
        "{{ inputs.text | regex_search('(') }}",
        "{{ '{a.b}'.format(a=inputs.map) }}",
        "{{ range(stop=1, stop=2) }}",
        "{% for each in 5 %}{{ each }}{% endfor %}",
        "{{ inputs.text / 2 }}",
    )
    scene.shows("expression-failed", "template-syntax")
