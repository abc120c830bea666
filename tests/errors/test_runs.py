"""Errors of runs, and of the command that looks at them."""

from __future__ import annotations

from tests.errors.scene import Scene


def test_a_run_that_is_not_there(scene: Scene) -> None:
    scene.autoglm("show", "r")
    scene.shows("run-not-found")
