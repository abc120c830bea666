"""What handlers print belongs to their log, and everybody else's prints go where they always went."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable

import pytest

from autoglm.runtime import prints
from autoglm.stores.protocol import LogLine

from .house import House, Watcher


class Heard:
    """Takes what nobody's attempt printed."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.printed = prints.Printed(lambda stream, line: self.lines.append((stream, line)))


def lines_of(house: House, **handlers: Callable[..., object]) -> list[LogLine]:
    """Run a task for each handler, and return what they printed."""
    watcher = Watcher()
    flow = "name: f\ntasks:\n" + "".join(f"  {name}: {{}}\n" for name in handlers)

    async def main() -> None:
        with house.session(**handlers) as session, prints.captured(Heard().printed):
            await session.run(session.load(house.write("flow.yaml", flow)), observers=[watcher])

    asyncio.run(main())
    return watcher.lines


def test_prints_become_lines_of_the_attempt_that_printed(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    async def one() -> None:
        print("one", "line")
        await asyncio.sleep(0)
        print("two\nlines", end="")

    def other() -> None:
        print("from a thread")
        print("and to stderr", file=sys.stderr)

    found = {(line.task, line.stream, line.text) for line in lines_of(house, one=one, other=other)}
    assert found == {
        ("one", "stdout", "one line"),
        ("one", "stdout", "two"),
        ("one", "stdout", "lines"),
        ("other", "stdout", "from a thread"),
        ("other", "stderr", "and to stderr"),
    }
    assert capsys.readouterr() == ("", "")


def test_what_no_attempt_printed_is_nobody_s(capsys: pytest.CaptureFixture[str]) -> None:
    heard = Heard()
    with prints.captured(heard.printed):
        print("a line")
        print("no end", end="", file=sys.stderr)
        assert sys.stdout.writable()
        assert sys.stdout.isatty() is False
        assert sys.stdout.encoding
        sys.stdout.flush()
        sys.stdout.buffer.write(b"bytes\xff\n")
    assert heard.lines == [("stdout", "a line"), ("stdout", "bytes\ufffd"), ("stderr", "no end")]
    assert capsys.readouterr() == ("", "")
    assert not prints.is_capturing()


def test_streams_come_back_also_after_an_error() -> None:
    before = sys.stdout, sys.stderr
    with contextlib.suppress(ValueError), prints.captured(Heard().printed):
        assert prints.is_capturing()
        raise ValueError
    assert (sys.stdout, sys.stderr) == before


def test_a_line_without_end_is_clipped(house: House) -> None:
    (line,) = lines_of(house, a=lambda: print("x" * 100_000, end=""))
    assert 1000 < len(line.text) <= 10_000


def test_a_handler_that_does_odd_things_to_its_output_harms_nobody(house: House) -> None:
    def odd() -> None:
        sys.stdout.writelines(["a\n", "b\n"])
        sys.stdout.flush()
        print("\ud800", "\x00")
        logging.getLogger("mine").warning("logged")

    texts = [line.text for line in lines_of(house, odd=odd)]
    assert texts[:3] == ["a", "b", "? \x00"]


def test_without_capturing_prints_are_left_alone(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    report = asyncio.run(house.run("name: f\ntasks:\n  a: {}\n", a=lambda: print("plain")))
    assert report.succeeded
    assert capsys.readouterr().out == "plain\n"
