"""FILE ITEMS: run the loop in FILE once; how long it took, and the most memory that this process ever held."""

import resource
import sys
from pathlib import Path

from bench.programs.engine import Timed, answer

timed = Timed(Path(sys.argv[1]))
seconds = timed.run()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
answer(tasks=int(sys.argv[2]), seconds=seconds, peak_bytes=peak)
