"""Scopes: groups inside groups and items, how their tasks are named, and what their templates see."""

from __future__ import annotations

from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus

from .conftest import Play
from .flows import arguments, each, group, reason, result, running, status, statuses, task, told


def test_tasks_are_named_by_their_path_of_scopes(play: Play) -> None:
    world = play(
        group(
            "outer",
            task("first"),
            group("inner", task("leaf", "", loop=each("x", "y")), loop=each(7), after="first"),
            loop=each("p", "q"),
        )
    )
    assert running(world) == ["outer[0].first", "outer[1].first"]
    world.succeed("outer[1].first")
    assert running(world) == ["outer[0].first", "outer[1].inner[0].leaf[0]", "outer[1].inner[0].leaf[1]"]


def test_there_is_no_barrier_between_the_items_of_a_loop_over_a_group(play: Play) -> None:
    world = play(group("row", task("a"), task("b", "a"), loop=each(1, 2)))
    world.succeed("row[0].a")
    assert running(world) == ["row[1].a", "row[0].b"]
    world.succeed("row[0].b")
    world.succeed("row[1].a")
    world.succeed("row[1].b")
    assert statuses(world) == {"row": "succeeded"}


def test_a_template_makes_a_data_dependency_by_itself(play: Play) -> None:
    world = play(task("b", arguments={"x": "{{ tasks.a.result + 1 }}"}), task("a"))
    assert running(world) == ["a"]
    world.succeed("a", b"41")
    assert arguments(world, "b") == {"x": 42}


def test_a_data_dependency_out_of_a_group_holds_the_group_back(play: Play) -> None:
    world = play(group("g", task("free"), task("inside", arguments={"x": "{{ tasks.a.result }}"})), task("a"))
    assert running(world) == ["a"]
    world.succeed("a", b'"text"')
    assert running(world) == ["g.free", "g.inside"]
    assert arguments(world, "g.inside") == {"x": "text"}


def test_an_inner_name_hides_an_outer_one(play: Play) -> None:
    world = play(task("a"), group("g", task("a"), task("b", arguments={"x": "{{ tasks.a.result }}"}), after="a"))
    world.succeed("a", b'"outer"')
    world.succeed("g.a", b'"inner"')
    assert arguments(world, "g.b") == {"x": "inner"}


def test_inner_loops_see_the_items_of_the_outer_ones(play: Play) -> None:
    leaf = task("leaf", loop=each(1, as_="n"), arguments={"all": "{{ [letter, n, item, index] }}"})
    world = play(group("g", leaf, loop=each("a", "b", as_="letter")))
    assert arguments(world, "g[1].leaf[0]") == {"all": ["b", 1, 1, 0]}


def test_names_with_dashes_are_written_with_underscores(play: Play) -> None:
    world = play(task("fetch-page"), task("b", arguments={"x": "{{ tasks.fetch_page.result }}"}))
    world.succeed("fetch-page", b"5")
    assert arguments(world, "b") == {"x": 5}


def test_a_group_gives_what_its_last_task_gives(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a")), task("end", arguments={"x": "{{ tasks.g.result }}"}, after="g"))
    world.succeed("g.a", b"1")
    world.succeed("g.b", b'{"n": 2}')
    assert arguments(world, "end") == {"x": {"n": 2}}


def test_a_group_with_several_ends_gives_them_by_name(play: Play) -> None:
    world = play(group("g", task("a"), task("b"), task("c", when="{{ false }}")))
    world.succeed("g.a", b"1")
    world.succeed("g.b", b"2")
    assert result(world, "g") == {"a": 1, "b": 2, "c": None}


def test_a_group_maps_its_result_from_the_tasks_inside(play: Play) -> None:
    world = play(group("g", task("a"), task("b"), result="{{ tasks.a.result + tasks.b.result }}"))
    world.succeed("g.a", b"1")
    world.succeed("g.b", b"2")
    assert result(world, "g") == 3


def test_a_failure_inside_fails_the_group_with_its_words(play: Play) -> None:
    world = play(group("g", task("a"), task("b", "a"), task("c")), task("end", "g"))
    world.fail("g.a")
    assert status(world, "g") == "running", "what does not hang on it goes on"
    world.succeed("g.c")
    assert statuses(world) == {"g": "failed", "end": "skipped"}
    failure = world.run.find("g").failure  # type: ignore[union-attr]
    assert failure is not None
    assert (failure.code, failure.message) == ("group-failed", "`a` failed: it went wrong")
    assert world.run.status is RunStatus.FAILED


def test_a_skipped_group_starts_nothing_inside(play: Play) -> None:
    world = play(group("g", task("a"), when="{{ false }}"), task("end", "g"))
    assert statuses(world) == {"g": "skipped", "end": "skipped"}
    assert reason(world, "end") == "`g` was skipped"
    assert told(world.events) == ["RunCreated", "RunStarted", "TaskSkipped g", "TaskSkipped end", "RunSucceeded"]


def test_an_empty_workflow_succeeds(play: Play) -> None:
    assert play().run.status is RunStatus.SUCCEEDED


def test_one_commit_carries_a_success_and_its_successors_starts(play: Play) -> None:
    world = play(task("a"), task("b", "a"), task("c", "a"))
    events = world.succeed("a")
    assert told(events) == ["AttemptSucceeded a", "AttemptStarted b", "AttemptStarted c"]
    assert isinstance(events[0], m.AttemptSucceeded)
