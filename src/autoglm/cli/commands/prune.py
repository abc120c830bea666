"""Delete old runs."""

from __future__ import annotations

from typing import Annotated

import typer

from autoglm.cli import options


def prune(
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Such as 30d; default: the setting `retention`.")
    ] = None,
    workflow: Annotated[str | None, typer.Option(metavar="NAME", help="Only runs of this workflow.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell which runs would go.")] = False,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Delete old runs, with all that is theirs."""
    import time

    from autoglm.base.durations import parse_duration
    from autoglm.base.errors import UsageError
    from autoglm.cli.opening import open_session
    from autoglm.cli.output import say

    try:
        age = parse_duration(older_than) if older_than is not None else None
    except ValueError as error:
        raise UsageError(str(error), code="bad-duration", hint="write --older-than 30d") from None
    with open_session(project, store) as session:
        if age is None:
            age = session.project.settings.retention
        if age is None:
            say("the setting `retention` keeps every run; give --older-than")
            return 0
        gone = session.store.prune(time.time() - age, workflow=workflow, dry_run=dry_run)
        for run_id in gone:
            say(run_id)
        say(f"{len(gone)} run{'s' if len(gone) != 1 else ''} {'would be deleted' if dry_run else 'deleted'}")
    return 0
