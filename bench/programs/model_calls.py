"""FILE COUNT: run a loop of model calls once, journaled and parsed; what it took, held and left on the disk."""

import sys
from pathlib import Path

import autoglm.llm.wire  # noqa: F401  # and with it aiohttp, which the bare loop has imported before its clock starts too
from bench.measure import size_of
from bench.programs.engine import Timed, answer, peak_bytes

file = Path(sys.argv[1])
timed = Timed(file)
seconds = timed.run()
answer(
    tasks=int(sys.argv[2]),
    seconds=seconds,
    cpu_seconds=timed.cpu_seconds,
    peak_bytes=peak_bytes(),
    store_bytes=size_of(file.parent / ".autoglm"),
)
