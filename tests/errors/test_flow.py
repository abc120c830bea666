"""Errors of what directs a run: loops that go on, sub-workflows, decisions, choices."""

from __future__ import annotations

from tests.errors.scene import Scene

NUMBERS = """
def count(index=0):
    return {"n": index}
"""


def test_a_loop_that_does_not_come_to_its_end(scene: Scene) -> None:
    scene.write("tasks/numbers.py", NUMBERS)
    scene.run_task("handler: count, loop: {until: result.n > 5, max_iterations: 3}")
    scene.run_task("handler: count, loop: {while: index < 9, max_iterations: 3}")
    scene.shows("loop-limit")
