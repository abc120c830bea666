"""FILE TASKS ROUNDS: run the chain in FILE, then as many bare commits, turn by turn."""

import sys
from pathlib import Path

from bench.limits import BareCommits
from bench.programs.engine import Timed, answer

file, tasks, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
timed = Timed(file)
bare = BareCommits(file.parent)
timed.run()
bare.seconds(tasks)
seconds, bare_seconds = [], []
for _ in range(rounds):
    seconds.append(timed.run())
    bare_seconds.append(bare.seconds(tasks))
bare.close()
answer(tasks=tasks, seconds=seconds, bare_seconds=bare_seconds)
