"""Results and outputs: how they are mapped, where they are held, what is refused."""

from __future__ import annotations

import msgspec
import pytest

from autoglm.base.redaction import Secret
from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus

from .conftest import Play
from .flows import arguments, each, result, running, statuses, task

LARGE = b'"' + b"x" * m.INLINE_LIMIT + b'"'


def test_result_maps_what_came_back(play: Play) -> None:
    world = play(
        task("a", arguments={"n": 3}, result={"n": "{{ output.n * 2 }}", "raw": "{{ result }}"}),
        task("b", "a", arguments={"r": "{{ tasks.a.result.n }}", "o": "{{ tasks.a.output }}"}),
    )
    world.succeed("a", b'{"n": 21}')
    assert result(world, "a") == {"n": 42, "raw": {"n": 21}}
    assert arguments(world, "b") == {"r": 42, "o": {"n": 21}}


def test_a_mapping_that_fails_fails_the_attempt(play: Play) -> None:
    world = play(task("a", result="{{ output.missing }}"))
    world.succeed("a", b"{}")
    assert statuses(world) == {"a": "failed"}
    assert world.run.failure is not None
    assert "missing" in world.run.failure.message


def test_native_types_are_kept_through_templates(play: Play) -> None:
    names = {"whole": "{{ tasks.a.result }}", "text": "<{{ tasks.a.result.n }}>", "deep": [{"x": "{{ result.l[1] }}"}]}
    world = play(task("a"), task("b", "a", arguments=names))
    world.succeed("a", b'{"n": 1.5, "l": [null, true]}')
    assert arguments(world, "b") == {"whole": {"n": 1.5, "l": [None, True]}, "text": "<1.5>", "deep": [{"x": True}]}


def test_data_is_never_a_template(play: Play) -> None:
    world = play(task("a"), task("b", "a", arguments={"x": "{{ result }}", "y": "said: {{ result }}"}))
    world.succeed("a", b'"{{ secrets.KEY }}"')
    assert arguments(world, "b") == {"x": "{{ secrets.KEY }}", "y": "said: {{ secrets.KEY }}"}


def test_the_status_and_error_of_an_upstream_can_be_read(play: Play) -> None:
    world = play(task("a"), task("b", "a:failed", arguments={"s": "{{ tasks.a.status }}", "e": "{{ tasks.a.error }}"}))
    world.fail("a")
    assert arguments(world, "b") == {"s": "failed", "e": {"code": "boom", "message": "it went wrong"}}


def test_outputs(play: Play) -> None:
    world = play(task("a"), outputs={"n": "{{ tasks.a.result + inputs.x }}", "id": "{{ run.id }}"}, inputs={"x": 1})
    world.succeed("a", b"2")
    assert world.run.outputs == b'{"n":3,"id":"run-1"}'


def test_without_outputs_there_are_none(play: Play) -> None:
    world = play(task("a"))
    world.succeed("a")
    assert world.run.outputs == b"{}"


def test_outputs_that_cannot_be_computed_fail_the_run(play: Play) -> None:
    world = play(task("a"), outputs={"n": "{{ tasks.a.result.missing }}"})
    world.succeed("a", b"{}")
    assert world.run.status is RunStatus.FAILED
    assert world.run.failure is not None
    assert world.run.failure.code == "outputs-failed"


# ------------------------------------------------------------------------------------------------------------- blobs


def test_a_large_result_is_a_blob(play: Play) -> None:
    world = play(task("a"), task("b", "a", arguments={"n": "{{ result | length }}"}))
    (event, _) = world.succeed("a", LARGE)
    assert isinstance(event, m.AttemptSucceeded)
    assert event.blob is not None
    assert event.blob.size == len(LARGE)
    assert world.blobs[event.blob.digest] == LARGE
    assert len(world.journal[-1]) < 1000
    assert arguments(world, "b") == {"n": m.INLINE_LIMIT}
    world.crash()
    assert arguments(world, "b") == {"n": m.INLINE_LIMIT}


def test_the_limit_itself_is_still_inline(play: Play) -> None:
    world = play(task("a"))
    (event, _) = world.succeed("a", LARGE[: m.INLINE_LIMIT - 1] + b'"')
    assert isinstance(event, m.AttemptSucceeded)
    assert event.blob is None


def test_equal_blobs_are_one(play: Play) -> None:
    world = play(task("a"), task("b"))
    before = len(world.blobs)
    world.succeed("a", LARGE)
    world.succeed("b", LARGE)
    assert len(world.blobs) == before + 1


def test_a_small_result_mapped_from_a_large_output(play: Play) -> None:
    world = play(task("a", result="{{ output | length }}"), task("b", "a", arguments={"o": "{{ tasks.a.output[:2] }}"}))
    (event, _) = world.succeed("a", LARGE)
    assert isinstance(event, m.AttemptSucceeded)
    assert (bytes(event.result), event.blob) == (str(m.INLINE_LIMIT).encode(), None)
    assert event.output_blob is not None
    assert arguments(world, "b") == {"o": "xx"}


def test_large_items_make_a_list_all_the_same(play: Play) -> None:
    world = play(task("a", loop=each(1, 2)), outputs={"sizes": "{{ tasks.a.result | map('length') | list }}"})
    world.succeed("a[0]", LARGE)
    world.succeed("a[1]", b'"xyz"')
    assert msgspec.json.decode(world.run.outputs) == {"sizes": [m.INLINE_LIMIT, 3]}  # type: ignore[arg-type]


def test_large_outputs_are_a_blob(play: Play) -> None:
    world = play(task("a"), outputs={"x": "{{ tasks.a.result }}"})
    world.succeed("a", LARGE)
    assert isinstance(world.run.outputs, m.Blob)
    assert world.blobs[world.run.outputs.digest] == b'{"x":' + LARGE + b"}"


# ------------------------------------------------------------------------------------------------------- keyed state


def test_keyed_state_is_part_of_the_run(play: Play) -> None:
    world = play(task("a"))
    world.handle(m.StateWritten("seen", b"[1]"), m.StateWritten("gone", b"1"), m.StateWritten("none", b"null"))
    world.handle(m.StateWritten("gone", None))
    assert world.run.keyed == {"seen": b"[1]", "none": b"null"}
    assert world.replayed().keyed == world.run.keyed


# ------------------------------------------------------------------------------------------------------------- usage


def test_usage_is_summed_over_successes_and_failures(play: Play) -> None:
    world = play(task("a"), task("b"))
    del world.running[("a", 1)]
    world.handle(m.AttemptReturned("a", 1, b"1", {"calls": 1, "cost": 0.5, "model": "x", "estimated": True}))
    world.fail("b", usage={"calls": 2, "estimated": False})
    assert world.run.usage == {"calls": 3, "cost": 0.5, "estimated": True}


# ----------------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "written", ["{{ inputs.token }}", "{{ (inputs.token ~ '!') | upper }}", "a{{ inputs.token }}b"]
)
def test_a_secret_input_reaches_the_work_and_no_event(play: Play, written: str) -> None:
    world = play(task("first"), task("a", "first", arguments={"t": written}, result=[written, "{{ output }}"]))
    world.run.provide({"token": Secret("hunter2")})
    world.succeed("first")
    assert "hunter2" in arguments(world, "a")["t"].lower()
    world.succeed("a", b'"fine"')
    assert result(world, "a") == ["***", "fine"]
    assert b"unter2" not in b"".join(world.journal)
    assert running(world) == []
