"""FILE ITEMS: run the loop in FILE once; how long it took, and the most memory that this process ever held."""

import sys
from pathlib import Path

from bench.programs.engine import Timed, answer


def peak_bytes() -> int:
    """Return the most memory this program held since it began.

    Not ``ru_maxrss``: Linux hands that on from the parent, so that after a case which made the harness itself large,
    two runs of very different size would seem to need the same.
    """
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


timed = Timed(Path(sys.argv[1]))
seconds = timed.run()
answer(tasks=int(sys.argv[2]), seconds=seconds, peak_bytes=peak_bytes())
