"""Golden journal histories: runs as older versions wrote them, replayed by today's code.

Each file in ``tests/golden/histories`` is a run: its workflow, its records with one event a line, and how it stood in
the end. A file is never edited when the format changes: an upcaster lifts what it holds (``engine/codec.py``), and the
test that writes today's history gets a file of a new name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autoglm.base.errors import Failure
from autoglm.engine import messages as m
from autoglm.engine.codec import decode_record
from autoglm.engine.machine import Run
from autoglm.engine.state import stored_text
from autoglm.graph.compile import compile_graph
from autoglm.spec.model import Degrade, Effects, Loop, OnError, Retry, StandIn, Workflow
from tests.golden import check_golden

from .flows import approval, each, group, task, wait, workflow
from .world import CATALOG, World, compiled

FOLDER = Path(__file__).parent.parent / "golden" / "histories"
STEADY = Retry(max_attempts=2, delay=1.0, jitter="none")


def decided() -> World:
    """A decision takes one branch; the other is skipped, and the join runs."""
    rules = {"conditions": [{"rule": "result.score > 8", "action": "fast"}], "default": "slow"}
    world = World(
        workflow(
            task("score", arguments={"of": "{{ inputs.topic }}"}, result={"score": "{{ output }}"}),
            task("route", "score", type="decision", executor=None, options=rules),
            task("fast", "route"),
            task("slow", "route"),
            task("end", "fast slow"),
            outputs={"said": "{{ tasks.end.result }}"},
        ),
        topic="tides",
    )
    world.succeed("score", b"9")
    world.succeed("fast", b"null")
    world.succeed("end", b'"done"')
    return world


def retries() -> World:
    """One task succeeds at its second attempt, one is given up, one stands in for itself, one is tolerated."""
    world = World(
        workflow(
            task("again", retry=STEADY),
            task("given-up", retry=STEADY),
            task("spare", on_error=Degrade(degrade={"from": "{{ error.code }}"})),
            task("tolerated", on_error=OnError.CONTINUE),
            task("after", "given-up"),
        )
    )
    world.fail("again", "http-error", retry_after=0.5)
    world.fail("given-up")
    world.fail("spare", usage={"calls": 1})
    world.fail("tolerated", retryable=False)
    world.pass_time(1.0)
    world.succeed("again", b"2")
    world.fail("given-up")
    return world


def loop_over_file() -> World:
    """A loop reads a file in windows, skips a row, and collects; one item of another loop fails, which is enough."""
    world = World(
        workflow(
            task("rows", loop=Loop(file="rows.jsonl", collect="{{ [index, result] }}"), when="{{ item.n != 2 }}"),
            task("most", loop=each(1, 2, min_success=0.5)),
        )
    )
    world.items("rows", [{"n": 1}, {"n": 2}], last=False)
    world.fail("most[0]")
    world.succeed("most[1]", b'"fine"')
    world.succeed("rows[0]", b"10")
    world.items("rows", [{"n": 3}], last=True)
    world.succeed("rows[2]", b"30")
    return world


def groups() -> World:
    """A loop over a group with a loop inside; a group whose time is up, with a thread that cannot be stopped."""
    world = World(
        workflow(
            group("page", task("read"), task("part", "read", loop=Loop(over="{{ result }}")), loop=each("p", "q")),
            group("slow", task("stuck"), timeout=5.0, on_error=OnError.CONTINUE),
        )
    )
    world.succeed("page[1].read", b"[]")
    world.succeed("page[0].read", b"[1]")
    world.succeed("page[0].part[0]", b'"x"')
    world.pass_time(5.0)
    world.stopped("slow.stuck", abandoned=True)
    return world


def fail_fast() -> World:
    """An item fails and the rest is stopped; a retry that waits is given up."""
    world = World(workflow(task("a", loop=each(1, 2, 3, fail_fast=True), retry=Retry(jitter="none", on=("soft",)))))
    world.fail("a[0]", "soft")
    world.fail("a[1]", "hard")
    world.stopped("a[2]")
    return world


def cancelled_and_reopened() -> World:
    """Cancelled while one task runs, one waits for its retry and one has not begun; then done after all."""
    world = World(workflow(task("kept"), task("stopped"), task("waits", retry=STEADY), task("last", "stopped")))
    world.succeed("kept", b"1")
    world.fail("waits")
    world.handle(m.Cancel("enough"))
    world.stopped("stopped")
    world.now += 60.0
    world.handle(m.Reopen())
    world.handle(m.Pause())
    world.handle(m.Resume())
    for name in ("stopped", "waits", "last"):
        world.succeed(name, b"2")
    return world


def recovered() -> World:
    """The process is lost twice; what ran is owed again, and a late result is noted and not used."""
    world = World(workflow(task("a", timeout=5.0, retry=STEADY), task("b", "a")))
    world.handle(m.StateWritten("cursor", b'{"page":3}'), m.StateWritten("gone", b"1"), m.StateWritten("gone", None))
    world.pass_time(3.0)
    world.crash()
    world.pass_time(5.0)
    world.stopped("a", abandoned=True)
    world.pass_time(1.0)
    world.handle(m.AttemptReturned("a", 1, b'"late"'))
    world.crash()
    world.succeed("a", b'"' + b"x" * m.INLINE_LIMIT + b'"')
    world.succeed("b", b"1")
    return world


def failed_before_it_began() -> World:
    """Inputs that cannot be built, a list that is none, a file that is not there, outputs that cannot be computed."""
    world = World(
        workflow(
            task("inputs", arguments={"x": "{{ 1 / inputs.zero }}"}, on_error=OnError.CONTINUE),
            task("loop", loop=Loop(over="{{ 'text' }}"), on_error=OnError.CONTINUE),
            task("file", loop=Loop(file="gone.csv"), on_error=OnError.CONTINUE),
            outputs={"x": "{{ tasks.inputs.result.missing }}"},
        ),
        zero=0,
    )
    world.reading.clear()
    world.handle(m.ItemsFailed("file", Failure("source-not-found", "gone.csv does not exist", retryable=False)))
    return world


def until() -> World:
    """A loop goes on until something is true, waits between its iterations, and collects; one that fails goes on."""
    world = World(
        workflow(
            task("ask", loop=Loop(until="result.ready", max_iterations=5, delay=30.0, collect="result.n")),
            task("halve", loop=Loop(while_="previous > 1", initial=8, max_iterations=2)),
        )
    )
    world.succeed("ask[0]", b'{"n": 1, "ready": false}')
    world.succeed("halve[0]", b"4")
    world.pass_time(30.0)
    world.fail("ask[1]")
    world.succeed("halve[1]", b"2")
    world.handle(m.Reopen())
    world.succeed("ask[1]", b'{"n": 2, "ready": true}')
    world.succeed("halve[2]", b"1")
    return world


def parked() -> World:
    """One attempt parks twice with a memo, is lost and goes on; one is woken; one is cancelled where it stands."""
    world = World(workflow(task("polls", timeout=5.0), task("called", "polls"), task("left", "polls")))
    world.pass_time(2.0)
    world.park("polls", world.now + 60.0, b'{"job":7}', calls=1)
    world.crash()
    world.pass_time(60.0)
    world.park("polls", world.now + 60.0, b'{"job":8}')
    world.pass_time(60.0)
    world.crash()
    world.succeed("polls", b'"done"')
    world.park("called")
    world.park("left")
    world.handle(m.Wake("called"))
    world.succeed("called")
    world.handle(m.Cancel("enough"))
    return world


def stepwise() -> World:
    """One attempt records steps and fails; the next one, lost once, finds them and records another, and parks."""
    world = World(workflow(task("agent", retry=STEADY)))
    world.step("agent", "ask", b'{"tool":"search"}')
    world.step("agent", "search", b"null")
    world.fail("agent")
    world.pass_time(1.0)
    world.crash()
    world.step("agent", "ask again", b'"found"')
    world.park("agent", world.now + 5.0)
    world.pass_time(5.0)
    world.step("agent", "search")
    world.succeed("agent", b"3")
    return world


def corrected() -> World:
    """A task runs when the file changes: it is begun anew, one is new, one is gone; then one is done again by name."""
    world = World(workflow(task("kept"), task("edited", "kept"), task("gone", "kept")))
    for name in ("kept", "gone"):
        world.succeed(name)
    world.adopt(workflow(task("kept"), task("edited", "kept", arguments={"x": 1}), task("new", "edited")))
    world.succeed("edited", b"2")
    world.succeed("new", b"3")
    world.handle(m.Reopen(("new",)))
    world.succeed("new", b"4")
    return world


def people() -> World:
    """Answers of every kind: approved with data, rejected, too late, refused, a signal, a time; an outcome unknown."""
    form = {"type": "object", "required": ["n"]}
    world = World(
        workflow(
            approval("asked", form=form, who=["ann"]),
            approval("again", on_reject="continue"),
            approval("late", deadline=60, on_deadline="reject", fields={"on_error": OnError.CONTINUE}),
            wait("called", signal="paid"),
            wait("slept", seconds=30),
            task("paid", effects=Effects.GUARDED),
        )
    )
    world.answer("asked", by="bob", data={"n": 1})
    world.answer("asked", data={"n": 1}, comment="fine", ref=3)
    world.answer("again", False)
    world.signal("paid", {"sum": 7})
    world.crash()
    world.answer("paid")
    world.pass_time(60.0)
    world.succeed("paid")
    return world


def rolled_back() -> World:
    """A run fails late: items, a group's task and a task are undone, one of them not; then it is told and tidied up."""
    undo = {"executor": "inline", "arguments": {"of": "{{ result }}"}}
    world = World(
        workflow(
            task("seats", loop=each("a", "b", as_="seat"), rollback=task("free", **undo)),
            group("order", task("reserve", rollback=task("release", **undo, retry=STEADY)), task("pack", "reserve")),
            task("ship", "seats order"),
            on_error=(task("tell", arguments={"what": "{{ error.code }} of {{ error.task }}"}),),
            finally_=(task("tidy", arguments={"after": "{{ run.status }}"}), task("close", "tidy")),
        )
    )
    world.succeed("seats[0]", b'"1A"')
    world.succeed("order.reserve", b"7")
    world.succeed("seats[1]", b'"1B"')
    world.succeed("order.pack")
    world.fail("ship")
    world.succeed("seats[1]~rollback")
    world.fail("order.reserve~rollback")
    world.crash()
    world.pass_time(1.0)
    world.succeed("seats[0]~rollback")
    world.fail("order.reserve~rollback")
    world.succeed("on_error.tell")
    world.succeed("finally.tidy")
    world.fail("finally.close")
    return world


def stood_in() -> World:
    """What stands in for a task runs when it failed for good; one such fails too, and an item's is lost and found."""
    spare = task("spare", arguments={"why": "{{ error.code }}"}, retry=STEADY)
    world = World(
        workflow(
            task("saved", fallback=spare),
            task("lost", fallback=spare.model_copy(update={"retry": None}), on_error=OnError.FAIL),
            task("each", loop=each("a", "b"), on_error=StandIn(task="spare")),
            task("spare", arguments={"it": "{{ item }}"}),
        )
    )
    world.fail("saved")
    world.fail("lost", "bang")
    world.fail("saved~fallback")
    world.succeed("each[0]")
    world.fail("each[1]")
    world.crash()
    world.pass_time(1.0)
    world.succeed("each[1]~fallback", b'"b"')
    world.succeed("saved~fallback", b"7")
    world.fail("lost~fallback")
    return world


def called_with_ends() -> World:
    """A called workflow fails: what it did is undone, then it tells of it and tidies up, and its caller goes on."""
    inner = workflow(
        task("take", rollback=task("take", arguments={"what": "{{ result }}"})),
        task("use", "take"),
        on_error=(task("tell", arguments={"why": "{{ error.message }}", "of": "{{ error.task }}"}),),
        finally_=(task("tidy", arguments={"after": "{{ run.status }}"}),),
    )
    call = task("call", type="workflow", executor=None, options={"workflow": "c.yaml"}, on_error=OnError.CONTINUE)
    world = World(workflow(call, task("then", "call"), callees={"c.yaml": inner}))
    world.succeed("call.take", b'"a seat"')
    world.fail("call.use")
    world.succeed("call.take~rollback")
    world.crash()
    world.succeed("call.on_error.tell")
    world.succeed("call.finally.tidy")
    world.succeed("then")
    return world


def item_rolled_back() -> World:
    """An item of a tolerated loop fails and gives back what it had; the run goes on, is cancelled, and retried."""
    world = World(
        workflow(
            group(
                "order",
                task("reserve", rollback=task("release")),
                task("pay", "reserve"),
                loop=each(1, 2, min_success=0.5),
            ),
            task("ship", "order"),
        )
    )
    for name in ("order[0].reserve", "order[1].reserve", "order[0].pay"):
        world.succeed(name)
    world.fail("order[1].pay")
    world.succeed("order[1].reserve~rollback")
    world.handle(m.Cancel("enough"))
    world.stopped("ship")
    world.succeed("order[0].reserve~rollback")
    world.handle(m.Reopen())
    for name in ("order[0].reserve", "order[1].reserve", "order[0].pay", "order[1].pay", "ship"):
        world.succeed(name, b"2")
    return world


HISTORIES: dict[str, Callable[[], World]] = (
    {
        story.__name__: story
        for story in (decided, retries, loop_over_file, groups, fail_fast, cancelled_and_reopened, recovered)
    }
    | {"failed_before_it_began": failed_before_it_began, "until": until, "parked": parked, "stepwise": stepwise}
    | {"corrected": corrected, "people": people}
)
HISTORIES |= {story.__name__: story for story in (rolled_back, item_rolled_back, stood_in, called_with_ends)}


def short(run: Run) -> dict[str, Any]:
    """Return how a run stands, for people to read."""
    seen = run.snapshot()
    outputs = run.outputs
    return {
        "status": seen["status"],
        "outputs": None if outputs is None else msgspec.json.decode(stored_text(outputs, run.load)),
        "error": None if run.failure is None else f"{run.failure.code}: {run.failure.message}",
        "usage": run.usage,
        "state": {key: json.loads(text) for key, text in run.keyed.items()},
        "tasks": {name: _task(*told) for name, told in seen["tasks"].items()},
    }


def _task(status: str, number: int, attempts: int, stopping: Any, result: Any, *rest: Any) -> str:
    loop = rest[-1]
    if loop is not None:
        result = b"[" + b",".join(text or b"null" for text in loop[-1]) + b"]"
    shown = (
        "" if result is None else f" {result.decode()}" if isinstance(result, bytes) else f" blob of {result.size} B"
    )
    return f"{status} after {attempts}{shown}"


def written(world: World) -> str:
    """Return a run as its golden file holds it."""
    flow = world.first.workflow.model_dump_json(by_alias=True, exclude_defaults=True)
    later = [f'"{digest}": {text.decode()}' for digest, text in world.blobs.items() if b'"tasks"' in text]
    lines = ["{", f'"workflow": {flow},']
    if later:
        lines.append(f'"definitions": {{{", ".join(later)}}},')
    lines.append('"records": [')
    for number, payload in enumerate(world.journal, 1):
        record = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        events = msgspec.json.decode(record["events"], type=list[msgspec.Raw])
        comma = "," if number < len(world.journal) else ""
        lines += [
            f"{'{' if first else ' '}{_head(number, record, first)}{bytes(event).decode()}{_tail(last, comma)}"
            for event, first, last in zip(events, _firsts(events), _lasts(events), strict=True)
        ]
    lines += ["],", f'"end": {json.dumps(short(world.run), indent=1, ensure_ascii=False)}', "}"]
    return "\n".join(lines) + "\n"


def _firsts(events: list[Any]) -> list[bool]:
    return [index == 0 for index in range(len(events))]


def _lasts(events: list[Any]) -> list[bool]:
    return [index == len(events) - 1 for index in range(len(events))]


def _head(number: int, record: dict[str, msgspec.Raw], first: bool) -> str:
    return f'"at": {bytes(record["at"]).decode()}, "events": [\n  ' if first else " "


def _tail(last: bool, comma: str) -> str:
    return f"]}}{comma}" if last else ","


@pytest.mark.parametrize("name", HISTORIES)
def test_today_s_code_writes_the_same_history(name: str) -> None:
    world = HISTORIES[name]()
    world.check()
    check_golden(f"histories/{name}.json", written(world))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_today_s_code_replays_every_history(path: Path) -> None:
    history = json.loads(path.read_bytes())
    graph = compile_graph(Workflow.model_validate(history["workflow"]), CATALOG)
    later = {digest: json.dumps(flow).encode() for digest, flow in history.get("definitions", {}).items()}
    run = Run(graph, lambda blob: later.get(blob.digest, b"null"))
    run.compile = compiled
    for raw in history["records"]:
        record = decode_record(msgspec.json.encode(raw))
        for event in record.events:
            run.apply(event, record.at)
    assert short(run) == history["end"]


def test_the_histories_hold_every_event() -> None:
    held = {event["type"] for path in FOLDER.glob("*.json") for record in json.loads(path.read_bytes())["records"]
            for event in record["events"]}  # fmt: skip
    assert held == {kind.__struct_config__.tag for kind in m.Event.__subclasses__()}
