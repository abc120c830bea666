"""Two runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoglm.cli import options

if TYPE_CHECKING:
    from autoglm.app.comparing import Comparison, Side, TaskPair, Totals
    from autoglm.app.session import Session

_LINES = 200
_WIDTH = 60
_NEEDLESS = "-"


def diff(
    one: Annotated[str, typer.Argument(metavar="RUN", help="A run: its id, the beginning of one, or `last`.")],
    two: Annotated[str, typer.Argument(metavar="RUN", help="The run to hold against it.")],
    items: Annotated[bool, typer.Option("--items", help="Compare the items of loops one by one, too.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Show tasks that are alike, too.")] = False,
    json: options.Json = False,
    project: options.Project = None,
    store: options.Store = None,
) -> int:
    """Show two runs side by side."""
    from autoglm.app.comparing import compare_runs
    from autoglm.cli.opening import open_session

    with open_session(project, store) as session:
        runs = session.find_run(one), session.find_run(two)
        found = compare_runs(session.store, *runs)
        if json:
            _print_json(session, runs, found, items=items, every=every)
        else:
            _say(session, runs, found, items=items, every=every)
    return 0


def _pairs(session: Session, runs: tuple[str, str], *, items: bool) -> Any:
    from autoglm.app.comparing import compare_tasks

    return compare_tasks(session.store, *runs, items=items)


def _print_json(session: Session, runs: tuple[str, str], found: Comparison, *, items: bool, every: bool) -> None:
    """Write one document, the tasks one by one as they are read."""
    import json
    import sys

    import msgspec

    head = json.dumps(msgspec.to_builtins(found), ensure_ascii=True, indent=2)
    write = sys.stdout.write
    write(head.removesuffix("\n}") + ',\n  "tasks": [')
    separator = "\n"
    alike = 0
    for pair in _pairs(session, runs, items=items):
        if pair.is_same and not every:
            alike += 1
            continue
        data = {**msgspec.to_builtins(pair), "same": pair.is_same}
        write(f"{separator}    {json.dumps(data, ensure_ascii=True)}")
        separator = ",\n"
    write(f'\n  ],\n  "alike": {alike}\n}}\n')


def _say(session: Session, runs: tuple[str, str], found: Comparison, *, items: bool, every: bool) -> None:
    from autoglm.cli.output import say
    from autoglm.cli.tables import say_table

    say_table(["", "ONE", "TWO"], _head(found.one, found.two))
    if found.changes:
        say()
        say("the definition differs:")
        for line in found.changes[:_LINES]:
            say(f"  {_tame(line)}")
    rows: list[list[str]] = []
    alike = more = 0
    for pair in _pairs(session, runs, items=items):
        if pair.is_same and not every:
            alike += 1
        elif len(rows) < _LINES:
            rows += _rows(pair)
        else:
            more += 1
    say()
    if rows:
        say_table(["TASK", "", "ONE", "TWO"], rows)
    if more:
        say(f"… and {more:,} more: --json")
    say(f"{alike:,} task{'s are' if alike != 1 else ' is'} alike" if not every else "those were all")


def _head(one: Totals, two: Totals) -> list[list[str]]:
    from autoglm.cli.measure import duration_of

    rows = [
        ["run", one.run_id, two.run_id],
        ["workflow", one.workflow, two.workflow],
        ["status", one.status, two.status],
        ["took", duration_of(one.seconds), duration_of(two.seconds)],
    ]
    rows += [
        [name.replace("_", " "), _number(one.usage.get(name)), _number(two.usage.get(name))]
        for name in dict.fromkeys([*one.usage, *two.usage])
    ]
    for title, first, second in (("input", one.inputs, two.inputs), ("output", one.outputs, two.outputs)):
        first, second = first or {}, second or {}
        for name in dict.fromkeys([*first, *second]):
            pair = _text(first, name), _text(second, name)
            rows.append([f"{title} {name}", pair[0], "the same" if pair[0] == pair[1] else pair[1]])
    return [[_tame(cell) for cell in row] for row in rows]


def _rows(pair: TaskPair) -> list[list[str]]:
    """Return a line for each respect in which a task differs; one where it does not."""
    one, two = pair.one, pair.two
    found = [["status", *(_status(side) for side in (one, two))]]
    if one is not None and two is not None:
        if pair.results_equal is False:
            found.append(["result", _json(one.result), _json(two.result)])
        if one.error != two.error:
            found.append(["error", one.error or _NEEDLESS, two.error or _NEEDLESS])
        if found[0][1] == found[0][2] and len(found) > 1:
            found.pop(0)
    return [
        [_tame(pair.task) if number == 0 else "", *(_tame(cell) for cell in row)] for number, row in enumerate(found)
    ]


def _status(side: Side | None) -> str:
    from autoglm.cli.measure import duration_of

    if side is None:
        return "not there"
    attempts = "" if side.attempts < 2 else f", {side.attempts} attempts"
    took = "" if side.seconds is None else f" in {duration_of(side.seconds)}"
    return f"{side.status}{took}{attempts}"


def _text(values: Any, name: str) -> str:
    return _json(values[name]) if name in values else "not there"


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> str:
    return _NEEDLESS if value is None else f"{value:,}"


def _tame(text: str) -> str:
    from autoglm.cli.measure import clip, harmless

    return clip(harmless(" ".join(text.split())), _WIDTH)
