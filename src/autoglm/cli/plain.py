"""A run as plain lines, one a change, for pipes, files and continuous integration."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from autoglm.base.durations import format_duration
from autoglm.cli.measure import clip, duration_of, harmless
from autoglm.cli.outlet import MOST_WAITING, backlog
from autoglm.cli.rows import Progress, TaskView
from autoglm.cli.view import Change, RunView
from autoglm.engine.waiting import in_words

if TYPE_CHECKING:
    from autoglm.engine.messages import Event
    from autoglm.stores.protocol import LogLine

PROGRESS_SECONDS = 3.0
_ITEM_LINES = 20
"""Failures and retries of a loop's items that get a line each; further ones are counted in its progress."""
_FAILED = ("failed", "timeout", "terminated")


class PlainPrinter:
    """Watches a run and writes lines such as ``12:03:04 fetch succeeded in 0.4s``."""

    def __init__(self, view: RunView, out: TextIO, *, verbose: bool = False, quiet: bool = False) -> None:
        self.view = view
        self._out = out
        self._verbose = verbose
        self._quiet = quiet
        self._told: dict[str, int] = {}
        self._progress_at: dict[str, float] = {}
        self._left_out = 0

    def on_events(self, events: Sequence[Event], at: float) -> None:
        """Take in what happened and write what there is to say about it."""
        before = self.view.status
        lines = []
        for event in events:
            change = self.view.take(event, at)
            if change is not None:
                lines += self._lines(change)
        if self.view.status != before and self.view.status in ("paused", "cancelling"):
            why = f": {harmless(self.view.pause_reason)}" if self.view.status == "paused" else ""
            lines.append(f"run {self.view.status}{why.removesuffix(': ')}")
        self._write(lines, at)

    def on_log(self, line: LogLine) -> None:
        """Write a task's own line, when asked to be verbose."""
        if self._verbose and not self._quiet:
            self._write([f"{line.task} | {harmless(line.text)}"], line.at)

    def tell_questions(self, at: float) -> None:
        """Write what a run that is continued waits for already; what has waited for too long goes on by itself."""
        view = self.view
        lines = []
        asked = [(task, each) for task, each in view.questions.items() if each.deadline is None or at < each.deadline]
        for task, question in asked[:_ITEM_LINES]:
            answer = f" (answer: {view.how_to_answer(task, question)})"
            lines.append(f"{harmless(task)} waits{_tail(harmless(in_words(question)))}{answer}")
        if len(asked) > _ITEM_LINES:
            more = len(asked) - _ITEM_LINES
            lines.append(f"{more:,} more wait: autoglm show {view.run_id}{view.where}")
        self._write(lines, at)

    def say(self, text: str, at: float) -> None:
        """Write a line of our own."""
        self._write([text], at)

    def stop(self) -> None:
        """Write how many lines are missing at the end, if any are."""
        missing, self._left_out = self._left_out, 0
        if missing:
            self._put([_missing(missing)], time.time())

    def _write(self, lines: list[str], at: float) -> None:
        if not lines or self._quiet:
            return
        if backlog(self._out) > MOST_WAITING:
            self._left_out += len(lines)
            return
        missing, self._left_out = self._left_out, 0
        self._put([_missing(missing), *lines] if missing else lines, at)

    def _put(self, lines: list[str], at: float) -> None:
        stamp = time.strftime("%H:%M:%S", time.localtime(at))
        try:
            self._out.write("".join(f"{stamp} {line}\n" for line in lines))
            self._out.flush()
        except OSError:  # nobody reads any more, or the disk is full: no reason to stop the run
            self._quiet = True

    def _lines(self, change: Change) -> list[str]:
        if not change.is_item:
            return [line] if (line := _sentence(change)) else []
        lines = []
        if change.status in (*_FAILED, "retrying") or change.hint:
            told = self._told[change.view.path] = self._told.get(change.view.path, 0) + 1
            if told <= _ITEM_LINES:
                lines.append(_sentence(change))
            elif told == _ITEM_LINES + 1:
                lines.append(f"{change.view.path}: further failures of items are only counted")
        last = self._progress_at.setdefault(change.view.path, change.at)
        if change.at - last >= PROGRESS_SECONDS:
            self._progress_at[change.view.path] = change.at
            lines.append(_progress(change.view, change.at))
        return lines


def _missing(lines: int) -> str:
    return f"… {lines:,} lines are missing here: they were not read fast enough"


def _sentence(change: Change) -> str:
    task, status = harmless(change.task), change.status
    took = "" if change.seconds is None else f" after {duration_of(change.seconds)}"
    if status == "running":
        if change.view.is_loop and not change.is_item:
            progress = _own_progress(change)
            total = progress.total if progress is not None else None
            return f"{task} started" + (f", {total:,} items" if total is not None else "")
        return f"{task} started" if change.attempt <= 1 else f"{task} started, attempt {change.attempt}"
    if status == "succeeded":
        took = "" if change.seconds is None else f" in {duration_of(change.seconds)}"
        return f"{task} succeeded{took}{_items_told(change)}{_tail(change.detail)}"
    if status == "retrying":
        wait = format_duration(max(0.0, (change.retry_at or change.at) - change.at))
        most = change.view.most_of(change.attempt + 1, change.before)
        return f"{task} failed{took}, retry {change.attempt + 1}/{most} in {wait}{_tail(change.detail)}"
    if status == "paused":
        wait = "" if change.retry_at is None else f" for {format_duration(max(0.0, change.retry_at - change.at))}"
        answer = f" (answer: {change.hint})" if change.hint else ""
        return f"{task} waits{wait}{_tail(change.detail)}{answer}"
    word = {"timeout": "timed out", "terminated": "gave up", "rolled_back": "was rolled back"}.get(status, status)
    hint = f" (hint: {harmless(change.hint)})" if change.hint else ""
    return f"{task} {word}{took if status != 'skipped' else ''}{_tail(change.detail)}{hint}"


def _items_told(change: Change) -> str:
    progress = _own_progress(change)
    if progress is None or change.is_item:
        return ""
    failed = f", {progress.failed:,} failed" if progress.failed else ""
    return f", {progress.ended:,} items{failed}"


def _own_progress(change: Change) -> Progress | None:
    """Return the progress of this loop alone; a loop within another one is counted with the others of its name."""
    return None if change.view.is_repeated else change.view.progress


def _tail(detail: str) -> str:
    return f": {clip(detail, 400)}" if detail else ""


def _progress(view: TaskView, at: float) -> str:
    progress = view.progress
    if progress is None:
        return f"{view.path} goes on"
    of = f"/{progress.total:,}" if progress.total is not None else ""
    rate = progress.rate(at)
    speed = f", {rate:,.1f}/s" if rate is not None else ""
    left = (
        ""
        if rate is None or not progress.total
        else f", ETA {format_duration((progress.total - progress.ended) / rate)}"
    )
    failed = f", {progress.failed:,} failed" if progress.failed else ""
    return f"{harmless(view.path)} {progress.ended:,}{of}{speed}{left}{failed}"
