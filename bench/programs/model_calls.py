"""FILE COUNT: run a loop of model calls once, journaled and parsed."""

import sys
from pathlib import Path

import autoglm.llm.wire  # noqa: F401  # and with it aiohttp, which the bare loop has imported before its clock starts too
from bench.programs.engine import Timed, answer

timed = Timed(Path(sys.argv[1]))
seconds = timed.run()
answer(tasks=int(sys.argv[2]), seconds=seconds, cpu_seconds=timed.cpu_seconds)
