"""Draw a workflow, or a run of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from autoglm.cli.drawing.picture import Picture

Format = Literal["text", "mermaid", "svg"]


def graph(
    what: Annotated[str, typer.Argument(metavar="FILE|RUN", help="A workflow file; or a run, to draw its states too.")],
    form: Annotated[Format, typer.Option("--format", help="How to draw it.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")] = None,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Draw a workflow's graph."""
    from autoglm.cli.output import say, write_file

    picture = _of_file(Path(what)) if _is_file(what) else _of_run(what, project, store)
    text = _draw(picture, form)
    if output is None:
        say(text.rstrip("\n"))
    else:
        write_file(output, text)
    return 0


def _draw(picture: Picture, form: Format) -> str:
    import sys

    if form == "mermaid":
        from autoglm.cli.drawing.mermaid import draw_mermaid

        return draw_mermaid(picture)
    if form == "svg":
        from autoglm.cli.drawing.svg import draw_svg

        return draw_svg(picture)
    from autoglm.cli.drawing.text import draw_text
    from autoglm.cli.output import terminal_width

    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return draw_text(picture, terminal_width(120), ascii_only=not unicode)


def _is_file(what: str) -> bool:
    """A run's id never has a suffix or a slash."""
    if "/" in what or what.endswith((".yaml", ".yml", ".json")):
        return True
    try:
        return Path(what).is_file()
    except (OSError, ValueError):
        return False


def _of_file(path: Path) -> Picture:
    from autoglm.app.session import Session
    from autoglm.cli.drawing.picture import picture_of

    with Session.open(path) as session:
        return picture_of(session.load(path).graph)


def _of_run(run: str, project: Path | None, store: str | None) -> Picture:
    from autoglm.cli.drawing.picture import picture_of
    from autoglm.cli.opening import open_session
    from autoglm.graph.compile import compile_graph
    from autoglm.runtime.recovery import read_current, read_definition

    with open_session(project, store) as session:
        run_id = session.find_run(run)
        workflow, _ = read_definition(session.store, read_current(session.store, run_id))
        compiled = compile_graph(workflow, session.catalog)
        states = {}
        for node in compiled.walk():
            row = session.store.get_task(run_id, node.path)
            if row is not None:
                states[node.path] = row.status
        return picture_of(compiled, states)
