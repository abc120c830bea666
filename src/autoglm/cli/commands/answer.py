"""Commands that answer what a run waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from autoglm.app.answering import Told

Asking = Annotated[str, typer.Argument(metavar="TASK", help="The task that asks, such as `check`, `orders[3].check`.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who answers; default: the user's login name.")]
Comment = Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why, for the record.")]
Data = Annotated[str | None, typer.Option("--data", metavar="JSON", help="Data that goes with it.")]
Fields = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="One field of the data; JSON when it is JSON, else text."),
]


def approve(
    run: options.RunId,
    task: Asking,
    by: By = None,
    data: Data = None,
    inputs: Fields = None,
    comment: Comment = "",
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Approve what a task asks.

    Of a task with `effects: guarded`: run it again, or take the data as its result.
    """
    return _answer(run, task, by, comment, project, store, approved=True, data=_read_data(data, inputs))


def reject(
    run: options.RunId,
    task: Asking,
    by: By = None,
    comment: Comment = "",
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Reject what a task asks.

    Of a task with `effects: guarded`: it failed.
    """
    return _answer(run, task, by, comment, project, store, approved=False, data=None)


def signal(
    run: options.RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal that tasks wait for.")],
    by: By = None,
    data: Data = None,
    inputs: Fields = None,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Let the tasks that wait for a signal go on."""
    import asyncio

    from autoglm.cli.opening import open_session
    from autoglm.cli.watch import where_option

    value = _read_data(data, inputs)
    with open_session(project, store) as session:
        run_id = session.find_run(run)
        told = asyncio.run(session.signal(run_id, name, data=value, by=_who(by)))
        _say(told, f"the signal `{name}` was sent", where_option(session))
    return 0


def _answer(
    run: str, task: str, by: str | None, comment: str, project: Any, store: str | None, *, approved: bool, data: Any
) -> int:
    import asyncio

    from autoglm.cli.opening import open_session
    from autoglm.cli.watch import where_option

    with open_session(project, store) as session:
        run_id = session.find_run(run)
        who = _who(by)
        told = asyncio.run(session.answer(run_id, task, approved=approved, by=who, data=data, comment=comment))
        done = "approved" if approved else "rejected"
        _say(told, f"`{task}` was {done} by {who}", where_option(session))
    return 0


def _say(told: Told, what: str, where: str) -> None:
    from autoglm.cli.output import say

    if told.status == "left":
        say(f"{what}: left for the process that drives the run, which has not taken it yet")
    elif told.is_driven:
        say(f"{what}; the run goes on")
    else:
        say(f"{what}; nobody drives the run, so continue it: autoglm resume {told.run_id}{where}")


def _who(by: str | None) -> str:
    """Return who answers: as given, else the login name."""
    if by is not None:
        return by
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        return ""


def _read_data(data: str | None, pairs: list[str] | None) -> Any:
    """Return the data of an answer. Raises UsageError ``bad-data``."""
    from autoglm.base import jsonvalue
    from autoglm.base.errors import UsageError
    from autoglm.cli.given import read_value

    value: Any = None
    if data is not None:
        try:
            value = jsonvalue.decode(data)
        except jsonvalue.NotJson as error:
            hint = "write it as JSON, in quotes: --data '{\"price\": 7}'"
            raise UsageError(f"the data is not JSON: {error}", code="bad-data", hint=hint) from None
    if not pairs:
        return value
    if value is not None and not isinstance(value, dict):
        hint = "leave one of them out"
        raise UsageError("`-i` adds a field to data that is no mapping", code="bad-data", hint=hint)
    fields = dict(value or {})
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"`{pair}` is no field", code="bad-data", hint="write -i name=value")
        fields[name.strip()] = read_value(None, text)
    return fields
