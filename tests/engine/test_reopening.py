"""Doing again from a task on: what is set back, what is kept, and the plan that tells it before."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from autoglm.engine import messages as m
from autoglm.engine.redoing import Again, Why, what_is_done_again
from autoglm.engine.states import RunStatus, TaskStatus
from autoglm.spec.model import Join, OnError, Retry, Workflow

from .conftest import Play
from .flows import each, group, result, running, status, statuses, task
from .test_properties import quick, workflows
from .world import World


def again(world: World, *tasks: str) -> list[m.Event]:
    """Check that the plan tells what the reopening then does, and do it."""
    planned = {found.task for found in what_is_done_again(world.run, tasks)}
    before = {node.name: status(world, node.name) for node in world.graph.root.nodes}
    events = world.handle(m.Reopen(tasks))
    changed = {name for name, was in before.items() if status(world, name) != was}
    assert changed <= planned, "more was set back than the plan told"
    return events


def done(world: World, *tasks: str) -> None:
    for name in tasks:
        world.succeed(name)


def test_a_task_that_succeeded_runs_again_with_all_that_hangs_on_it(play: Play) -> None:
    world = play(task("a"), task("b", "a"), task("c", "b"), task("d", "a"))
    done(world, "a", "b", "d", "c")
    assert world.run.status is RunStatus.SUCCEEDED
    again(world, "b")
    assert statuses(world) == {"a": "succeeded", "b": "running", "c": "pending", "d": "succeeded"}
    world.succeed("b", b"7")
    assert running(world) == ["c"]
    world.succeed("c")
    assert result(world, "b") == 7
    assert world.run.status is RunStatus.SUCCEEDED


def test_what_failed_runs_again_too(play: Play) -> None:
    world = play(task("a"), task("b"), task("c", "b"))
    world.succeed("a")
    world.fail("b")
    again(world, "a")
    assert statuses(world) == {"a": "running", "b": "running", "c": "pending"}


def began_at(world: World, name: str) -> float:
    found = world.run.find(name)
    assert found is not None
    assert found.started_at is not None
    return found.started_at - 1000.0


def test_a_task_that_is_done_again_begins_again(play: Play) -> None:
    retried = task("b", "a", retry=Retry(max_attempts=2))
    world = play(task("a", rollback=task("a")), retried)
    world.succeed("a")
    world.fail("b")
    world.pass_time(60.0)
    assert (began_at(world, "a"), began_at(world, "b")) == (0.0, 0.0), "its second attempt is of the same round"
    world.fail("b")
    world.succeed("a~rollback")
    world.pass_time(600.0)
    world.handle(m.Reopen())
    world.crash()
    assert began_at(world, "a") == 660.0
    world.succeed("a")
    world.fail("b")
    world.pass_time(60.0)
    assert began_at(world, "b") == 660.0
    world.fail("b")
    world.pass_time(1.0)
    undo = world.run.attempts["a~rollback"]
    assert undo.started_at == 1720.0


def test_an_attempt_whose_process_was_lost_begins_again(play: Play) -> None:
    world = play(task("a"))
    world.now += 600.0
    world.crash()
    assert began_at(world, "a") == 600.0


def test_attempts_go_on_counting_and_all_of_them_are_to_be_had(play: Play) -> None:
    world = play(task("a"))
    done(world, "a")
    again(world, "a")
    assert list(world.running) == [("a", 2)]


def test_one_task_inside_a_group_is_done_again_and_the_rest_of_it_is_kept(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), task("c", "b")), task("last", "g"))
    done(world, "g.a", "g.b", "g.c", "last")
    again(world, "g.b")
    assert running(world) == ["g.b"]
    assert statuses(world) == {"g": "running", "last": "pending"}
    done(world, "g.b", "g.c", "last")
    assert world.started["g.a", 1] == 1
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_whole_group_is_done_again_from_its_beginning_even_where_it_failed(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a")))
    world.succeed("g.a")
    world.fail("g.b")
    again(world, "g")
    assert running(world) == ["g.a"]


def test_one_item_is_done_again_and_its_place_in_the_list_is_kept(play: Play) -> None:
    world = play(task("a", loop=each("x", "y", "z")), task("b", "a"))
    for index in range(3):
        world.succeed(f"a[{index}]", b"%d" % index)
    world.succeed("b")
    again(world, "a[1]")
    assert running(world) == ["a[1]"]
    world.succeed("a[1]", b"10")
    assert result(world, "a") == [0, 10, 2]
    assert running(world) == ["b"]
    world.succeed("b")
    assert world.run.counts[TaskStatus.SUCCEEDED] == 5


def test_the_old_result_of_an_item_that_now_fails_is_gone(play: Play) -> None:
    world = play(task("a", loop=each("x", "y", min_success=0.5)))
    world.succeed("a[0]", b"1")
    world.succeed("a[1]", b"2")
    again(world, "a[0]")
    world.fail("a[0]")
    assert result(world, "a") == [None, 2]


def test_an_item_that_was_skipped_is_asked_again(play: Play) -> None:
    world = play(task("a", loop=each(0, 1, 2), when="{{ item == 1 }}"))
    world.succeed("a[1]", b"1")
    assert result(world, "a") == [None, 1, None]
    again(world, "a[0]", "a[2]")
    counts = {status: count for status, count in world.run.counts.items() if count}
    assert counts == {TaskStatus.SKIPPED: 2, TaskStatus.SUCCEEDED: 2}
    assert world.run.status is RunStatus.SUCCEEDED


def test_something_inside_an_item_does_the_item_again(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), loop=each("x", "y")))
    done(world, "g[0].a", "g[1].a", "g[0].b", "g[1].b")
    again(world, "g[1].b")
    assert running(world) == ["g[1].a"]
    done(world, "g[1].a", "g[1].b")
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_path_into_a_loop_does_the_loop_again(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), loop=each("x", "y")))
    done(world, "g[0].a", "g[1].a", "g[0].b", "g[1].b")
    again(world, "g.b")
    assert running(world) == ["g[0].a", "g[1].a"]
    done(world, "g[0].a", "g[1].a", "g[0].b", "g[1].b")


def test_a_failed_item_that_is_named_starts_at_its_beginning(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), loop=each("x")))
    world.succeed("g[0].a")
    world.fail("g[0].b")
    again(world)
    assert running(world) == ["g[0].b"]
    world.fail("g[0].b")
    again(world, "g[0]")
    assert running(world) == ["g[0].a"]
    done(world, "g[0].a", "g[0].b")


def test_a_loop_below_a_task_that_runs_again_asks_for_its_list_again(play: Play) -> None:
    world = play(
        task("a", on_error=OnError.CONTINUE),
        task("b", "a", loop=each(1), join=Join.ALL_DONE),
    )
    world.fail("a")
    world.fail("b[0]")
    again(world)
    assert statuses(world) == {"a": "running", "b": "pending"}, "it waits for what it hangs on"
    done(world, "a", "b[0]")
    assert world.run.status is RunStatus.SUCCEEDED


def test_the_plan_tells_why(play: Play) -> None:
    world = play(task("a"), task("b"), task("c", "b"), task("d", "a"), task("e"), task("f", loop=each(1, 2)))
    done(world, "a", "d", "e", "f[0]")
    world.fail("f[1]")
    world.fail("b")
    assert what_is_done_again(world.run, ("e",)) == [
        Again("b", Why.FAILED, "it went wrong", None, False, "failed"),
        Again("c", Why.BELOW, "b", None, False, "skipped"),
        Again("e", Why.ASKED, "", None, False, "succeeded"),
        Again("f", Why.FAILED, "1 of 2 items failed; first f[1]: it went wrong", 1, True, "failed"),
    ]


@quick
@given(workflows(), st.integers(0, 2**32), st.data())
def test_a_run_reopened_anywhere_ends_and_replays_to_itself(workflow: Workflow, seed: int, data: st.DataObject) -> None:
    random = Random(seed)
    world = World(workflow)
    world.settle(random)
    paths = sorted(
        {node.path for node in world.graph.walk()}
        | {f"{n.path}[{random.randrange(3)}]" for n in world.graph.walk() if n.is_loop}
    )
    for _ in range(2):
        tasks = tuple(data.draw(st.lists(st.sampled_from(paths), unique=True, max_size=2)))
        root = world.run.root
        planned = {found.task for found in what_is_done_again(world.run, tasks)}
        kept = {n.name: root.instances[n.local] for n in root.plan.nodes if n.name not in planned}
        results = {name: (i.status, i.result, i.attempt) for name, i in kept.items() if i is not None}
        started = dict(world.started)
        world.handle(m.Reopen(tasks))
        world.settle(random)
        for name, found in results.items():
            instance = world.run.find(name)
            assert instance is not None
            told = (instance.status, instance.result, instance.attempt)
            assert told == found or instance.status is TaskStatus.ROLLED_BACK, "what was kept has changed"
        for key, count in world.started.items():
            if "~rollback" in key[0]:
                continue  # what was kept is undone when the run fails again, and so is what could not be undone before
            if key[0].partition(".")[0].partition("[")[0] in results:
                assert started.get(key) == count, "what was kept has run again"
    world.check()
