"""FILE COUNT: run a loop of model calls once, journaled and parsed."""

import sys
from pathlib import Path

from bench.programs.engine import Timed, answer

timed = Timed(Path(sys.argv[1]))
seconds = timed.run()
answer(tasks=int(sys.argv[2]), seconds=seconds, cpu_seconds=timed.cpu_seconds)
