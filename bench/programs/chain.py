"""FILE TASKS ROUNDS: run the chain in FILE, then as many bare commits, turn by turn.

The bare commits go to one file for all rounds, whose log has its full size by then: the fastest there is. Ours, whose
store is opened for each run, writes to a log that is still growing, which costs the disk more; what bare commits take
in a fresh file is given as well.
"""

import sys
from pathlib import Path

from bench.limits import BareCommits
from bench.programs.engine import Timed, answer

file, tasks, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
timed = Timed(file)
bare = BareCommits(file.parent / "bare.sqlite")
timed.run()
bare.seconds(max(tasks, 1_000))
seconds, bare_seconds, fresh_seconds = [], [], []
for number in range(rounds):
    seconds.append(timed.run())
    bare_seconds.append(bare.seconds(tasks))
    fresh = BareCommits(file.parent / f"fresh-{number}.sqlite")
    fresh_seconds.append(fresh.seconds(tasks))
    fresh.close()
bare.close()
answer(tasks=tasks, seconds=seconds, bare_seconds=bare_seconds, fresh_seconds=fresh_seconds)
