"""Commands that look at a workflow file and run nothing: validate, schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from autoglm.base.diagnostics import Diagnostic

Format = Literal["text", "json", "sarif"]


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Workflow files, YAML or JSON.")],
    form: Annotated[Format, typer.Option("--format", help="How to print what is wrong.")] = "text",
    json: options.Json = False,
    environment: options.Environment = None,
) -> int:
    """Check workflow files; run nothing."""
    import sys

    from autoglm.base.diagnostics import sort_diagnostics
    from autoglm.base.reports import render_json, render_sarif, render_text
    from autoglm.cli.output import has_color, say

    found: list[Diagnostic] = []
    for file in files:
        found += _diagnose(file, environment)
    found = sort_diagnostics(found)
    has_errors = any(each.is_error for each in found)
    match "json" if json else form:
        case "json":
            say(render_json(found).rstrip("\n"))
        case "sarif":
            from autoglm import __version__

            say(render_sarif(found, version=__version__).rstrip("\n"))
        case _:
            count = len(files)
            good = f"{files[0]} is fit to run" if count == 1 else f"{count} files are fit to run"
            if found:
                say(render_text(found, color=has_color(sys.stdout)).rstrip("\n"))
            if not has_errors:
                say(good)
    return 2 if has_errors else 0


def _diagnose(file: Path, environment: str | None) -> list[Diagnostic]:
    from autoglm.app.loading import diagnose, read_source
    from autoglm.app.session import Session
    from autoglm.base.diagnostics import Diagnostic
    from autoglm.base.errors import SpecError, UsageError

    try:
        with Session.open(file, environment=environment) as session:
            root, chosen = session.project.root, session.environment
            workflow, found = diagnose(read_source(file), str(file), session.catalog, root, environment=chosen)
            if workflow is not None and not any(each.is_error for each in found):
                from autoglm.app.preflight import look_at

                found += look_at(session, file, workflow)
            return [*session.warnings, *found]
    except SpecError as error:
        return list(error.diagnostics)
    except UsageError as error:  # a file that cannot be read does not keep the others from being checked
        return [Diagnostic(error.code, error.message, hint=error.hint)]


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
