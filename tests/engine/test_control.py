"""What people ask of a run: cancel, pause, resume, and to do again what failed."""

from __future__ import annotations

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.spec.model import Loop, OnError, Retry

from .conftest import Play
from .flows import each, group, reason, result, running, status, statuses, task, told

STEADY = Retry(max_attempts=3, delay=1.0, jitter="none")

# ----------------------------------------------------------------------------------------------------------- cancel


def test_cancel_stops_what_runs_and_starts_nothing_more(play: Play) -> None:
    world = play(task("a"), task("b", "a"))
    events = world.handle(m.Cancel("enough"))
    assert told(events) == ["RunCancelling", "AttemptStopping a"]
    assert isinstance(events[0], m.RunCancelling)
    assert events[0].reason == "enough"
    assert world.run.status is RunStatus.CANCELLING, "an attempt holds the run until it has stopped"
    world.stopped("a")
    assert statuses(world) == {"a": "cancelled", "b": "pending"}
    assert world.run.status is RunStatus.CANCELLED


def test_what_comes_back_before_it_was_stopped_counts(play: Play) -> None:
    world = play(task("a"), task("b", "a"))
    world.handle(m.Cancel())
    world.succeed("a", b"5")
    assert statuses(world) == {"a": "succeeded", "b": "pending"}
    assert world.run.status is RunStatus.CANCELLED


def test_a_failure_while_cancelling_is_not_retried(play: Play) -> None:
    world = play(task("a", retry=STEADY))
    world.handle(m.Cancel())
    world.fail("a")
    assert statuses(world) == {"a": "failed"}
    assert world.run.status is RunStatus.CANCELLED


def test_cancel_ends_what_waits_for_its_retry(play: Play) -> None:
    world = play(task("a", retry=STEADY))
    world.fail("a")
    world.handle(m.Cancel())
    assert statuses(world) == {"a": "cancelled"}
    assert world.run.status is RunStatus.CANCELLED


def test_cancel_goes_down_into_groups_and_loops(play: Play) -> None:
    world = play(group("g", task("a", loop=each(1, 2)), task("b", "a"), loop=each(1)))
    world.handle(m.Cancel())
    assert world.stopping == {("g[0].a[0]", 1), ("g[0].a[1]", 1)}
    world.stopped("g[0].a[0]")
    world.stopped("g[0].a[1]")
    assert statuses(world) == {"g": "cancelled"}
    assert world.run.status is RunStatus.CANCELLED


def test_a_second_cancel_and_one_after_the_end_change_nothing(play: Play) -> None:
    world = play(task("a"))
    world.handle(m.Cancel())
    assert world.handle(m.Cancel()) == []
    world.stopped("a")
    assert world.handle(m.Cancel()) == []


def test_a_cancelled_run_that_was_lost_is_cancelled_by_the_next_process(play: Play) -> None:
    world = play(task("a"))
    world.handle(m.Cancel())
    world.crash()
    assert world.stopping == {("a", 1)}
    world.stopped("a")
    assert world.run.status is RunStatus.CANCELLED


# ------------------------------------------------------------------------------------------------ pause and resume


def test_a_paused_run_finishes_what_runs_and_starts_nothing(play: Play) -> None:
    world = play(task("a"), task("b", "a"))
    world.handle(m.Pause())
    world.succeed("a")
    assert running(world) == []
    assert world.run.status is RunStatus.PAUSED
    world.handle(m.Resume())
    assert running(world) == ["b"]


def test_a_retry_that_is_due_waits_for_the_pause_to_end(play: Play) -> None:
    world = play(task("a", retry=STEADY), task("b", loop=each(1), retry=STEADY))
    world.fail("a")
    world.fail("b[0]")
    world.handle(m.Pause())
    world.pass_time(5.0)
    assert running(world) == []
    world.handle(m.Resume())
    assert running(world) == ["a", "b[0]"]


def test_a_run_whose_last_task_ends_while_paused_has_ended(play: Play) -> None:
    world = play(task("a"))
    world.handle(m.Pause())
    world.succeed("a")
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_paused_run_may_be_cancelled(play: Play) -> None:
    world = play(task("a"), task("b", "a"))
    world.handle(m.Pause())
    world.succeed("a")
    world.handle(m.Cancel())
    assert world.run.status is RunStatus.CANCELLED


def test_a_pause_survives_the_process(play: Play) -> None:
    world = play(task("a"), task("b", "a"))
    world.handle(m.Pause())
    world.succeed("a")
    world.crash()
    assert world.run.status is RunStatus.PAUSED
    world.handle(m.Resume())
    assert running(world) == ["b"]


# ------------------------------------------------------------------------------------------------------------ reopen


def test_what_failed_and_what_hangs_on_it_runs_again_and_the_rest_is_kept(play: Play) -> None:
    world = play(task("good"), task("bad", "good"), task("after", "bad"), task("other", "good"))
    world.succeed("good", b"1")
    world.fail("bad")
    world.succeed("other", b"2")
    assert world.run.status is RunStatus.FAILED
    world.handle(m.Reopen())
    assert world.run.status is RunStatus.RUNNING
    assert statuses(world) == {"good": "succeeded", "bad": "running", "after": "pending", "other": "succeeded"}
    assert list(world.running) == [("bad", 2)], "attempts are counted on"
    world.succeed("bad")
    world.succeed("after")
    assert world.run.status is RunStatus.SUCCEEDED
    assert world.run.failure is None
    assert [key for key, count in world.started.items() if count > 1] == []


def test_what_ran_because_of_the_failure_is_judged_anew(play: Play) -> None:
    world = play(task("a"), task("mend", "a:failed"), task("end", "mend", join="all_done"), task("b", "a"))
    world.fail("a")
    world.succeed("mend")
    world.succeed("end")
    world.handle(m.Reopen())
    world.succeed("a")
    assert status(world, "mend") == "skipped"
    assert running(world) == ["end", "b"] or running(world) == ["b", "end"]


def test_a_skip_that_a_condition_asked_for_is_kept(play: Play) -> None:
    world = play(task("no", when="{{ false }}"), task("bad"))
    world.fail("bad")
    world.handle(m.Reopen())
    assert status(world, "no") == "skipped"
    assert running(world) == ["bad"]


def test_reopening_gives_all_attempts_again(play: Play) -> None:
    world = play(task("a", retry=STEADY))
    for _ in range(3):
        world.fail("a")
        world.pass_time(10.0)
    assert statuses(world) == {"a": "terminated"}
    world.handle(m.Reopen())
    for _ in range(2):
        world.fail("a")
        assert status(world, "a") == "retrying"
        world.pass_time(10.0)
    world.succeed("a")
    assert ("a", 6) in world.started


def test_only_the_failed_items_of_a_loop_run_again(play: Play) -> None:
    world = play(task("a", loop=each("p", "q", "r", "s", max_parallel=2)), task("b", "a"))
    for index in range(4):
        world.fail(f"a[{index}]") if index % 2 else world.succeed(f"a[{index}]", f"{index}".encode())
    world.handle(m.Reopen())
    assert running(world) == ["a[1]", "a[3]"]
    world.fail("a[3]")
    world.succeed("a[1]", b"10")
    world.handle(m.Reopen())
    assert running(world) == ["a[3]"]
    world.succeed("a[3]", b"30")
    assert result(world, "a") == [0, 10, 2, 30]
    assert running(world) == ["b"]


def test_a_failed_group_keeps_what_succeeded_inside(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), task("c", "b"), loop=each(1, 2)))
    for index in range(2):
        world.succeed(f"g[{index}].a", b"1")
    world.fail("g[0].b")
    world.succeed("g[1].b")
    world.succeed("g[1].c")
    world.handle(m.Reopen())
    assert running(world) == ["g[0].b"]
    world.succeed("g[0].b")
    world.succeed("g[0].c")
    assert world.run.status is RunStatus.SUCCEEDED
    assert world.started[("g[0].a", 1)] == 1


def test_a_group_that_was_stopped_when_all_of_it_had_succeeded_succeeds_now(play: Play) -> None:
    world = play(group("g", task("x"), loop=Loop(over=[0, 1], fail_fast=True)))
    world.fail("g[0].x")
    world.succeed("g[1].x")  # told to stop, it came back all the same
    assert world.run.status is RunStatus.FAILED
    world.handle(m.Reopen())
    assert running(world) == ["g[0].x"]
    world.succeed("g[0].x")
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_run_that_was_cancelled_when_all_of_it_had_succeeded_succeeds_now(play: Play) -> None:
    world = play(task("a"))
    world.handle(m.Cancel())
    world.succeed("a")
    assert world.run.status is RunStatus.CANCELLED
    world.handle(m.Reopen())
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_reopened_group_has_its_whole_time_again(play: Play) -> None:
    world = play(group("g", task("a"), timeout=5.0))
    world.fail("g.a")
    world.pass_time(60.0)
    world.handle(m.Reopen())
    world.pass_time(4.0)
    assert running(world) == ["g.a"]
    world.pass_time(1.0)
    assert world.stopping == {("g.a", 2)}
    world.stopped("g.a")
    assert statuses(world) == {"g": "timeout"}


def test_what_a_cancelled_run_had_not_come_to_runs_after_reopening(play: Play) -> None:
    world = play(task("a"), task("b", "a"), task("c", loop=each(1, 2, 3, max_parallel=1)))
    world.succeed("c[0]", b"0")
    world.handle(m.Cancel())
    world.stopped("a")
    world.stopped("c[1]")
    world.handle(m.Reopen())
    assert sorted(running(world)) == ["a", "c[1]"]
    for name in ("a", "b", "c[1]", "c[2]"):
        world.succeed(name)
    assert result(world, "c") == [0, 1, 1]
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_tolerated_failure_runs_again_too(play: Play) -> None:
    world = play(task("a", on_error=OnError.CONTINUE), task("b", "a"))
    world.fail("a")
    world.fail("b")
    world.handle(m.Reopen())
    assert running(world) == ["a"]


def test_a_run_that_goes_on_cannot_be_reopened(play: Play) -> None:
    world = play(task("a"))
    assert world.handle(m.Reopen()) == []
    assert reason(world, "a") is None


def test_what_a_stopped_attempt_had_used_is_counted(play: Play) -> None:
    world = play(task("a", timeout=1.0), task("b"))
    world.pass_time(2.0)
    world.stopped("a", calls=2)
    world.handle(m.Cancel())
    world.stopped("b", calls=1)
    assert world.run.spent.total == {"calls": 3}
    assert world.replayed().spent.total == {"calls": 3}


def test_a_pause_says_why_until_it_is_over(play: Play) -> None:
    world = play(task("a"), task("b", "a"))
    world.handle(m.Pause("no money"))
    assert (world.run.pause_reason, world.replayed().pause_reason) == ("no money", "no money")
    world.handle(m.Resume())
    assert world.run.pause_reason == ""


def test_an_attempt_knows_how_often_it_was_taken_over(play: Play) -> None:
    world = play(task("a", retry=STEADY))
    world.crash()
    world.crash()
    assert world.run.start_command(world.run.find("a")).recovered == 2
    world.fail("a")
    world.pass_time(2.0)
    assert world.run.start_command(world.run.find("a")).recovered == 0, "it is another attempt"
