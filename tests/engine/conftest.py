from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from autoglm.spec.model import Task

from .flows import workflow
from .world import World

Play = Callable[..., World]


@pytest.fixture
def play() -> Iterator[Play]:
    """Give a function that starts a run of some tasks. Every invariant is held against every run at the end."""
    worlds: list[World] = []

    def start(*tasks: Task, inputs: dict[str, object] | None = None, **fields: object) -> World:
        worlds.append(World(workflow(*tasks, **fields), **(inputs or {})))
        return worlds[-1]

    yield start
    for world in worlds:
        world.check()
