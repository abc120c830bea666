"""Run the benchmarks: ``python -m bench [NAME…]`` or ``python bench/run.py [NAME…]``; no name means all of the table.

Each case measures ours beside a peer or a physical limit, alternately, and gives rows; bars are ratios wherever a
ratio can be had. Nothing here is a test: a busy machine makes rows red, never a build. Results go to
``bench/results/latest.json`` and ``bench/results/latest.md``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    # Started as a file, Python sees this folder and not the one above, where the package ``bench`` is.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import report
from bench.cases import CASES, OPTIONAL
from bench.measure import Row


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure autoglm beside its peers and limits.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of measurements per comparison (default 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work; bars then mean little")
    options = parser.parse_args()
    if unknown := set(options.names) - set(CASES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(CASES)}")
    rows: list[Row] = []
    for name in options.names or [name for name in CASES if name not in OPTIONAL]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        begin, measured = time.perf_counter(), report.origin(options.rounds)
        try:
            found = CASES[name](options.rounds, 0.1 if options.quick else 1.0)
            if not options.quick:
                report.save(name, found, measured, list(CASES))
        except Exception as error:
            # One broken case must not cost the others' results; it is shown, and the exit status tells.
            print(f"{name}: {error}", file=sys.stderr)
            found = [Row(name, f"{name} could not be measured", "-", "-", "-", "", False)]
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        print(report.text(found), flush=True)
        rows += found
    print("\n" + report.text(rows))
    sys.exit(1 if any(row.ours == "-" for row in rows) else 0)


if __name__ == "__main__":
    main()
