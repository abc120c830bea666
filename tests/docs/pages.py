"""The documentation as tests see it: pages, fenced blocks, links; and how a block that shows a terminal is run.

A fenced block says in its opening line what is done with it:

* ```` ```yaml title=flow.yaml ```` (any language): it is written to that file;
* ```` ```console ````: what follows ``$ `` is run, all of it in one shell, and each line of output that is shown must
  come, in order; ``…`` stands for anything. Output that is not shown may come too;
* ```` ```yaml run ````: it is a workflow file that must run to its end, offline.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)(`{3,})(.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``options`` are the words after its language."""

    page: Path
    line: int
    language: str
    options: Mapping[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every page that we write."""
    below = sorted(path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md"))
    return [*sorted(ROOT.glob("*.md")), *(path for path in below if path.parent.name != "errors.d")]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    opened: tuple[int, str, str, list[str]] | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened = (number, fence[2], fence[3].strip(), [])
        elif opened is not None and fence and fence[2] == opened[1] and not fence[3].strip():
            language, *words = opened[2].split()[:1] + shlex.split(opened[2])[1:] or [""]
            options = dict((*word.split("=", 1), "")[:2] for word in words)
            yield Block(page, opened[0], language, options, "\n".join(opened[3]) + "\n")
            opened = None
        elif opened is not None:
            opened[3].append(line)


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block with the lines of output that are shown below it."""
    command: str | None = None
    shown: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, shown
            command, shown = line[2:], []
        elif command is not None and command.endswith("\\"):
            command = f"{command[:-1]}{line.removeprefix('> ')}"
        elif command is not None and line.strip() not in ("", "…"):
            shown.append(line)
    if command is not None:
        yield command, shown


def environment() -> dict[str, str]:
    """Return an environment in which ``autoglm`` and ``python`` are ours, and no key and no setting is at hand."""
    kept = {name: value for name, value in os.environ.items() if not re.match(r"AUTOGLM_|ZHIPUAI_|ZAI_|OPENAI_", name)}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}


def shell(script: str, folder: Path, env: Mapping[str, str]) -> str:
    """Run a shell script and return all that it printed."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.stdout


def play(block: Block, folder: Path, env: Mapping[str, str]) -> list[tuple[str, list[str], str]]:
    """Run a console block in one shell; return for each command what is shown of its output, and what came."""
    mark = "-- the next command --"
    steps = list(commands(block))
    script = f"\necho '{mark}'\n".join(command for command, _ in steps)
    outputs = shell(script, folder, env).split(f"{mark}\n")
    return [(command, shown, output) for (command, shown), output in zip(steps, outputs, strict=True)]


def missing(shown: list[str], output: str) -> str | None:
    """Return the first line that is shown and does not come after those before it; None when all do.

    White space of any length is one blank.
    """
    lines = iter(output.splitlines())
    for wanted in shown:
        pattern = re.compile(".*".join(re.escape(part) for part in " ".join(wanted.split()).split("…")))
        if not any(pattern.fullmatch(" ".join(line.split())) for line in lines):
            return wanted
    return None
