"""The command's table of contents."""

from __future__ import annotations

from typing import Annotated

import typer

from autoglm.cli.commands import answer, check, diff, drawing, explain, look, plan, prune, run, start, testing

app = typer.Typer(
    name="autoglm",
    help="Durable orchestration of AI work from one declarative file.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _autoglm(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and leave.")] = False,
) -> None:
    """Durable orchestration of AI work from one declarative file."""
    if version:
        from autoglm import __version__
        from autoglm.cli.output import say

        say(f"autoglm {__version__}")
        raise typer.Exit


app.command()(start.init)
app.command()(check.validate)
app.command()(plan.plan)
app.command()(run.run)
app.command()(run.resume)
app.command(name="list")(look.list_runs)
app.command()(look.show)
app.command()(look.logs)
app.command()(explain.explain)
app.command()(diff.diff)
app.command()(answer.approve)
app.command()(answer.reject)
app.command()(answer.signal)
app.command()(run.cancel)
app.command()(run.pause)
app.command()(run.retry)
app.command()(drawing.graph)
app.command()(check.schema)
app.command(name="test")(testing.run_tests)
app.command()(prune.prune)
