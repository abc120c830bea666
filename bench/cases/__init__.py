"""The cases by name: each takes (rounds, share of the work) and returns its rows."""

from __future__ import annotations

from collections.abc import Callable

from bench.cases import (
    calls,
    calls_loop,
    chain,
    correct,
    deciding,
    fanout,
    growing,
    load,
    loop,
    pages,
    peers,
    resume,
    rollback,
    startup,
    streaming,
    until,
)
from bench.measure import Row

CASES: dict[str, Callable[[int, float], list[Row]]] = {
    "fanout": fanout.measure,
    "chain": chain.measure,
    "loop": loop.measure,
    "until": until.measure,
    "deciding": deciding.measure,
    "growing": growing.measure,
    "load": load.measure,
    "startup": startup.measure,
    "pages": pages.measure,
    "resume": resume.measure,
    "rollback": rollback.measure,
    "correct": correct.measure,
    "calls": calls.measure,
    "calls_loop": calls_loop.measure,
    "streaming": streaming.measure,
    "governor": calls.governor,
    "peers": peers.measure,
}
OPTIONAL = {"peers"}
"""Run only when named: it takes long, and its answer changes only with the peers' versions."""
