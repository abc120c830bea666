"""Loops: what they go over, how many items at once, and what comes of them."""

from __future__ import annotations

import pytest

from autoglm.base.errors import Failure
from autoglm.engine import messages as m
from autoglm.engine.loops import CHUNK, LOW, OPEN_GROUPS, OPEN_ITEMS
from autoglm.engine.states import RunStatus
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import Degrade, Loop, OnError, Retry

from . import world as world_module
from .conftest import Play
from .flows import arguments, each, group, result, running, status, statuses, task
from .world import World

ITEM = {"x": "{{ item }}"}


def failure(world: World, task_id: str) -> Failure:
    instance = world.run.find(task_id)
    assert instance is not None
    assert instance.failure is not None
    return instance.failure


def test_the_result_is_the_list_in_item_order(play: Play) -> None:
    world = play(task("a", loop=each("p", "q", "r"), arguments=ITEM))
    assert [arguments(world, f"a[{n}]") for n in range(3)] == [{"x": "p"}, {"x": "q"}, {"x": "r"}]
    for index in (2, 0, 1):
        world.succeed(f"a[{index}]", f"{index}".encode())
    assert result(world, "a") == [0, 1, 2]


@pytest.mark.parametrize(
    ("loop", "items"),
    [
        (Loop(over="{{ range(2, 8, 3) }}"), [2, 5]),
        (Loop(over="{{ inputs.words }}"), ["a", "b"]),
        (Loop(over="{{ tasks.first.result }}"), [1, [2]]),
        (Loop(matrix={"x": [1, 2], "y": "{{ inputs.words }}"}), [{"x": x, "y": y} for x in (1, 2) for y in "ab"]),
        (Loop(over=[]), []),
        (Loop(matrix={"x": [1, 2], "y": []}), []),
    ],
)
def test_sources(play: Play, loop: Loop, items: list[object]) -> None:
    world = play(task("first"), task("a", "first", loop=loop, arguments=ITEM), inputs={"words": ["a", "b"]})
    world.succeed("first", b"[1, [2]]")
    assert [arguments(world, name)["x"] for name in running(world)] == items
    for index in range(len(items)):
        world.succeed(f"a[{index}]")
    assert result(world, "a") == [1] * len(items)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("{{ 'text' }}", "a text"),
        ("{{ {'a': 1} }}", "a mapping"),
        ("{{ none }}", "nothing"),
        ("{{ 3 }}", "a number"),
    ],
)
def test_what_is_no_list_fails_the_loop(play: Play, over: str, said: str) -> None:
    world = play(task("a", loop=Loop(over=over)))
    assert failure(world, "a").code == "loop-not-a-list"
    assert said in failure(world, "a").message
    assert world.run.status is RunStatus.FAILED


def test_max_parallel_bounds_what_runs(play: Play) -> None:
    world = play(task("a", loop=each(*"abcd", max_parallel=2)))
    assert running(world) == ["a[0]", "a[1]"]
    world.succeed("a[1]")
    assert running(world) == ["a[0]", "a[2]"]


def test_max_parallel_bounds_the_groups_that_are_open(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), loop=each(*"abc", max_parallel=1)))
    assert running(world) == ["g[0].a"]
    world.succeed("g[0].a")
    assert running(world) == ["g[0].b"]
    world.succeed("g[0].b")
    assert running(world) == ["g[1].a"]


def test_an_item_that_waits_for_its_retry_lets_the_next_one_start(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, max_parallel=1), retry=Retry(jitter="none")))
    world.fail("a[0]")
    assert running(world) == ["a[1]"]
    world.pass_time(1.0)
    assert running(world) == ["a[1]"]
    world.succeed("a[1]")
    assert running(world) == ["a[0]"]


def test_a_failed_item_fails_the_loop_once_all_have_ended(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, 3)), task("end", "a"))
    world.fail("a[1]")
    world.succeed("a[0]")
    assert status(world, "a") == "running"
    world.succeed("a[2]")
    assert statuses(world) == {"a": "failed", "end": "skipped"}
    assert failure(world, "a").message == "1 of 3 items failed; first a[1]: it went wrong"


def test_fail_fast_stops_the_rest_and_starts_no_more(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, 3, 4, fail_fast=True, max_parallel=3)))
    world.fail("a[0]")
    assert {(name, 1) for name in ("a[1]", "a[2]")} == world.stopping
    world.stopped("a[1]")
    world.succeed("a[2]")  # it came back before it was stopped: that counts
    assert status(world, "a") == "failed"
    assert "a[3]" not in [name for name, _ in world.started]


def test_min_success_tolerates_some_failures(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, 3, 4, min_success=0.75)))
    for index in range(4):
        world.fail("a[1]") if index == 1 else world.succeed(f"a[{index}]", b"9")
    assert result(world, "a") == [9, None, 9, 9]
    assert world.run.status is RunStatus.SUCCEEDED


def test_too_few_successes_say_how_many_were_needed(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, min_success=0.75)))
    world.fail("a[0]")
    world.succeed("a[1]")
    assert failure(world, "a").message.startswith("1 of 2 items failed, and 75% had to succeed; first a[0]")


def test_continue_on_a_loop_tolerates_the_loop_as_a_whole(play: Play) -> None:
    world = play(task("a", loop=each(1), on_error=OnError.CONTINUE), task("end", "a"))
    world.fail("a[0]")
    assert statuses(world) == {"a": "failed", "end": "running"}


def test_a_failed_item_degrades_to_its_value(play: Play) -> None:
    world = play(task("a", loop=each("x", "y"), on_error=Degrade(degrade="{{ item }}: {{ error.code }}")))
    world.fail("a[0]")
    world.succeed("a[1]")
    assert result(world, "a") == ["x: boom", 1]


def test_when_is_asked_for_each_item_if_it_reads_the_item(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, 3), when="{{ item != 2 }}"))
    assert running(world) == ["a[0]", "a[2]"]
    world.succeed("a[0]", b"10")
    world.succeed("a[2]", b"30")
    assert result(world, "a") == [10, None, 30]


def test_when_is_asked_once_for_the_loop_if_it_does_not(play: Play) -> None:
    world = play(task("a", loop=each(1, 2, 3), when="{{ inputs.go }}"), inputs={"go": False})
    assert statuses(world) == {"a": "skipped"}


def test_all_items_may_be_skipped(play: Play) -> None:
    world = play(task("a", loop=each(1, 2), when="{{ item > 5 }}"))
    assert statuses(world) == {"a": "succeeded"}
    assert result(world, "a") == [None, None]


def test_collect_says_what_goes_into_the_list(play: Play) -> None:
    world = play(task("a", loop=each("p", "q", collect="{{ {'at': index, 'of': item, 'n': result.n} }}")))
    world.succeed("a[1]", b'{"n": 2, "long": "text"}')
    world.succeed("a[0]", b'{"n": 1}')
    assert result(world, "a") == [{"at": 0, "of": "p", "n": 1}, {"at": 1, "of": "q", "n": 2}]


def test_collect_sees_the_mapped_result_and_collects_from_groups_too(play: Play) -> None:
    world = play(
        task("a", loop=each(1, collect="{{ result * 10 }}"), result="{{ output.n + 1 }}"),
        group("g", task("b"), loop=each(1, collect="{{ [item, result] }}")),
    )
    world.succeed("a[0]", b'{"n": 4}')
    world.succeed("g[0].b", b'"inside"')
    assert result(world, "a") == [50]
    assert result(world, "g") == [[1, "inside"]]


def test_a_collect_that_cannot_be_computed_fails_its_item(play: Play) -> None:
    world = play(task("a", loop=each(1, collect="{{ result.missing }}")))
    world.succeed("a[0]", b"{}")
    assert "missing" in failure(world, "a").message


def test_no_more_items_are_open_than_the_bound(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_module, "CATALOG", Catalog(executor_limits={"inline": 10**6}))
    world = play(
        task("a", loop=Loop(over=f"{{{{ range({OPEN_ITEMS + 5}) }}}}")),
        group("g", task("b"), loop=Loop(over=f"{{{{ range({OPEN_GROUPS + 5}) }}}}")),
    )
    assert sum(name.startswith("a[") for name in running(world)) == OPEN_ITEMS
    assert sum(name.startswith("g[") for name in running(world)) == OPEN_GROUPS
    world.succeed("a[0]")
    assert f"a[{OPEN_ITEMS}]" in running(world)


# ------------------------------------------------------------------------------------------------------------- files


def rows(world: World, task_id: str = "a") -> m.ReadItems:
    return world.reading[task_id]


def test_a_file_is_read_by_windows_as_items_are_used_up(play: Play) -> None:
    world = play(task("a", loop=Loop(file="rows.jsonl", max_parallel=1), arguments=ITEM))
    assert (rows(world).source, rows(world).first, rows(world).count) == ("rows.jsonl", 0, CHUNK)
    world.items("a", [f"row {n}" for n in range(CHUNK)], last=False)
    assert world.reading == {}, "enough is at hand"
    used = 0
    while not world.reading:
        assert arguments(world, f"a[{used}]") == {"x": f"row {used}"}
        world.succeed(f"a[{used}]")
        used += 1
    assert CHUNK - LOW <= used + 1 <= CHUNK - LOW + 2, "the next window is asked for before this one runs out"
    assert rows(world).first == CHUNK
    world.items("a", ["one more"], last=True)
    while running(world):
        world.succeed(running(world)[0], b"2")
    assert result(world, "a") == [1] * used + [2] * (CHUNK + 1 - used)
    owner = world.run.find("a")
    assert owner is not None
    assert owner.loop is not None
    assert owner.loop.window == {}, "items leave memory with their iteration"


def test_a_file_s_path_may_be_a_template(play: Play) -> None:
    world = play(task("a", loop=Loop(file="{{ inputs.day }}.csv")), inputs={"day": "monday"})
    assert rows(world).source == "monday.csv"
    world.items("a", [], last=True)
    assert result(world, "a") == []


def test_a_path_that_is_no_text_fails_the_loop(play: Play) -> None:
    world = play(task("a", loop=Loop(file="{{ inputs.day }}")), inputs={"day": 3})
    assert failure(world, "a").code == "loop-not-a-list"


@pytest.mark.parametrize("kind", ["task", "group"])
def test_a_file_whose_rows_are_all_skipped_is_read_to_its_end(play: Play, kind: str) -> None:
    fields = {"loop": Loop(file="rows.jsonl"), "when": "{{ item > 10 }}"}
    world = play(task("a", **fields) if kind == "task" else group("a", task("b"), **fields))
    world.items("a", list(range(-CHUNK, 0)), last=False)
    assert rows(world).first == CHUNK
    world.items("a", [0], last=True)
    assert status(world, "a") == "succeeded"


def test_a_file_that_cannot_be_read_fails_the_loop_once_its_items_have_stopped(play: Play) -> None:
    world = play(task("a", loop=Loop(file="rows.jsonl", max_parallel=1)))
    world.items("a", list(range(10)), last=False)
    del world.reading["a"]
    world.handle(m.ItemsFailed("a", Failure("source-invalid", "line 11 is no JSON")))
    assert world.stopping == {("a[0]", 1)}
    world.stopped("a[0]")
    assert failure(world, "a").code == "source-invalid"
    assert world.run.status is RunStatus.FAILED


def test_a_file_that_does_not_exist_fails_the_loop_at_once(play: Play) -> None:
    world = play(task("a", loop=Loop(file="rows.jsonl")))
    del world.reading["a"]
    world.handle(m.ItemsFailed("a", Failure("source-not-found", "rows.jsonl does not exist")))
    assert statuses(world) == {"a": "failed"}


def test_a_recovered_loop_reads_on_where_it_was(play: Play) -> None:
    world = play(task("a", loop=Loop(file="rows.jsonl", max_parallel=1), arguments=ITEM))
    world.items("a", ["p", "q"], last=False)
    world.succeed("a[0]")
    world.crash()
    assert rows(world).first == 2
    assert arguments(world, "a[1]") == {"x": "q"}
    world.items("a", ["r"], last=True)
    world.succeed("a[1]")
    world.succeed("a[2]")
    assert result(world, "a") == [1, 1, 1]


@pytest.mark.parametrize("nested", [False, True])
def test_a_reopened_loop_reads_on_where_it_was(play: Play, nested: bool) -> None:
    loop = task("a", loop=Loop(file="rows.jsonl", max_parallel=2))
    world = play(group("g", loop, loop=each(1)) if nested else loop)
    name = "g[0].a" if nested else "a"
    world.items(name, ["p"], last=False)
    world.succeed(f"{name}[0]", b"7")
    world.handle(m.Cancel())
    world.reading.clear()  # whoever read has stopped too
    assert world.run.status is RunStatus.CANCELLED
    world.handle(m.Reopen())
    assert rows(world, name).first == 1
    world.items(name, ["q"], last=True)
    world.succeed(f"{name}[1]", b"8")
    assert world.run.status is RunStatus.SUCCEEDED
    assert result(world, "g" if nested else "a") == ([[7, 8]] if nested else [7, 8])
