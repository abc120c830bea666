"""Going on by a changed definition: what did not change keeps its results, and nothing of it is done again."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from autoglm.engine.adopting import can_adopt
from autoglm.engine.redoing import what_is_done_again
from autoglm.engine.states import RunStatus
from autoglm.spec.changes import Definition, Kind, compare
from autoglm.spec.model import OnError, PoolSpec, Retry, StandIn, Task, Workflow

from .conftest import Play
from .flows import each, group, result, running, statuses, task, told, workflow
from .test_properties import quick, task_lists, workflows
from .world import Hurried, World


def done(world: World, *tasks: str) -> None:
    for name in tasks:
        world.succeed(name)


def test_what_changed_runs_again_with_what_hangs_on_it_and_the_rest_is_kept(play: Play) -> None:
    world = play(task("a"), task("b", "a"), task("c", "b"), task("d", "a"))
    done(world, "a", "b", "d", "c")
    events = world.adopt(workflow(task("a"), task("b", "a", arguments={"x": 1}), task("c", "b"), task("d", "a")))
    assert told(events) == ["DefinitionChanged", "RunReopened", "AttemptStarted b"]
    assert running(world) == ["b"]
    done(world, "b", "c")
    assert world.started["a", 1] == world.started["d", 1] == 1
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_new_task_runs_and_a_removed_one_is_no_more(play: Play) -> None:
    world = play(task("a"), task("b", "a"))
    done(world, "a", "b")
    world.adopt(workflow(task("new", "a"), task("a")))
    assert statuses(world) == {"new": "running", "a": "succeeded"}
    world.succeed("new")
    assert world.run.status is RunStatus.SUCCEEDED
    assert sum(world.run.counts.values()) == 2


def test_another_place_in_the_file_changes_nothing(play: Play) -> None:
    world = play(task("a"), task("b", "a"), task("c", "b"))
    done(world, "a")
    world.adopt(workflow(task("c", "b"), task("b", "a", timeout=9.0), task("a", description="the first")))
    assert running(world) == ["b"]
    assert list(world.running) == [("b", 1)], "the attempt that ran goes on"
    done(world, "b", "c")
    assert world.run.status is RunStatus.SUCCEEDED


def test_what_runs_and_has_changed_is_given_up_and_begun_anew(play: Play) -> None:
    world = play(task("a"), task("b", "a"), task("c", "a"))
    done(world, "a")
    events = world.adopt(workflow(task("a"), task("b", "a", arguments={"x": 1}), task("c", "a")))
    assert told(events)[:2] == ["AttemptCancelled b", "DefinitionChanged"]
    assert set(world.running) == {("b", 2), ("c", 1)}
    done(world, "b", "c")
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_retry_that_waits_and_did_not_change_is_still_due(play: Play) -> None:
    policy = Retry(max_attempts=3, delay=5.0, jitter="none")
    world = play(task("a", retry=policy), task("b"))
    world.fail("a")
    world.adopt(workflow(task("a", retry=policy), task("b", arguments={"x": 1})))
    assert statuses(world) == {"a": "retrying", "b": "running"}
    world.pass_time(5.0)
    assert list(world.running) == [("b", 2), ("a", 2)]
    done(world, "a", "b")


def test_inside_a_group_what_did_not_change_is_kept(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), task("c", "b")), task("last", "g"))
    done(world, "g.a", "g.b")
    world.adopt(workflow(group("g", task("a"), task("b", "a", arguments={"x": 1}), task("c", "b")), task("last", "g")))
    assert set(world.running) == {("g.b", 2)}
    done(world, "g.b", "g.c", "last")
    assert world.started["g.a", 1] == 1
    assert world.run.status is RunStatus.SUCCEEDED


def test_a_loop_that_changed_inside_begins_anew(play: Play) -> None:
    world = play(group("g", task("a"), loop=each("x", "y")))
    done(world, "g[0].a")
    world.adopt(workflow(group("g", task("a", arguments={"x": 1}), loop=each("x", "y"))))
    assert running(world) == ["g[0].a", "g[1].a"]
    done(world, "g[0].a", "g[1].a")
    assert result(world, "g") == [1, 1]


def test_a_loop_that_did_not_change_goes_on_where_it_was(play: Play) -> None:
    world = play(task("a", loop=each(0, 1, 2, max_parallel=1)), task("b"))
    done(world, "b", "a[0]")
    world.adopt(workflow(task("a", loop=each(0, 1, 2, max_parallel=2)), task("b", arguments={"x": 1})))
    assert set(world.running) == {("a[1]", 1), ("a[2]", 1), ("b", 2)}
    done(world, "a[1]", "a[2]", "b")
    assert world.run.status is RunStatus.SUCCEEDED


def test_only_other_outputs_are_worked_out_anew(play: Play) -> None:
    world = play(task("a"), outputs={"x": 1})
    done(world, "a")
    world.adopt(workflow(task("a"), outputs={"x": 2}))
    assert world.run.outputs == b'{"x":2}'
    assert world.run.status is RunStatus.SUCCEEDED


def test_other_limits_hold_from_now_on(play: Play) -> None:
    world = play(task("a", pool=("p",)), task("b", pool=("p",)), pools={"p": PoolSpec(limit=1)})
    assert running(world) == ["a"]
    world.adopt(workflow(task("a", pool=("p",)), task("b", pool=("p",)), pools={"p": PoolSpec(limit=2)}))
    assert set(running(world)) == {"a", "b"}
    done(world, "a", "b")


@st.composite
def edits(draw: st.DrawFn, flow: Workflow) -> Workflow:
    """Return a workflow of which some tasks are changed, gone, new, or stand elsewhere."""
    tasks: list[Task] = []
    for each_task in flow.tasks:
        how = draw(st.sampled_from(["keep", "keep", "keep", "change", "remove", "inside", "tries"]))
        if how == "remove":
            continue
        if how == "change":
            each_task = each_task.model_copy(update={"arguments": {**each_task.arguments, "edited": 1}})
        elif how == "tries":
            each_task = each_task.model_copy(update={"timeout": 7.0, "priority": 3})
        elif how == "inside" and each_task.tasks:
            each_task = each_task.model_copy(update={"tasks": draw(task_lists(0))})
        tasks.append(each_task)
    if draw(st.booleans()) and "added" not in str(flow.tasks):
        tasks.append(
            Task(name=f"added{len(flow.tasks)}", type="function", depends_on={tasks[0].name: None} if tasks else {})
        )
    names = {each_task.name for each_task in tasks}
    kept = []
    for each_task in tasks:
        reads = str(each_task.arguments.get("seen", ""))
        gone = not any(f"tasks.{name}." in reads for name in names) and "seen" in each_task.arguments
        arguments = {k: v for k, v in each_task.arguments.items() if not (k == "seen" and gone)}
        depends_on = {name: accepted for name, accepted in each_task.depends_on.items() if name in names}
        stands_in = isinstance(each_task.on_error, StandIn) and each_task.on_error.task not in (None, *names)
        on_error = OnError.FAIL if stands_in else each_task.on_error
        changed = {"depends_on": depends_on, "arguments": arguments, "on_error": on_error}
        kept.append(each_task.model_copy(update=changed))
    order = draw(st.permutations(kept))
    return flow.model_copy(
        update={"tasks": tuple(order), "max_parallel": draw(st.sampled_from([None, flow.max_parallel]))}
    )


@quick
@given(workflows(), st.integers(0, 2**32), st.integers(0, 40), st.sampled_from([World, Hurried]), st.data())
def test_a_changed_run_keeps_what_did_not_change_ends_and_replays_to_itself(
    flow: Workflow, seed: int, steps: int, kind: type[World], data: st.DataObject
) -> None:
    random = Random(seed)
    world = kind(flow)
    for _ in range(steps):
        if not world.run.is_final:
            world._something(random, 0.2, 0.05)
    for _ in range(2):
        edited = data.draw(edits(world.graph.workflow))
        if not can_adopt(world.run):
            return
        changes = compare(Definition(world.graph.workflow), Definition(edited))
        untouched = kept_results(
            world, edited, {c.path.partition(".")[0] for c in changes if c.kind in (Kind.NEW, Kind.CHANGED)}
        )
        started = dict(world.started)
        world.adopt(edited)
        world.check()
        for name, found in untouched.items():
            instance = world.run.find(name)
            assert instance is not None
            assert (instance.status, instance.result) == found, f"{name} did not change, and its result has"
        for (task_id, attempt), count in world.started.items():
            if task_id.partition(".")[0].partition("[")[0] in untouched:
                assert started.get((task_id, attempt)) == count, f"{task_id} did not change and ran again"
        for _ in range(steps):
            if not world.run.is_final:
                world._something(random, 0.2, 0.05)
    world.settle(random)


def kept_results(world: World, edited: Workflow, changed: set[str]) -> dict[str, object]:
    """Return what had succeeded and neither changes nor hangs on what does, nor on what failed."""
    if world.run.is_final:
        again = {each.task.partition(".")[0] for each in what_is_done_again(world.run)}
        changed |= again
    below = set(changed)
    names = {each.name for each in edited.tasks}
    while True:
        more = {
            each.name
            for each in edited.tasks
            if each.name not in below
            and (below & each.depends_on.keys() or any(f"tasks.{name}." in str(each.arguments) for name in below))
        }
        if not more:
            break
        below |= more
    found: dict[str, object] = {}
    for node in world.graph.root.nodes:
        instance = world.run.root.instances[node.local]
        if node.name in names - below and instance is not None and str(instance.status) == "succeeded":
            found[node.name] = (instance.status, instance.result)
    return found
