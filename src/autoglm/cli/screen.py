"""A run on a terminal: a :class:`RunView` as rows of text, whatever its size.

What is running comes first, then what failed, then what ended last, then what comes next; the rest is one summary line.
What is shown stands in the order of the file, so that it stays calm.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from autoglm.base.durations import format_duration
from autoglm.cli.icons import icon_of, style_of
from autoglm.cli.measure import harmless, width_of
from autoglm.cli.rows import ENDED, Line, TaskView, fit, item_rows, task_row
from autoglm.cli.usage import short_usage
from autoglm.cli.view import RunView
from autoglm.engine.waiting import in_words

if TYPE_CHECKING:
    from rich.console import Group

_ITEM_ROWS = 4
_SHOWN_QUESTIONS = 3


def render(view: RunView, now: float, width: int, height: int) -> Group:
    """Return the view as something rich can show, ``width`` columns wide and at most ``height`` rows high."""
    from rich.console import Group
    from rich.text import Text

    texts = [Text.assemble(*row, no_wrap=True, end="\n") for row in screen(view, now, width, height)]
    return Group(*texts)


def screen(view: RunView, now: float, width: int, height: int) -> list[Line]:
    """Return header, rows and footer."""
    asked = _questions(view, width, min(2 * _SHOWN_QUESTIONS, max(0, height - 4)))
    body = [*_rows(view, now, width, max(1, height - 2 - len(asked))), *asked]
    # The terminal echoes ^C after the last line: with no room for it there, everything would move up by one.
    return [fit(_header(view, now), width), *body, fit(_footer(view), width - 4)]


def _questions(view: RunView, width: int, height: int) -> list[Line]:
    """Return two rows for each of the first open questions: what is asked, and the command that answers."""
    lines: list[Line] = []
    for task, question in islice(view.questions.items(), height // 2):
        words = f"‖ {harmless(task)} waits for {'' if question.kind == 'signal' else 'an answer: '}"
        lines.append(fit([(f"{words}{harmless(in_words(question))}", style_of("paused"))], width))
        lines.append(fit([(f"    {view.how_to_answer(task, question)}", "bold")], width))
    return lines


def _header(view: RunView, now: float) -> Line:
    line = [
        (f"{icon_of(view.status)} ", style_of(view.status)),
        (harmless(view.workflow), "bold"),
        (f"  run {view.run_id}  ", ""),
        (view.status, style_of(view.status)),
        (f"  {format_duration(view.elapsed(now))}", ""),
    ]
    if view.status == "paused" and view.pause_reason:
        line.append((f"  {harmless(view.pause_reason)}", style_of("paused")))
    return [*line, ("  REHEARSAL: no model is asked", "bold yellow")] if view.offline else line


def _footer(view: RunView) -> Line:
    counts = view.counts
    ended = sum(counts.get(status, 0) for status in ENDED)
    line: Line = [(f"{view.note}  ", "bold yellow")] if view.note else []
    line.append((f"{ended:,}/{len(view.all_tasks()):,} tasks ended", "dim"))
    for status in ("running", "retrying", "paused"):
        if counts.get(status):
            line.append((f"  {icon_of(status)} {counts[status]:,} {status}", style_of(status)))
    if view.failure_count:
        plural = "s" if view.failure_count != 1 else ""
        line.append((f"  {icon_of('failed')} {view.failure_count:,} failure{plural}", style_of("failed")))
    if used := short_usage(view.usage):
        line.append((f"  {used}", "dim"))
    return [*line, (f"  {view.hint}", "dim")] if view.hint else line


def _rows(view: RunView, now: float, width: int, height: int) -> list[Line]:
    """Return one line a task as far as ``height`` allows, items of loops where there is room, and a summary."""
    tasks = view.all_tasks()
    shown = tasks if len(tasks) <= height else _chosen(view, height - 1)
    room = height - len(shown) - (len(shown) < len(tasks))
    column = max((2 * task.depth + width_of(task.name) for task in shown), default=0)
    column = min(column, max(8, width // 3))
    lines: list[Line] = []
    for task in shown:
        lines.append(fit(task_row(task, now, column, width), width))
        if task.is_loop and task.active and room > 0:
            items = item_rows(task, now, width, min(room, _ITEM_ROWS))
            room -= len(items)
            lines.extend(items)
    if len(shown) < len(tasks):
        lines.append(fit(_rest(view, shown), width))
    return lines


def _chosen(view: RunView, budget: int) -> list[TaskView]:
    """Return the tasks of most interest, and what they lie in, in the order of the file."""
    chosen: dict[str, TaskView] = {}
    for task in view.by_interest(budget):
        family = [task]
        while family[-1].parent is not None and family[-1].parent.path not in chosen:
            family.append(family[-1].parent)
        if len(chosen) + len(family) <= budget:
            chosen.update((each.path, each) for each in family)
        if len(chosen) >= budget:
            break
    return sorted(chosen.values(), key=lambda task: task.order)


def _rest(view: RunView, shown: Sequence[TaskView]) -> Line:
    counts = view.counts
    for task in shown:
        counts[task.status] -= 1
    told = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()) if count)
    return [(f"… {len(view.all_tasks()) - len(shown):,} more: {told}", "dim")]
