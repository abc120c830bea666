"""A project in which things go wrong, and what its user then reads.

A test brings the mistake about and names the codes that must show::

    def test_a_run_that_is_not_there(scene: Scene) -> None:
        scene.autoglm("show", "r")
        scene.shows("run-not-found")

What was said is the section of that test in ``tests/golden/errors/AREA.txt``, where the test stands in
``tests/errors/test_AREA.py``. ``AUTOGLM_UPDATE_GOLDEN=1`` writes it; read the diff.
"""

from __future__ import annotations

import difflib
import json
import re
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from autoglm.base.errors import AutoglmError, TaskError
from autoglm.cli.entry import enter
from autoglm.cli.output import show_error
from tests.golden import GOLDEN, check_golden, is_updating
from tests.llm.loopback import on_a_thread

T = TypeVar("T")

SHOWN = re.compile(
    r"(?:error|warning)\[([a-z0-9-]+)\]"  # in a diagnostic
    r"|^(?:✗ .+?  |error +)([a-z0-9-]+): "  # of a task, at the end of a run and by `show`
    r"|^([a-z0-9]+-[a-z0-9-]+): "  # of a run whose tasks did not fail
    r'|"code": "([a-z0-9-]+)"',  # with --json
    re.MULTILINE,
)
"""A code as a user meets it."""

_HEAD = "━━ "
_CHANGING = (
    (re.compile(r"\x00"), r"\\0"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\b(process|pid) \d+"), r"\1 PID"),
    (re.compile(r"crash-\d+-\d+-\d+"), "crash-DATE-TIME-PID"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0xADDRESS"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "DATE"),
    (re.compile(r"^\d\d:\d\d:\d\d(?= )", re.MULTILINE), "CLOCK"),
    (re.compile(r"(schema \d+; this one knows) \d+"), r"\1 N"),
    (re.compile(r"\bdriven by [^ /]+/\d+/\d+"), "driven by HOST/PID/START"),
    (re.compile(r"\btook [0-9a-z.]+"), "took TIME"),
    (re.compile(r"(?<= \()[\d.]+s(?=\)$|, )|(?<= (?:passed|failed) in )[\d.]+s$", re.MULTILINE), "TIME"),
)
"""What is another at each run, and what stands for it."""


def codes_in(text: str) -> set[str]:
    """Return the codes that a user sees in ``text``."""
    return {code for found in SHOWN.findall(text) for code in found if code}


def read_sections(area: str) -> dict[str, str]:
    """Return the sections of ``tests/golden/errors/AREA.txt`` by name; none while there is no such file."""
    path = GOLDEN / "errors" / f"{area}.txt"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    pairs = (part.partition("\n") for part in re.split(f"^{_HEAD}", text, flags=re.MULTILINE)[1:])
    return {name: body.strip("\n") for name, _, body in pairs}


def _written(sections: dict[str, str]) -> str:
    return "\n\n".join(f"{_HEAD}{name}\n{body}" for name, body in sorted(sections.items())) + "\n"


def _difference(kept: str, text: str) -> str:
    return "\n".join(difflib.unified_diff(kept.splitlines(), text.splitlines(), "golden", "now", lineterm=""))


class Scene:
    """A project's folder, and a transcript of what was said about it."""

    def __init__(
        self, root: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], area: str, test: str
    ) -> None:
        self.root = root
        self.area = area
        self._name = test.removeprefix("test_").replace("_", " ")
        self.patch = patch
        self._capture = capture
        self._said: list[str] = []
        self._runs = 0

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project; what begins with ``#!`` may be executed."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        if text.lstrip("\n").startswith("#!"):
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def autoglm(self, *arguments: str, quietly: bool = False) -> int:
        """Run the command here, note what it says, and return its exit code; ``quietly`` notes nothing."""
        self._capture.readouterr()
        code = enter(arguments)
        told = self._capture.readouterr()
        if not quietly:
            self._note(" ".join(["$ autoglm", *arguments]), told.out + told.err)
        return code

    def autoglm_apart(self, *arguments: str, before: str = "", **how: Any) -> int:
        """Do the same in a process of its own, after the shell's words ``before``."""
        command = [sys.executable, "-m", "autoglm", *arguments]
        if before:
            command = ["bash", "-c", f'{before}\nexec "$@"', "bash", *command]
        given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **how}
        done = subprocess.run(command, cwd=self.root, encoding="utf-8", check=False, **given)
        lines = " ".join(["$ autoglm", *arguments])
        self._note(f"$ {before}\n{lines}" if before else lines, (done.stdout or "") + done.stderr)
        return done.returncode

    def run(self, flow: str, *arguments: str) -> int:
        """Run a workflow given as text; it is called ``flow.yaml``, and the runs of a test ``r1``, ``r2`` …"""
        self.write("flow.yaml", flow)
        self._runs += 1
        return self.autoglm("run", "flow.yaml", "-q", "--run-id", f"r{self._runs}", *arguments)

    def run_task(self, fields: str, *arguments: str, **more: Any) -> int:
        """Run a workflow of one task, ``a``, with these fields in YAML; ``more`` are fields of the workflow."""
        rest = "".join(f"{name}: {json.dumps(value)}\n" for name, value in more.items())
        return self.run(f"{rest}tasks:\n  - {{name: a, {fields}}}\n", *arguments)

    @contextmanager
    def refuses(self, what: str) -> Iterator[None]:
        """Note the error of ours that the block raises, printed as the command would; ``what`` tells what is done."""
        with pytest.raises(AutoglmError) as caught:
            yield
        self.shows_error(what, caught.value)

    def shows_error(self, what: str, error: AutoglmError) -> None:
        """Note an error that was raised for real, printed as the command would."""
        self._capture.readouterr()
        show_error(error)
        self._note(f"> {what}", self._capture.readouterr().err)
        if isinstance(error, TaskError):
            assert "\n" not in error.message

    @contextmanager
    def serving(self, server: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Let a server of this test's run, on a thread of its own."""
        with on_a_thread(server) as ready:
            yield ready

    def shows(self, *codes: str) -> None:
        """Assert that what was said shows these codes, and is what the golden file holds."""
        text = "\n\n".join(self._said)
        missing = set(codes) - codes_in(text)
        assert not missing, f"{sorted(missing)} not shown in:\n{text}"
        assert "Traceback (most recent call last)" not in text
        sections = read_sections(self.area)
        if is_updating():
            sections[self._name] = text
            check_golden(f"errors/{self.area}.txt", _written(sections))
        kept = sections.get(self._name, "")
        assert text == kept, f"{_difference(kept, text)}\nAUTOGLM_UPDATE_GOLDEN=1 writes it, if it reads well"

    def _note(self, head: str, said: str) -> None:
        lines = "\n".join(line.rstrip() for line in f"{head}\n{said}".replace(str(self.root), "PROJECT").splitlines())
        for pattern, stand_in in _CHANGING:
            lines = pattern.sub(stand_in, lines)
        self._said.append(lines.strip("\n"))
