"""The last words about a run: how it ended, what it gave, what failed and where to look."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from autoglm.cli.icons import icon_of, style_of
from autoglm.cli.measure import clip, duration_of, harmless
from autoglm.cli.output import say, styled, warn
from autoglm.cli.usage import used_text
from autoglm.engine.waiting import in_words

if TYPE_CHECKING:
    from autoglm.app.report import RunReport
    from autoglm.cli.view import Failed, RunView

_MAX_LINES = 40
_MAX_WIDTH = 400
_SHOWN_FAILURES = 10
_AT_END = ("rollback-failed", "finally-failed")
"""Failures of the run that say more than that a task failed."""


def show_summary(report: RunReport, view: RunView, now: float, *, quiet: bool, where: str = "") -> None:
    """Write it: the outcome and the outputs to standard output, what went wrong to standard error.

    ``where`` are options that further commands need to find the run's project.
    """
    run = f"{report.run_id}{where}"
    if not quiet:
        status = styled(
            f"{icon_of(report.status)} run {report.run_id} {report.status}", style_of(report.status), sys.stdout
        )
        say(f"{status} in {duration_of(view.elapsed(now))}")
        if used := used_text(report.usage):
            say(f"used: {used}")
        if report.outputs:
            say("outputs:")
            for line in clipped_json(report.outputs, f"autoglm show {run} --json"):
                say(line)
    sys.stdout.flush()
    if report.offline:
        loud = "REHEARSAL (--offline): no model was asked. Every model answer above and in the results was made up."
        warn(styled(loud, "bold yellow", sys.stderr))
    _show_questions(report, view)
    if report.status != "succeeded":
        _show_failures(report, view, run)


def _show_questions(report: RunReport, view: RunView) -> None:
    for each in report.questions[:_SHOWN_FAILURES]:
        if each.question.kind != "time":
            what = "" if each.question.kind == "signal" else "an answer: "
            warn(f"‖ {harmless(each.task)} waits for {what}{clip(harmless(in_words(each.question)), _MAX_WIDTH)}")
            warn(f"  {view.how_to_answer(each.task, each.question)}")
    if len(report.questions) > _SHOWN_FAILURES:
        warn(f"… and {len(report.questions) - _SHOWN_FAILURES:,} more: autoglm show {view.run_id}{view.where}")


def _show_failures(report: RunReport, view: RunView, run: str) -> None:
    for failed in sorted(view.failures, key=view.is_tolerated)[:_SHOWN_FAILURES]:
        name = harmless(failed.task)
        tolerated = " (tolerated)" if view.is_tolerated(failed) else ""
        head = styled(f"{icon_of('failed')} {name}{tolerated}", style_of("failed"), sys.stderr)
        warn(f"{head}  {failed.failure.code}: {clip(harmless(failed.failure.message), _MAX_WIDTH)}")
        if failed.failure.hint:
            warn(f"  hint: {harmless(failed.failure.hint)}")
        warn(f"  look: autoglm {_where_to_look(failed, run, _quoted(name))}")
    more = view.failure_count - min(len(view.failures), _SHOWN_FAILURES)
    if more > 0:
        warn(f"… and {more:,} more: autoglm show {run} --status failed")
    if report.error is not None and report.error["code"] in _AT_END:
        head = styled(f"{icon_of('failed')} run {harmless(report.run_id)}", style_of("failed"), sys.stderr)
        warn(f"{head}  {report.error['code']}: {clip(harmless(report.error['message']), _MAX_WIDTH)}")
        if report.error.get("hint"):
            warn(f"  hint: {harmless(report.error['hint'])}")
    elif not view.failures and report.error is not None:
        warn(f"{report.error['code']}: {clip(harmless(report.error['message']), _MAX_WIDTH)}")
    if report.status in ("failed", "cancelled"):
        warn(f"run again what failed, and what hangs on it: autoglm retry {run}")
    else:
        if report.paused:
            warn(f"it was paused: {clip(harmless(report.paused), _MAX_WIDTH)}")
        warn(f"the run is not over; continue it: autoglm resume {run}")


def _where_to_look(failed: Failed, run: str, task: str) -> str:
    """Return the command that tells more: where in the author's code it was raised, what was written, or why."""
    if "traceback" in (failed.failure.details or {}):
        return f"show {run} {task}"
    return f"logs {run} --task {task}" if failed.attempt else f"explain {run} {task}"


def clipped_json(value: Any, everything: str) -> Iterable[str]:
    """Yield pretty JSON, line by line, and where to find ``everything`` when it is too long to show."""
    lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
    was_clipped = len(lines) > _MAX_LINES
    for line in lines[:_MAX_LINES]:
        was_clipped |= len(line) > _MAX_WIDTH
        yield clip(harmless(line), _MAX_WIDTH)
    if was_clipped:
        yield f"… all of it: {everything}"


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
