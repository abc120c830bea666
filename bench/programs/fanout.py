"""FILE WARM TASKS: run the fan-out in FILE once, after one of WARM, which has the same shape and is small."""

import sys
from pathlib import Path

from bench.programs.engine import Timed, answer

file, warm, tasks = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
Timed(warm).run()
timed = Timed(file)
seconds = timed.run()
answer(tasks=tasks, seconds=seconds, cpu_seconds=timed.cpu_seconds, whole_seconds=timed.load_seconds + seconds)
