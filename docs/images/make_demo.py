"""Record a real session in a terminal and draw it as an animated SVG: ``python docs/images/make_demo.py``.

A shell runs in a pseudo-terminal, ``pyte`` (of the test tools) keeps its screen, and every screen that lasted becomes a
frame. A line that stands in several frames is drawn once and referred to, which keeps the file small.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from html import escape
from pathlib import Path

import pyte

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "first-workflow"
COLUMNS, ROWS = 96, 24
FRAME = 0.12
"""Seconds between looks at the screen."""
SLOWER = 1.1
"""A rehearsal is too fast to watch: the picture takes its time."""
STAY = 4.0
TITLE = "A workflow is rehearsed in a terminal; another is killed in the middle of 1,000 rows and resumed"
CELL, LINE, PAD = 8.4, 18, 16
COLORS = {
    "default": "#d6deeb",
    "black": "#5f7387",
    "red": "#ff6b6b",
    "green": "#7ddf64",
    "brown": "#ffcb6b",
    "yellow": "#ffcb6b",
    "blue": "#82aaff",
    "magenta": "#c792ea",
    "cyan": "#7fdbca",
    "white": "#ffffff",
    "brightblack": "#7c8fa3",
}
ROWS_FLOW = """\
name: rows
tasks:
  - name: square
    loop: {file: rows.csv, as: row, max_parallel: 8}
    with: {n: "{{ row.n }}"}
  - name: total
    depends_on: square
outputs:
  total: "{{ tasks.total.result }}"
"""
ROWS_TASKS = """\
import asyncio

async def square(n):
    await asyncio.sleep(0.02)
    return int(n) ** 2

def total(squares):
    return sum(squares)
"""
Frame = tuple[str, ...]


class Recorder:
    """A shell in a pseudo-terminal, and the screens that it showed: (seconds, lines)."""

    def __init__(self, folder: Path) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.frames: list[tuple[float, Frame]] = []
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(folder), "TERM": "xterm-256color", "PS1": "$ ", "LANG": "C.UTF-8"}
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], env)  # noqa: S606, S607  # a shell is recorded
        ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.pid = pid

    def look(self, seconds: float) -> None:
        """Take in what the terminal shows for so long, a frame every now and then."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            until = time.monotonic() + min(FRAME, left)
            while (wait := until - time.monotonic()) > 0:
                if select.select([self.terminal], [], [], wait)[0]:
                    self.stream.feed(os.read(self.terminal, 65536))
            frame = tuple(self._line(row) for row in range(ROWS))
            if self.frames and self.frames[-1][1] == frame:
                self.frames[-1] = (self.frames[-1][0] + min(FRAME, seconds), frame)
            else:
                self.frames.append((min(FRAME, seconds), frame))

    def type(self, text: str, wait_for: str = "", at_most: float = 30.0) -> None:
        """Type a command, and look until the pattern ``wait_for`` is on the screen, or the prompt is back."""
        for position in range(0, len(text), 6):
            os.write(self.terminal, text[position : position + 6].encode())
            self.look(FRAME)
        self.look(0.4)
        os.write(self.terminal, b"\n")
        end = time.monotonic() + at_most
        while time.monotonic() < end:
            self.look(FRAME)
            shown = [line.rstrip() for line in self.screen.display if line.strip()]
            if shown and (re.search(wait_for, "\n".join(shown)) if wait_for else shown[-1] == "$"):
                return

    def child(self) -> int:
        """Return the process that the shell waits for."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        if not children:
            raise SystemExit(
                "the run that was to be killed was over too soon: try again\n" + "\n".join(self.screen.display)
            )
        return int(children[0])

    def _line(self, row: int) -> str:
        """Return a line of the screen as SVG text spans, one for each run of one look."""
        cells = self.screen.buffer[row]
        spans: list[tuple[int, str, str]] = []
        for column in range(COLUMNS):
            cell = cells[column]
            color = COLORS.get(cell.fg, f"#{cell.fg}" if len(cell.fg) == 6 else COLORS["default"])
            look = f'fill="{color}"' + (' font-weight="700"' if cell.bold else "")
            if spans and spans[-1][1] == look:
                spans[-1] = (spans[-1][0], look, spans[-1][2] + cell.data)
            else:
                spans.append((column, look, cell.data))
        return "".join(
            f'<tspan x="{PAD + (at + len(text) - len(text.lstrip())) * CELL:g}" {look}>{escape(text.strip())}</tspan>'
            for at, look, text in spans
            if text.strip()
        )


def draw(frames: list[tuple[float, Frame]]) -> str:
    """Return the frames as an animated SVG; without animation it shows the last one."""
    names: dict[str, str] = {}
    strips: list[str] = []
    height = ROWS * LINE + 2 * PAD + 24
    width = COLUMNS * CELL + 2 * PAD
    for number, (_, frame) in enumerate(frames):
        uses = "".join(
            f'<use href="#{names.setdefault(line, f"l{len(names)}")}" y="{row * LINE}"/>'
            for row, line in enumerate(frame)
            if line
        )
        strips.append(f'<g transform="translate(0 {number * height})">{uses}</g>')
    lines = "".join(f'<text id="{name}">{line}</text>' for line, name in names.items())
    total = sum(seconds for seconds, _ in frames)
    steps, at = [], 0.0
    for number, (seconds, _) in enumerate(frames):
        steps.append(f"{at / total * 100:.2f}%{{transform:translateY({-number * height}px)}}")
        at += seconds
    last = -(len(frames) - 1) * height
    style = (
        "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}"
        f"#film{{transform:translateY({last}px);animation:film {total:.1f}s step-end infinite}}"
        f"@keyframes film{{{''.join(steps)}}}"
    )
    dots = "".join(f'<circle cx="{20 + 18 * n}" cy="18" r="5.5" fill="#3b4b5c"/>' for n in range(3))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" '
        f'viewBox="0 0 {width:g} {height}" width="{width:g}" '
        f'height="{height}" role="img" aria-label="{TITLE}">'
        f"<style>{style}</style><defs>{lines}</defs>"
        f'<rect width="100%" height="100%" rx="8" fill="#011627"/>{dots}'
        f'<svg y="{PAD + 20}" width="{width:g}" height="{height - PAD - 20}" overflow="hidden">'
        f'<g transform="translate(0 {LINE})"><g id="film">{"".join(strips)}</g></g></svg></svg>\n'
    )


def record(folder: Path) -> list[tuple[float, Frame]]:
    """Play the session and return its frames with how long each is shown."""
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("out", ".autoglm", "__py*"))
    (folder / "rows.yaml").write_text(ROWS_FLOW)
    (folder / "tasks" / "numbers.py").write_text(ROWS_TASKS)
    (folder / "rows.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(1, 1001)))
    shell = Recorder(folder)
    try:
        shell.look(0.5)
        shell.type("autoglm run config/workflow.yaml --offline")
        shell.look(2.5)
        shell.type("clear")
        shell.type("autoglm run rows.yaml        # 1,000 rows", r"[3-7]\d\d(/1,000| done)")
        os.kill(shell.child(), signal.SIGKILL)
        shell.look(1.5)
        shell.type("autoglm resume last")
        shell.look(STAY)
    finally:
        os.close(shell.terminal)
        os.waitpid(shell.pid, 0)
    return [(seconds * SLOWER if seconds < STAY / 2 else seconds, frame) for seconds, frame in shell.frames]


def main() -> None:
    """Record and write ``demo.svg``."""
    with tempfile.TemporaryDirectory() as name:
        picture = draw(record(Path(name)))
    target = HERE / "demo.svg"
    target.write_text(picture, encoding="utf-8")
    print(f"wrote {target.name}: {len(picture) // 1024} KB")  # noqa: T201


if __name__ == "__main__":
    main()
