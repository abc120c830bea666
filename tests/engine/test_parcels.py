"""Items that have ended and may have to be undone: they take little memory, and are as they were when that comes."""

from __future__ import annotations

import gc
import tracemalloc

from autoglm.engine import messages as m
from autoglm.engine import parcels
from autoglm.engine.state import Instance
from autoglm.engine.states import RunStatus
from autoglm.spec.model import InputSpec, Loop, Task, Workflow

from .flows import arguments, each, group, running, task, workflow
from .world import World

SEEN = {"mine": "{{ result }}", "other": "{{ tasks.look.result }}", "item": "{{ item }}", "index": "{{ index }}"}


def orders(count: int, *more: Task, **fields: object) -> World:
    """Return a run over orders that each reserve something; ``last`` is to fail."""
    inside = (task("look"), task("reserve", "look", rollback=task("reserve", arguments=SEEN)), *more)
    return World(
        workflow(
            group("orders", *inside, loop=Loop(over=f"{{{{ range(10, {count + 10}) }}}}", **fields)),
            task("last", "orders"),
        )
    )


def done(world: World, count: int) -> None:
    for index in range(count):
        world.succeed(f"orders[{index}].look", b'"free"')
        world.succeed(f"orders[{index}].reserve", b'{"seat":%d}' % index)


def packed(world: World) -> list[parcels.Parcel]:
    found = {id(each.parcel): each.parcel for each in world.run.root.done if isinstance(each, parcels.Remembered)}
    return list(found.values())


def test_an_item_is_packed_when_it_has_ended_and_unpacked_to_be_undone() -> None:
    world = orders(3)
    done(world, 3)
    assert [parcel.item for parcel in packed(world)] == [None, None, None]
    assert all(len(parcel.data) < 300 for parcel in packed(world))
    world.fail("last")
    assert running(world) == ["orders[2].reserve~rollback"]
    assert arguments(world, "orders[2].reserve~rollback") == {
        "mine": {"seat": 2}, "other": "free", "item": 12, "index": 2,
    }  # fmt: skip
    world.crash()
    for index in (2, 1, 0):
        world.succeed(f"orders[{index}].reserve~rollback")
    assert world.run.status is RunStatus.FAILED
    assert sorted(name for name, how in world.rows.values() if how == "rolled_back") == [
        "orders", *(f"orders[{n}]{inner}" for n in range(3) for inner in ("", ".reserve")),
    ]  # fmt: skip
    world.check()


def test_what_was_undone_is_done_again_and_the_rest_kept() -> None:
    world = orders(2, task("send", "reserve"))
    done(world, 2)
    for index in range(2):
        world.succeed(f"orders[{index}].send")
    world.fail("last")
    for index in (1, 0):
        world.succeed(f"orders[{index}].reserve~rollback")
    world.handle(m.Reopen())
    assert running(world) == ["orders[0].reserve", "orders[1].reserve"]
    world.check()


def test_what_is_not_plain_stays_as_it_is() -> None:
    world = orders(1, task("deep", loop=each(1, 2), rollback=task("deep")))
    world.succeed("orders[0].deep[0]")
    world.succeed("orders[0].deep[1]")
    done(world, 1)
    assert [parcel.item is None for parcel in packed(world)] == [False]
    world.fail("last")
    assert running(world) == ["orders[0].reserve~rollback"]
    world.check()


def test_what_is_in_a_loop_within_an_item_is_undone_too() -> None:
    world = orders(2, task("deep", loop=each(1, 2), rollback=task("deep")))
    for index in range(2):
        world.succeed(f"orders[{index}].deep[0]")
        world.succeed(f"orders[{index}].deep[1]")
    done(world, 2)
    world.fail("last")
    undone = set()
    while running(world):
        undone.add(running(world)[0])
        world.succeed(running(world)[0])
    inner = [f"{name}~rollback" for name in ("deep[0]", "deep[1]", "reserve")]
    assert undone == {f"orders[{index}].{name}" for index in range(2) for name in inner}
    world.check()


def test_a_call_is_packed_with_what_it_was_given() -> None:
    undo = task("reserve", arguments={"n": "{{ inputs.n }}", "of": "{{ run.workflow }}"})
    inner = Workflow(name="inner", inputs={"n": InputSpec(type="integer")}, tasks=(task("reserve", rollback=undo),))
    call = task(
        "call",
        type="workflow",
        executor=None,
        options={"workflow": "c.yaml"},
        arguments={"n": "{{ item }}"},
        loop=each(4, 5),
    )
    world = World(workflow(call, task("last", "call"), callees={"c.yaml": inner}))
    world.succeed("call[0].reserve")
    world.succeed("call[1].reserve")
    assert [parcel.item for parcel in packed(world)] == [None, None]
    world.fail("last")
    assert arguments(world, "call[1].reserve~rollback") == {"n": 5, "of": "inner"}
    world.check()


def test_a_finished_item_takes_less_than_a_kilobyte() -> None:
    count = 400
    world = orders(count, max_parallel=1)
    world.journal.clear()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for index in range(count):
            for name, output in (("look", b'"free"'), ("reserve", b'{"seat":"12A","until":"noon"}')):
                world.running.clear()
                world.run.handle([m.AttemptReturned(f"orders[{index}].{name}", 1, output)], 1000.0 + index)
            world.run.touched.clear()
            parcels.pack(world.run)
        gc.collect()
        taken = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    assert taken < 1000


def test_every_field_of_an_instance_is_packed_or_of_no_account_then() -> None:
    made_anew = {"id", "node", "scope", "index", "child", "status"}
    # what a plain instance that has ended does not have, or what is worked out again
    over = {"due", "deadline", "held", "queued", "loop", "value", "undo", "undoes", "stand_in", "stands_for"}
    assert set(Instance.__slots__) == made_anew | over | set(parcels._SAME)
