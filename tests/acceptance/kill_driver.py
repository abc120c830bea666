"""A process to be killed: starts or resumes a run, and tells what was acknowledged.

Usage: kill_driver.py FOLDER RUN_ID. Every acknowledged success is a line in FOLDER/acks, written after its commit.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from autoglm.app.session import Session
from autoglm.engine.messages import AttemptSucceeded, Event
from autoglm.stores.protocol import LogLine


class Acks:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def on_events(self, events: Sequence[Event], at: float) -> None:
        lines = "".join(f"{event.task}\n" for event in events if isinstance(event, AttemptSucceeded))
        if lines:
            os.write(self._file, lines.encode())

    def on_log(self, line: LogLine) -> None:
        """Not of interest here."""


async def main(folder: Path, run_id: str) -> int:
    flow = folder / "flow.yaml"
    with Session.open(flow) as session:
        acks = Acks(folder / "acks")
        runs = [session.store.get_run(found) for found in session.store.find_runs(run_id, limit=1000)]
        begun = [row for row in runs if row.last_seq]
        if not begun:  # those that were killed before their first record never began
            report = await session.run(session.load(flow), {}, run_id=f"{run_id}-{len(runs)}", observers=[acks])
        elif begun[0].status == "succeeded":
            return 0  # it was killed after its last commit
        else:
            report = await session.resume(begun[0].run_id, observers=[acks])
        return 0 if report.succeeded else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), sys.argv[2])))
