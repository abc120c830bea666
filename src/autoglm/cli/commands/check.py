"""Commands that look at a workflow file and run nothing: validate, plan, schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from autoglm.app.loading import Loaded
    from autoglm.base.diagnostics import Diagnostic
    from autoglm.graph.model import Graph, Node

Format = Literal["text", "json", "sarif"]


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Workflow files, YAML or JSON.")],
    form: Annotated[Format, typer.Option("--format", help="How to print what is wrong.")] = "text",
    json: options.Json = False,
) -> int:
    """Check workflow files; run nothing."""
    import sys

    from autoglm.base.diagnostics import sort_diagnostics
    from autoglm.base.reports import render_json, render_sarif, render_text
    from autoglm.cli.output import has_color, say

    found: list[Diagnostic] = []
    for file in files:
        found += _diagnose(file)
    found = sort_diagnostics(found)
    match "json" if json else form:
        case "json":
            say(render_json(found).rstrip("\n"))
        case "sarif":
            from autoglm import __version__

            say(render_sarif(found, version=__version__).rstrip("\n"))
        case _:
            count = len(files)
            good = f"{files[0]} is fit to run" if count == 1 else f"{count} files are fit to run"
            text = render_text(found, color=has_color(sys.stdout)).rstrip("\n")
            say(text if text else good)
    return 2 if any(each.is_error for each in found) else 0


def _diagnose(file: Path) -> list[Diagnostic]:
    from autoglm.app.loading import diagnose, read_source
    from autoglm.app.session import Session
    from autoglm.base.diagnostics import Diagnostic
    from autoglm.base.errors import SpecError, UsageError

    try:
        with Session.open(file) as session:
            _, found = diagnose(read_source(file), str(file), session.catalog, session.project.root)
            return [*session.warnings, *found]
    except SpecError as error:
        return list(error.diagnostics)
    except UsageError as error:  # a file that cannot be read does not keep the others from being checked
        return [Diagnostic(error.code, error.message, hint=error.hint)]


def plan(file: options.File, json: options.Json = False) -> int:
    """Show what a run would do; run nothing."""
    from autoglm.app.session import Session
    from autoglm.cli.output import say_json

    with Session.open(file) as session:
        loaded = session.load(file)
    if json:
        say_json(_plan_data(loaded))
    else:
        _say_plan(loaded)
    return 0


def _levels(graph: Graph) -> list[list[Node]]:
    from autoglm.cli.drawing.layout import layer_of_each

    nodes = graph.root.nodes
    edges = [(edge.upstream, node.local) for node in nodes for edge in node.edges]
    levels: list[list[Node]] = []
    for node, level in zip(nodes, layer_of_each(len(nodes), edges), strict=True):
        while len(levels) <= level:
            levels.append([])
        levels[level].append(node)
    return levels


def _critical_path(graph: Graph) -> list[str]:
    """Return the names along the longest path through the workflow."""
    nodes = graph.root.nodes
    starts = [node for node in nodes if not node.edges]
    path: list[str] = []
    node = max(starts, key=lambda each: (each.rank, -each.local), default=None)
    while node is not None:
        path.append(node.name)
        following = [nodes[local] for local in node.successors]
        node = max(following, key=lambda each: (each.rank, -each.local), default=None)
    return path


def _plan_data(loaded: Loaded) -> dict[str, Any]:
    workflow, graph = loaded.workflow, loaded.graph
    return {
        "workflow": workflow.name,
        "inputs": {
            name: spec.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"required": spec.required}
            for name, spec in workflow.inputs.items()
        },
        "levels": [[node.name for node in level] for level in _levels(graph)],
        "critical_path": _critical_path(graph),
        "tasks": {
            node.path: {
                "type": node.task.type,
                "depends_on": sorted({_upstream(graph, node, edge.upstream) for edge in node.edges}),
                "executor": node.executor,
                "loop": node.is_loop,
                "max_attempts": node.retry.max_attempts if node.retry is not None else 1,
                "timeout": node.timeout,
                "pools": [graph.pools[index].name for index in node.pools],
            }
            for node in graph.walk()
        },
        "limits": {"max_parallel": workflow.max_parallel, **{pool.name: pool.limit for pool in graph.pools}},
    }


def _upstream(graph: Graph, node: Node, local: int) -> str:
    scope = graph.root
    for name in node.path.split(".")[:-1]:
        body = scope.nodes[scope.names[name]].body
        if body is None:
            break
        scope = body
    return scope.nodes[local].name


def _say_plan(loaded: Loaded) -> None:
    from autoglm.cli.measure import harmless
    from autoglm.cli.output import say, warn
    from autoglm.cli.tables import say_table

    for doubt in loaded.diagnostics:
        warn(str(doubt))
    workflow, graph = loaded.workflow, loaded.graph
    say(f"{harmless(workflow.name)}: {graph.own:,} tasks, nothing has been run")
    if workflow.inputs:
        say()
        rows = [[name, _kind(spec), _default(spec), spec.description or ""] for name, spec in workflow.inputs.items()]
        say_table(["INPUT", "TYPE", "DEFAULT", "DESCRIPTION"], rows)
    say()
    rows = [
        [f"{number}", node.name, node.task.type, "" if node.body else node.executor, ", ".join(_marks(node))]
        for number, level in enumerate(_levels(graph), 1)
        for node in level
    ]
    say_table(["LEVEL", "TASK", "TYPE", "EXECUTOR", "NOTES"], rows)
    path = _critical_path(graph)
    say()
    say(f"longest path: {len(path)} tasks: {' → '.join(harmless(name) for name in path)}")
    limits = [f"{pool.name} {pool.limit}" for pool in graph.pools]
    if workflow.max_parallel is not None:
        limits.insert(0, f"whole run {workflow.max_parallel}")
    if limits:
        say(f"at once at most: {', '.join(limits)}")


def _marks(node: Node) -> list[str]:
    marks = []
    if node.is_loop:
        marks.append("loop")
    if node.body is not None:
        marks.append(f"group of {len(node.body.nodes)}")
    if node.when is not None:
        marks.append(f"when {node.task.when}")
    if node.retry is not None and node.retry.max_attempts > 1:
        marks.append(f"up to {node.retry.max_attempts} attempts")
    if node.timeout is not None:
        from autoglm.base.durations import format_duration

        marks.append(f"timeout {format_duration(node.timeout)}")
    return marks


def _kind(spec: Any) -> str:
    kind = spec.type if isinstance(spec.type, str) else " or ".join(spec.type)
    return f"{kind}, secret" if spec.secret else kind


def _default(spec: Any) -> str:
    import json

    if spec.required:
        return "(required)"
    return "***" if spec.secret else json.dumps(spec.default, ensure_ascii=False)


def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")] = None,
    tests: Annotated[bool, typer.Option("--tests", help="That of test files instead.")] = False,
) -> int:
    """Print the JSON Schema of workflow files, or of test files."""
    import json

    from autoglm.cli.output import say, write_file

    text = json.dumps(_schema_of_tests() if tests else schema_of_files(), ensure_ascii=False, indent=2)
    if output is None:
        say(text)
    else:
        write_file(output, text + "\n")
    return 0


def _schema_of_tests() -> dict[str, Any]:
    from autoglm.testing.schema import case_schema

    return case_schema()


def schema_of_files() -> dict[str, Any]:
    """Return the schema, with the task types that are installed."""
    from autoglm.app.session import Session
    from autoglm.spec.schema import workflow_schema

    with Session.open(store="memory") as session:
        return dict(workflow_schema(session.catalog))
