"""What a run that has ended leaves in memory: nothing that waits for the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

import autoglm
from autoglm.engine.state import Instance


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def instances() -> int:
    return sum(isinstance(each, Instance) for each in gc.get_objects())


def test_the_instances_go_with_the_run(tmp_path: Path, collector_off: None) -> None:
    (tmp_path / "autoglm.yaml").touch()
    lines = "".join(f"  - {{name: t{number}, when: 1 > 2, type: script, script: 'true'}}\n" for number in range(50))
    (tmp_path / "flow.yaml").write_text(f"name: many\ntasks:\n{lines}")
    before = instances()
    run = autoglm.load(tmp_path / "flow.yaml").run()
    assert run.tasks["t49"].status == "skipped"
    assert instances() <= before
