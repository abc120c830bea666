"""What a large run costs, counted: bytes an item, and instances touched an event. Never seconds."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest

from autoglm.engine import messages as m
from autoglm.engine.codec import encode_record
from autoglm.engine.machine import MOST_EVENTS, Run
from autoglm.engine.state import Instance
from autoglm.graph.compile import compile_graph
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import Loop, Retry, Workflow

from .flows import task, workflow

WIDE = Catalog(executor_limits={"inline": 64})


def start(flow: Workflow, **inputs: object) -> tuple[Run, list[m.Command]]:
    run = Run(compile_graph(flow, WIDE), lambda blob: b"null")
    created = m.RunCreated("run-1", "flow", m.Blob("0" * 64, 1), dict(inputs))
    return run, run.handle([m.Create(created, b"{}"), m.Begin()], 1000.0).commands


def finish(run: Run, commands: list[m.Command], size: int) -> int:
    """Let every attempt succeed, in batches; return the number of bytes that were journaled."""
    journaled = 0
    while commands:
        news: list[m.Stimulus] = []
        for command in commands:
            match command:
                case m.StartAttempt():
                    news.append(m.AttemptReturned(command.task, command.attempt, b"1"))
                case m.ReadItems():
                    end = min(command.first + command.count, size)
                    news.append(
                        m.ItemsArrived(command.task, command.first, list(range(command.first, end)), end == size)
                    )
        decision = run.handle(news, 1001.0)
        run.touched.clear()
        journaled += len(encode_record(1001.0, decision.events))
        commands = decision.commands
    assert run.status == "succeeded"
    return journaled


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "loop"),
    [
        (100_000, Loop(over="{{ range(100000) }}")),
        (20_000, Loop(file="rows.jsonl")),
        (20_000, Loop(over="{{ range(20000) }}", max_parallel=8)),
    ],
)
def test_an_item_of_a_loop_costs_a_few_bytes(size: int, loop: Loop) -> None:
    run, commands = start(workflow(task("a", loop=loop, retry=Retry(), timeout=60.0, arguments={"x": "{{ item }}"})))
    gc.collect()
    tracemalloc.start()
    journaled = finish(run, commands, size)
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept <= 200 * size
    assert peak <= 300 * size
    assert journaled <= 250 * size
    assert len(run._timers) < 5_000, "timers of attempts that have ended do not pile up"


@pytest.mark.slow
@pytest.mark.parametrize("collect", [None, "index"])
def test_iterations_that_follow_one_another_leave_memory(collect: str | None) -> None:
    size = 100_000
    loop = Loop(until=f"index == {size - 1}", max_iterations=size, collect=collect)
    run, commands = start(workflow(task("a", loop=loop, arguments={"x": "{{ previous }}"}, timeout=60.0)))
    for _ in range(1000):  # what the first iterations bring about stays
        commands = run.handle([m.AttemptReturned(commands[0].task, 1, b"1")], 1001.0).commands  # type: ignore[attr-defined]
        run.touched.clear()
    gc.collect()
    tracemalloc.start()
    finish(run, commands, size)
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept <= (100_000 if collect is None else 60 * size)
    assert peak <= (300_000 if collect is None else 70 * size)
    assert len(run._timers) < 5_000


class Watched(Run):
    """A run that counts the instances it makes and the events it emits."""

    made = emitted = 0

    def emit(self, event: m.Event, about: Instance | None = None) -> None:
        self.emitted += 1
        super().emit(event, about)


def emitted_for_one_result(size: int) -> int:
    """Return the events of one success in the midst of ``size`` tasks, and that nothing else was looked at."""
    tasks = [task("a"), task("b", "a"), *(task(f"t{n}", f"t{n - 1}" if n else "") for n in range(size))]
    run = Watched(compile_graph(workflow(*tasks), WIDE), lambda blob: b"null")
    created = m.RunCreated("run-1", "flow", m.Blob("0" * 64, 1))
    run.handle([m.Create(created, b"{}"), m.Begin()], 1.0)
    run.emitted = 0
    run.touched.clear()
    run.handle([m.AttemptReturned("a", 1)], 2.0)
    assert {instance.id for instance in run.touched.values()} == {"a", "b"}
    return run.emitted


def test_the_work_of_a_result_does_not_grow_with_the_graph() -> None:
    assert emitted_for_one_result(10) == emitted_for_one_result(5000) == 2


def test_what_is_decided_at_once_is_bounded_however_much_there_is() -> None:
    size = 3 * MOST_EVENTS
    skips = task("a", when="item < 0", loop=Loop(over=f"{{{{ range({size}) }}}}"))
    run = Run(compile_graph(workflow(skips), WIDE), lambda blob: b"null")
    created = m.RunCreated("run-1", "flow", m.Blob("0" * 64, 1), {})
    decided = [len(run.handle([m.Create(created, b"{}"), m.Begin()], 1.0).events)]
    while run.is_unsettled:
        decided.append(len(run.handle([], 1.0).events))
    assert run.is_final
    assert len(decided) > 3
    assert max(decided) < MOST_EVENTS + 10
    assert run.counts == {"skipped": size, "succeeded": 1, "running": 0}


def lines_run(size: int) -> int:
    """Return how many lines of the engine one result runs, in the midst of ``size`` tasks that wait."""
    tasks = [task("a"), task("b", "a"), task("gate"), *(task(f"t{n}", "gate") for n in range(size))]
    run, _ = start(workflow(*tasks))
    count = 0

    def trace(frame: object, event: str, arg: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        run.handle([m.AttemptReturned("a", 1)], 2.0)
    finally:
        sys.settrace(before)
    return count


def test_not_one_line_more_is_run_in_a_large_graph() -> None:
    assert lines_run(20) == lines_run(3000)


def test_instances_are_made_when_they_are_first_heard_of() -> None:
    tasks = [task("a"), *(task(f"t{n}", f"t{n - 1}" if n else "a") for n in range(1000))]
    run, _ = start(workflow(*tasks))
    assert sum(isinstance(instance, Instance) for instance in run.root.instances) == 1
