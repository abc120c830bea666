"""How many attempts run at once, and which comes first."""

from __future__ import annotations

from autoglm.spec.catalog import Catalog
from autoglm.spec.model import ModelSpec, PoolSpec, Retry, Schedule

from .conftest import Play
from .flows import each, group, running, task


def test_the_run_s_limit(play: Play) -> None:
    world = play(task("a"), task("b"), task("c", loop=each(1, 2, 3)), max_parallel=2)
    assert running(world) == ["a", "b"]
    world.succeed("a")
    assert running(world) == ["b", "c[0]"]


def test_a_pool_bounds_the_tasks_that_name_it_and_no_others(play: Play) -> None:
    world = play(
        task("a", pool=("db",)), task("b", pool=("db",)), task("c", pool=("db",)), task("free"),
        pools={"db": PoolSpec(limit=2)},
    )  # fmt: skip
    assert running(world) == ["a", "b", "free"]
    world.fail("a")
    assert running(world) == ["b", "free", "c"]


def test_a_task_needs_room_in_all_its_pools(play: Play) -> None:
    world = play(
        task("a", pool=("x",)), task("both", pool=("x", "y")), task("b", pool=("y",)),
        pools={"x": PoolSpec(limit=1), "y": PoolSpec(limit=1)},
    )  # fmt: skip
    assert running(world) == ["a", "b"], "what waits for one pool takes no slot of the other"
    world.succeed("b")
    assert running(world) == ["a"]
    world.succeed("a")
    assert running(world) == ["both"]


def test_a_pool_is_shared_by_all_scopes_and_items(play: Play) -> None:
    world = play(
        group("g", task("a", pool=("one",)), loop=each(1, 2)), task("b", loop=each(1, 2), pool=("one",)),
        pools={"one": PoolSpec(limit=1)},
    )  # fmt: skip
    order = []
    while running(world):
        (name,) = running(world)
        order.append(name)
        world.succeed(name)
    assert sorted(order) == ["b[0]", "b[1]", "g[0].a", "g[1].a"]


def test_executors_have_limits_of_their_own(play: Play) -> None:
    world = play(*(task(f"t{n}", executor="thread") for n in range(5)), task("inline"))
    assert running(world) == ["t0", "t1", "t2", "inline"]


def test_a_model_s_limit_is_a_pool(play: Play) -> None:
    ask = {"type": "llm_generate", "options": {"model": "house"}}
    world = play(task("a", **ask), task("b", **ask), models={"house": ModelSpec(max_parallel=1)})
    assert running(world) == ["a"]
    assert "model:house" in [pool.name for pool in world.graph.pools]


def test_what_waits_for_a_retry_frees_its_pool(play: Play) -> None:
    world = play(
        task("a", pool=("one",), retry=Retry(jitter="none")), task("b", pool=("one",)), pools={"one": PoolSpec(limit=1)}
    )
    world.fail("a")
    assert running(world) == ["b"]
    world.pass_time(1.0)
    assert running(world) == ["b"]
    world.succeed("b")
    assert running(world) == ["a"]


def order(play: Play, *tasks: object, schedule: Schedule) -> list[str]:
    """Return the order in which tasks run when only one may."""
    world = play(*tasks, max_parallel=1, schedule=schedule)
    found = []
    while running(world):
        found += running(world)
        world.succeed(found[-1])
    return found


def test_fifo_runs_in_the_order_of_becoming_ready(play: Play) -> None:
    tasks = [task("a"), task("b", priority=9), task("c"), task("a2", "a", priority=9)]
    assert order(play, *tasks, schedule=Schedule.FIFO) == ["a", "b", "c", "a2"]


def test_priority_comes_first(play: Play) -> None:
    tasks = [task("low"), task("high", priority=2), task("middle", priority=1), task("below", priority=-1)]
    assert order(play, *tasks, schedule=Schedule.PRIORITY) == ["high", "middle", "low", "below"]


def test_the_critical_path_breaks_ties(play: Play) -> None:
    tasks = [
        task("short"),
        task("long"),
        task("long2", "long"),
        task("long3", "long2"),
        task("two"),
        task("two2", "two"),
    ]
    assert order(play, *tasks, schedule=Schedule.PRIORITY) == ["long", "two", "long2", "short", "two2", "long3"]


def test_equal_tasks_keep_the_file_s_order(play: Play) -> None:
    tasks = [task(name) for name in "dbca"]
    assert order(play, *tasks, schedule=Schedule.PRIORITY) == list("dbca")


def test_a_high_priority_task_overtakes_a_loop(play: Play) -> None:
    tasks = [task("first"), task("loop", loop=each(1, 2, 3)), task("urgent", "first", priority=5)]
    found = order(play, *tasks, schedule=Schedule.PRIORITY)
    assert found.index("urgent") == found.index("first") + 1


def test_a_loop_and_a_task_take_turns(play: Play) -> None:
    found = order(play, task("loop", loop=each(*range(6))), task("a"), task("b"), schedule=Schedule.FIFO)
    assert found.index("b") < len(found) - 2, "a long loop keeps nobody waiting for its end"


def test_limits_come_from_the_catalog() -> None:
    assert Catalog().executor_limits == {}
