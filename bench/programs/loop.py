"""FILE ITEMS: run the loop in FILE once; how long it took, and the most memory that this process ever held."""

import sys
from pathlib import Path

from bench.programs.engine import Timed, answer, peak_bytes

timed = Timed(Path(sys.argv[1]))
seconds = timed.run()
answer(tasks=int(sys.argv[2]), seconds=seconds, peak_bytes=peak_bytes())
