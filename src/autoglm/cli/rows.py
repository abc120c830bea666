"""One task on the screen: what is known of it, and the row that tells it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from autoglm.base.durations import format_duration
from autoglm.cli.icons import icon_of, style_of
from autoglm.cli.measure import clip, duration_of, harmless, pad, width_of
from autoglm.engine.states import FAILURES

Line = list[tuple[str, str]]
"""One row of the screen: texts, each with a rich style."""

_SAMPLE_SECONDS = 0.5
FAILED = frozenset(status.value for status in FAILURES)
ENDED = FAILED | {"succeeded", "skipped", "cancelled", "rolled_back"}


@dataclass(slots=True)
class Active:
    """An instance that runs, or waits for its next attempt until ``due``."""

    task: str
    started_at: float
    attempt: int
    due: float | None = None
    error: str = ""
    log: str = ""
    waits: str = ""
    """What it waits for, while it is paused."""
    before: int = 0
    """Attempts made before the run was reopened: they do not count against the task's maximum."""


@dataclass(slots=True)
class Progress:
    """How far the instances of a loop have come; ``samples`` of (time, ended) give the rate."""

    total: int | None = 0
    ended: int = 0
    failed: int = 0
    cancelled: int = 0
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=20))

    def note(self, at: float) -> None:
        if not self.samples or at - self.samples[-1][0] >= _SAMPLE_SECONDS:
            self.samples.append((at, self.ended))

    def rate(self, now: float) -> float | None:
        """Return items a second over the last samples, None before there is anything to tell."""
        if not self.samples:
            return None
        at, ended = self.samples[0]
        seconds = now - at
        return (self.ended - ended) / seconds if seconds >= _SAMPLE_SECONDS and self.ended > ended else None


@dataclass(slots=True)
class TaskView:
    """One task of the file, all its instances together."""

    path: str
    name: str
    depth: int
    order: int
    parent: TaskView | None = None
    max_attempts: int = 1
    is_loop: bool = False
    is_group: bool = False
    is_repeated: bool = False
    """It stands inside a loop: its status is that of many instances."""
    may_fail: bool = False
    """``on_error: continue``: what it belongs to goes on all the same."""
    status: str = "pending"
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    upstream_failed: bool = False
    """It was skipped because something before it failed."""
    progress: Progress | None = None
    active: dict[str, Active] = field(default_factory=dict)

    @property
    def is_tolerated(self) -> bool:
        """Its failure, or that of what is in it, does not fail the run."""
        at: TaskView | None = self
        while at is not None:
            if at.may_fail or (at.status == "succeeded" and not at.is_repeated):
                return True
            at = at.parent
        return False

    def most_of(self, attempt: int, before: int) -> int:
        """Return the number of the last attempt there may be, where ``before`` were made before this began again."""
        return max(before + self.max_attempts, attempt)


def task_row(view: TaskView, now: float, column: int, width: int) -> Line:
    """Return the row of a task; ``column`` is how wide names are."""
    status = "running" if view.is_repeated and view.active else view.status
    indent = "  " * view.depth
    name = pad(f"{indent}{view.name}", column)
    start: Line = [
        (f"{indent}{icon_of(status)} ", style_of(status)),
        (f"{name[len(indent) :]}  ", "dim" if status in ("pending", "skipped") else ""),
    ]
    return [*start, *_told(view, status, now, width)]


def _told(view: TaskView, status: str, now: float, width: int) -> Line:
    """Return what there is to say about a task in its state."""
    if view.progress is not None and status != "skipped" and (view.progress.ended or status == "running"):
        return _bar(view.progress, now, max(10, width // 5), status)
    if status in FAILED:
        return [(view.error, style_of(status))]
    if status == "skipped":
        return [(f"skipped: {view.error}" if view.error else "skipped", "dim")]
    if view.active and view.is_repeated:
        return [(f"{len(view.active):,} running", "")]
    if view.active:
        return _active(next(iter(view.active.values())), view, now)
    if view.started_at is None or status == "pending":
        return []
    end = view.ended_at if status in ENDED and view.ended_at is not None else now
    took = duration_of(end - view.started_at)
    return [(f"{took}  {view.error}" if view.error else took, "dim" if status == "succeeded" else "")]


def item_rows(view: TaskView, now: float, width: int, count: int) -> list[Line]:
    """Return rows for the items that have been running longest."""
    rows = []
    for active in islice(view.active.values(), count):
        label = active.task[active.task.rfind(".") + 1 :][len(view.path.rpartition(".")[2]) :]
        status = "paused" if active.waits else "retrying" if active.due is not None else "running"
        start: Line = [(f"{'  ' * (view.depth + 1)}{icon_of(status)} ", style_of(status)), (f"{label}  ", "dim")]
        rows.append(fit([*start, *_active(active, view, now)], width))
    return rows


def _active(active: Active, view: TaskView, now: float) -> Line:
    if active.waits:
        line: Line = [(f"{active.waits}  ", style_of("paused"))]
        return line if active.due is None else [*line, (f"{format_duration(max(0.0, active.due - now))} left", "dim")]
    if active.due is not None:
        wait = format_duration(max(0.0, active.due - now))
        return [
            (
                f"retry {active.attempt + 1}/{view.most_of(active.attempt + 1, active.before)} in {wait}  ",
                style_of("retrying"),
            ),
            (active.error, "dim"),
        ]
    line = [(format_duration(max(0.0, now - active.started_at)), "")]
    if active.attempt > 1:
        most = view.most_of(active.attempt, active.before)
        line.append((f"  attempt {active.attempt}/{most}", style_of("retrying")))
    if active.log:
        line.append((f"  │ {harmless(active.log)}", "dim"))
    return line


def _bar(progress: Progress, now: float, width: int, status: str) -> Line:
    line: Line = []
    if progress.total is None:
        line.append((f"{progress.ended:,} done", ""))
    else:
        full = width if not progress.total else width * progress.ended // progress.total
        full = min(width, full)
        line += [("━" * full, style_of(status)), ("─" * (width - full), "dim")]
        line.append((f" {progress.ended:,}/{progress.total:,}", ""))
    rate = progress.rate(now) if status == "running" else None
    if rate is not None:
        line.append((f"  {_rate(rate)}", "dim"))
        left = None if progress.total is None else progress.total - progress.ended
        if left:
            line.append((f"  ETA {format_duration(left / rate)}", "dim"))
    if progress.failed:
        line.append((f"  {progress.failed:,} failed", style_of("failed")))
    return line


def _rate(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * 60:.1f}/min"


def fit(line: Line, width: int) -> Line:
    """Cut a line at ``width`` columns."""
    fitted: Line = []
    left = width
    for text, style in line:
        if left <= 0:
            break
        text = clip(text, left)
        left -= width_of(text)
        if text:
            fitted.append((text, style))
    return fitted
