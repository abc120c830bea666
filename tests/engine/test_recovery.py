"""A run whose process is gone: what its journal still owes, and what begins anew."""

from __future__ import annotations

import msgspec
import pytest

from autoglm.base.errors import EngineError
from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Loop, Retry

from .conftest import Play
from .flows import each, group, result, running, status, statuses, task, told


def test_an_attempt_that_ran_is_owed_again_under_the_same_number(play: Play) -> None:
    world = play(task("a", arguments={"x": "{{ inputs.n }}"}), task("b", "a"), inputs={"n": 5})
    before = dict(world.running)
    world.crash()
    again = {key: msgspec.structs.replace(command, recovered=1) for key, command in before.items()}
    assert world.running == again, "the same commands: number, inputs and all"
    assert world.started[("a", 1)] == 2
    world.succeed("a")
    world.succeed("b")
    assert world.run.status is RunStatus.SUCCEEDED


def test_what_was_recorded_is_not_done_again(play: Play) -> None:
    world = play(task("a"), task("b", "a"), task("c", loop=each(1, 2, 3)))
    world.succeed("a")
    world.succeed("c[1]", b"7")
    world.crash()
    assert running(world) == ["c[0]", "c[2]", "b"]
    world.succeed("c[0]")
    world.succeed("c[2]")
    assert result(world, "c") == [1, 7, 1]


def taken_over(command: m.Command) -> m.Command:
    return msgspec.structs.replace(command, recovered=1) if isinstance(command, m.StartAttempt) else command


def test_outstanding_is_what_begin_commands(play: Play) -> None:
    world = play(
        task("a"), task("file", loop=Loop(file="rows.csv")), group("g", task("x", timeout=5.0), loop=each(1)),
        task("wait", retry=Retry(jitter="none")),
    )  # fmt: skip
    world.fail("wait")
    world.pass_time(0.5)
    replayed = world.replayed()
    owed = [taken_over(command) for command in replayed.outstanding()]
    assert world.replayed().handle([m.Begin()], world.now).commands == owed
    assert [type(command) for command in owed] == [m.StartAttempt, m.StartAttempt, m.ReadItems]


def test_an_ended_run_owes_nothing_and_begins_nothing(play: Play) -> None:
    world = play(task("a"))
    world.succeed("a")
    assert world.run.outstanding() == []
    assert world.handle(m.Begin()) == []


def test_deadlines_start_anew_and_retries_keep_their_time(play: Play) -> None:
    world = play(
        task("a", timeout=5.0), group("g", task("x"), timeout=8.0), task("r", retry=Retry(delay=6, jitter="none"))
    )
    world.fail("r")
    world.pass_time(4.0)
    world.crash()
    world.pass_time(2.0)
    assert list(world.running) == [("a", 1), ("g.x", 1), ("r", 2)]
    assert not world.stopping
    world.pass_time(3.0)
    assert world.stopping == {("a", 1)}
    world.pass_time(3.0)
    assert world.stopping == {("a", 1), ("g.x", 1)}


def test_a_stop_that_was_asked_for_is_asked_again(play: Play) -> None:
    world = play(task("a", timeout=5.0))
    world.pass_time(5.0)
    world.crash()
    assert world.stopping == {("a", 1)}
    world.stopped("a")
    assert statuses(world) == {"a": "timeout"}


def test_what_was_decided_but_not_drawn_is_decided_after_the_replay(play: Play) -> None:
    """A journal may end between a success and its successor's start: each record is whole, not each consequence."""
    world = play(task("a"), task("b", "a"))
    world.now += 1
    success = m.AttemptSucceeded("a", 1)
    replayed = world.replayed()
    replayed.apply(success, world.now)
    decision = replayed.handle([m.Begin()], world.now)
    assert told(decision.events) == ["RunRecovered", "AttemptStarted b"]


def test_inputs_that_are_gone_fail_the_attempt_that_needs_them(play: Play) -> None:
    world = play(task("a", arguments={"t": "{{ inputs.token }}"}), inputs={})
    assert statuses(world) == {"a": "failed"}
    other = play(task("a", arguments={"t": "{{ inputs.token }}"}), inputs={"token": 1})
    run = other.replayed()
    run.world.values["inputs"] = {}  # a secret input that was not given again
    decision = run.handle([m.Begin()], other.now)
    assert told(decision.events) == ["RunRecovered", "AttemptFailed a", "RunFailed"]
    assert decision.commands == []


def test_a_crash_before_every_commit_and_after_it(play: Play) -> None:
    world = play(task("a"), group("g", task("x"), task("y", "x"), after="a", loop=each(1, 2)))
    while not world.run.is_final:
        world.crash()
        world.check()
        world.succeed(running(world)[0])
    assert status(world, "g") == "succeeded"


@pytest.mark.parametrize(
    "event",
    [
        m.AttemptStarted("a", 2),
        m.AttemptSucceeded("b", 1),
        m.TaskSkipped("a", "why not"),
        m.RunStarted(),
        m.RunResumed(),
        m.RunReopened(),
        m.GroupStarted("b"),
        m.AttemptStarted("c[1]", 1),
        m.AttemptStarted("c[0].x", 1),
        m.ItemsRead("a", 0, [], True),
    ],
)
def test_an_event_that_cannot_follow_is_ours_to_mend(play: Play, event: m.Event) -> None:
    """``a`` runs, ``b`` waits for it, and ``c`` is a loop that waits for it too."""
    world = play(task("a"), task("b", "a"), task("c", "a", loop=each(1, 2)))
    run = world.replayed()
    with pytest.raises((EngineError, KeyError)):
        run.apply(event, world.now)
