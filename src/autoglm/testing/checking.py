"""What a run came to, held against what its case expects."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from autoglm.spec.expressions import ExpressionError
from autoglm.spec.model import Path
from autoglm.spec.values import one_of
from autoglm.testing.cases import UNSAID, Case, Check, Expectation, TaskExpectation
from autoglm.testing.naming import static
from autoglm.testing.played import Played

_MOST_LINES = 60
_SHORT = 100


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is not as it was expected, and where that stands in the test file."""

    message: str
    path: Path
    details: tuple[str, ...] = ()
    """Lines that show it: a diff (``-`` expected, ``+`` found), or why a task failed."""


def mismatches(case: Case, played: Played) -> list[Mismatch]:
    """Return everything that is not as the case expects, the run's own end first."""
    expect = case.expect
    return [
        *_status(expect, played),
        *_tasks(expect, played),
        *_path(expect, played),
        *_order(expect, played),
        *_skipped(expect, played),
        *_outputs(expect, played),
        *_checks(case.expect, played),
    ]


def is_same(one: Any, other: Any) -> bool:
    """Compare JSON data: ``1`` is ``1.0``, and ``true`` is not ``1``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def includes(found: Any, wanted: Any) -> bool:
    """Tell whether every field that ``wanted`` has is in ``found``, at any depth; lists match entry by entry."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return all(key in found and includes(found[key], value) for key, value in wanted.items())
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(includes, found, wanted))
    return is_same(found, wanted)


def _status(expect: Expectation, played: Played) -> Iterator[Mismatch]:
    status, error = played.report.status, played.report.error
    wanted = expect.status or ("failed" if expect.error else "succeeded")
    path = (*expect.path, "status") if expect.status else expect.path
    if status != wanted:
        yield Mismatch(f"the run {_ended(status)}, and {wanted} was expected", path, tuple(_why(played)))
    elif expect.error is not None:
        code = None if error is None else error["code"]
        codes = {row.error_code for row in played.rows.values() if row.error_code is not None} | {code}
        if expect.error not in codes:
            found = one_of(sorted(each for each in codes if each)) or "no error"
            message = f"no task failed with `{expect.error}`, but with {found}"
            yield Mismatch(message, (*expect.path, "error"), tuple(_why(played)))


def _ended(status: str) -> str:
    return {"paused": "is paused", "running": "did not end"}.get(status, status)


def _why(played: Played) -> Iterator[str]:
    """Yield why tasks failed."""
    failed = [row for row in played.rows.values() if row.error_code is not None and row.status != "succeeded"]
    for row in failed[:5]:
        yield f"{row.task}: error[{row.error_code}]: {row.error}"
        instance = played.run.find(row.task)
        if instance is not None and instance.failure is not None and instance.failure.hint:
            yield f"  hint: {instance.failure.hint}"
    if len(failed) > 5:
        yield f"… and {len(failed) - 5} more"
    if not failed and played.report.error is not None:
        yield f"error[{played.report.error['code']}]: {played.report.error['message']}"


def _tasks(expect: Expectation, played: Played) -> Iterator[Mismatch]:
    for task, fields in expect.tasks.items():
        yield from _task(task, fields, played)


def _task(task: str, fields: TaskExpectation, played: Played) -> Iterator[Mismatch]:
    if (beyond := played.beyond(task)) is not None:
        yield Mismatch(beyond, fields.path)
        return
    row = played.row(task)
    why = (f"error[{row.error_code}]: {row.error}",) if row.error_code else ((row.error,) if row.error else ())
    simple: list[tuple[str, Any, Any]] = [
        ("status", fields.status, row.status),
        ("attempts", fields.attempts, row.attempts),
        ("calls", fields.calls, played.calls[static(task)]),
        ("error", fields.error, row.error_code),
    ]
    for name, wanted, found in simple:
        if wanted is not None and wanted != found:
            written = (*fields.path, name)
            message = f"`{name}` of `{task}` is {_shown(found)}, and {_shown(wanted)} was expected"
            yield Mismatch(message, written, why)
    if fields.reason is not None and fields.reason not in (row.error or ""):
        message = f"the reason of `{task}` does not hold {_shown(fields.reason)}"
        yield Mismatch(message, (*fields.path, "reason"), (row.error or "it has none",))
    if fields.branches is not None and (found := played.branches(task)) != list(fields.branches):
        message = f"`{task}` chose {_listed(found)}, and {_listed(fields.branches)} was expected"
        yield Mismatch(message, (*fields.path, "branches"), why)
    if fields.result is not UNSAID:
        yield from _value(f"the result of `{task}` is", played.result(task), fields.result, (*fields.path, "result"))
    if fields.result_includes is not UNSAID:
        path = (*fields.path, "result_includes")
        yield from _part(f"the result of `{task}` is", played.result(task), fields.result_includes, path)


def _path(expect: Expectation, played: Played) -> Iterator[Mismatch]:
    if expect.path_taken is None:
        return
    path, ran = (*expect.path, "path"), played.ran
    wanted = [task for stage in expect.path_taken for task in stage]
    absent = [task for task in wanted if task not in ran]
    extra = [task for task in ran if "." not in task and task not in wanted]
    if absent or extra:
        problems = [f"{_listed(absent)} did not run"] if absent else []
        problems += [f"{_listed(extra)} ran too"] if extra else []
        yield Mismatch(f"another path was taken: {', and '.join(problems)}", path, (f"ran: {', '.join(ran)}",))
    yield from _disorder(expect.path_taken, path, played)


def _order(expect: Expectation, played: Played) -> Iterator[Mismatch]:
    if expect.order is None:
        return
    path, ran = (*expect.path, "order"), set(played.ran)
    absent = [task for stage in expect.order for task in stage if task not in ran]
    if absent:
        yield Mismatch(f"{_listed(absent)} did not run", path)
    yield from _disorder(expect.order, path, played)


def _disorder(stages: tuple[tuple[str, ...], ...], path: Path, played: Played) -> Iterator[Mismatch]:
    ran = set(played.ran)
    for number, (stage, following) in enumerate(pairwise(stages), 1):
        for first in (task for task in stage if task in ran):
            for second in following:
                if second in ran and played.is_before(first, second) is False:
                    message = f"`{second}` began before `{first}` had ended"
                    yield Mismatch(message, (*path, number), (f"begun in order: {', '.join(played.ran)}",))


def _skipped(expect: Expectation, played: Played) -> Iterator[Mismatch]:
    if expect.skipped is None:
        return
    instances = [task for task in expect.skipped if "[" in task]
    found = played.skipped
    wanted = [task for task in expect.skipped if "[" not in task]
    absent = [task for task in wanted if task not in found]
    absent += [task for task in instances if played.row(task).status != "skipped"]
    extra = [task for task in found if "." not in task and task not in wanted]
    if absent or extra:
        problems = [f"{_listed(absent)} {'was' if len(absent) == 1 else 'were'} not skipped"] if absent else []
        problems += [f"{_listed(extra)} {'was' if len(extra) == 1 else 'were'} skipped too"] if extra else []
        details = (f"skipped: {', '.join(found) or 'none'}",)
        yield Mismatch(", and ".join(problems), (*expect.path, "skipped"), details)


def _outputs(expect: Expectation, played: Played) -> Iterator[Mismatch]:
    found = played.report.outputs
    if expect.outputs is not UNSAID:
        yield from _value("the outputs are", found, expect.outputs, (*expect.path, "outputs"))
    if expect.outputs_include is not UNSAID:
        yield from _part("the outputs are", found, expect.outputs_include, (*expect.path, "outputs_include"))


def _checks(expect: Expectation, played: Played) -> Iterator[Mismatch]:
    names: dict[str, Any] = {
        "outputs": played.report.outputs,
        "inputs": played.run.created.inputs if played.run.created is not None else {},
        "tasks": _Tasks(played),
        "run": {
            "id": played.report.run_id,
            "status": played.report.status,
            "seconds": played.seconds,
            "error": played.report.error,
        },
    }
    for check in expect.checks:
        yield from _checked(check, names)


def _checked(check: Check, names: dict[str, Any]) -> Iterator[Mismatch]:
    try:
        if check.template.evaluate(names.__getitem__):
            return
    except ExpressionError as error:
        details = (f"hint: {error.hint}",) if error.hint else ()
        yield Mismatch(f"the check cannot be made: {error.message}", check.path, details)
        return
    yield Mismatch("the check does not hold", check.path, tuple(_operands(check, names)))


def _operands(check: Check, names: dict[str, Any]) -> Iterator[str]:
    """Yield the values that a check read, as far as its paths are literal."""
    for chain in check.template.paths[:8]:
        value: Any = names
        for key in chain:
            try:
                value = value[int(key)] if isinstance(value, list) else value[key]
            except (KeyError, IndexError, TypeError, ValueError):
                break
        else:
            yield f"{'.'.join(chain)} is {_shown(value)}"


class _Tasks(Mapping[str, Any]):
    """``tasks`` as checks read it: by static path, or the id of an instance."""

    def __init__(self, played: Played) -> None:
        self._names = dict.fromkeys((*played.names, *played.rows))
        self._played = played

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, task: str) -> Any:
        if task not in self._names:
            raise KeyError(task)
        played = self._played
        row = played.row(task)
        return {
            "status": row.status,
            "attempts": row.attempts,
            "calls": played.calls[static(task)],
            "result": played.result(task),
            "error": None if row.error_code is None else {"code": row.error_code, "message": row.error},
            "reason": row.error if row.error_code is None else None,
        }


def _value(what: str, found: Any, wanted: Any, path: Path) -> Iterator[Mismatch]:
    if not is_same(found, wanted):
        yield _different(f"{what} not what was expected", found, wanted, path)


def _part(what: str, found: Any, wanted: Any, path: Path) -> Iterator[Mismatch]:
    if not includes(found, wanted):
        yield _different(f"{what} not what was expected", _alike(found, wanted), wanted, path)


def _alike(found: Any, wanted: Any) -> Any:
    """Return of ``found`` only the fields that ``wanted`` speaks of, so that a diff shows nothing else."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {key: _alike(found[key], value) for key, value in wanted.items() if key in found}
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return list(map(_alike, found, wanted))
    return found


def _different(message: str, found: Any, wanted: Any, path: Path) -> Mismatch:
    if max(len(_shown(found)), len(_shown(wanted))) <= _SHORT:
        return Mismatch(message, path, (f"- {_shown(wanted)}", f"+ {_shown(found)}"))
    lines = list(difflib.unified_diff(_pretty(wanted), _pretty(found), n=2, lineterm=""))[2:]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} more lines"]
    return Mismatch(message, path, tuple(lines))


def _pretty(value: Any) -> list[str]:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).splitlines()


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 2 * _SHORT else f"{text[: 2 * _SHORT - 1]}…"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"
