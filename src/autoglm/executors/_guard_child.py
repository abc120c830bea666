"""Outlives a killed engine by a moment, to kill the programs that it had started.

Run as a file by ``python -I -S``, so it imports the standard library only. Reads ``+PID`` and ``-PID`` lines from its
standard input: the process groups that live. When the engine is gone, whatever is still in that list, and whatever
carries the engine's mark in its environment (a program that left its group, or was not announced in time), is killed.
"""

import os
import select
import signal
import sys


def main() -> None:
    engine, mark = int(sys.argv[1]), sys.argv[2].encode()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    groups: set[int] = set()
    poll = select.poll()
    poll.register(0, select.POLLIN)
    gone = _watch(engine)
    if gone is not None:
        poll.register(gone, select.POLLIN)
    if os.getppid() == engine:
        _listen(poll, gone, groups)
    for group in groups:
        _kill(os.killpg, group)
    for _ in range(3):  # what forks while we look is met the next time round
        for process in _marked(mark):
            _kill(os.kill, process)


def _watch(engine: int) -> int | None:
    """Return a descriptor that is readable once the engine is dead, where the kernel has such."""
    try:
        return os.pidfd_open(engine)
    except (AttributeError, OSError):
        return None  # then the end of the pipe has to do


def _listen(poll: select.poll, gone: int | None, groups: set[int]) -> None:
    """Keep the list of living groups until the engine closes the pipe, or dies."""
    rest = b""
    while True:
        ready = dict(poll.poll())
        if 0 in ready:
            data = os.read(0, 65536)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
            if not data:
                return
        elif gone in ready:
            return


def _marked(mark: bytes) -> list[int]:
    """Return the processes whose environment holds the mark."""
    found = []
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib would double the start-up time
    except OSError:
        return []
    for name in names:
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123 - likewise
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                continue
    return found


def _kill(kill, number: int) -> None:  # type: ignore[no-untyped-def]
    try:  # noqa: SIM105 - contextlib would double the start-up time
        kill(number, signal.SIGKILL)
    except OSError:
        pass


if __name__ == "__main__":
    main()
