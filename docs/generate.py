"""Write those parts of the documentation that follow from the code, or check that they still do.

``python docs/generate.py`` writes them; ``python docs/generate.py --check`` lists what is out of date and fails.

* ``states.md``: the diagrams and tables between its markers, from ``autoglm.engine.states``;
* ``errors.md``: everything in ``errors.d``, by part;
* ``workflow.schema.json``: the JSON Schema of workflow files, as ``autoglm schema`` prints it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from autoglm.cli.commands.check import schema
from autoglm.engine.states import COARSE, FINAL, RUN_FINAL, RUN_TRANSITIONS, TRANSITIONS, RunStatus, TaskStatus

HERE = Path(__file__).parent
PARTS = {
    "file": "Reading the file",
    "checks": "Checking the workflow",
    "expressions": "Expressions",
    "tasks": "Functions and scripts",
    "llm": "Models",
    "executors": "Executors",
    "project": "Project, settings, secrets, loop files",
    "stores": "Stores",
    "testing": "Testing workflows",
    "cli": "The command",
    "other": "Runs and the command",
}
ENTRY = re.compile(r"^- `([a-z0-9-]+)` — \S.*$")
ERRORS_HEAD = """\
# Error codes

Every error has a code that never changes, one sentence, and mostly a hint. `retry.on` takes codes too. Generated from
`docs/errors.d` by `python docs/generate.py`.
"""


def entries(path: Path) -> dict[str, str]:
    """Return the entries of a file of ``errors.d``: code to line."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        match = ENTRY.match(line)
        if match is None:
            raise SystemExit(f"{path}:{number}: write it as: - `code` — when it happens; what to do.")
        found[match[1]] = line
    return found


def documented() -> dict[str, dict[str, str]]:
    """Return part → code → line."""
    files = sorted((HERE / "errors.d").glob("*.md"), key=lambda file: [*PARTS, file.stem].index(file.stem))
    return {file.stem: entries(file) for file in files}


def errors() -> str:
    """Return ``errors.md``."""
    parts = documented()
    text = ERRORS_HEAD
    for part, lines in parts.items():
        text += f"\n## {PARTS.get(part, part)}\n\n" + "\n".join(lines[code] for code in sorted(lines)) + "\n"
    return text


def diagram(transitions: Mapping[StrEnum, Iterable[StrEnum]], first: StrEnum) -> str:
    """Return a Mermaid state diagram of every step that the table allows but those that start a task or run anew."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.name}"]
    final = {*FINAL, *RUN_FINAL}
    for old, news in transitions.items():
        for new in sorted(news, key=list(type(old)).index):
            anew = old in final and new in (TaskStatus.PENDING, RunStatus.RUNNING)
            if not anew:
                lines.append(f"    {old.name} --> {new.name}")
    lines += [f"    {state.name} --> [*]" for state in transitions if state in final]
    return "\n".join([*lines, "```"])


def table(transitions: Mapping[StrEnum, Iterable[StrEnum]]) -> str:
    """Return the steps that the table allows as a Markdown table."""
    lines = ["| From | To |", "|---|---|"]
    for old, news in transitions.items():
        names = ", ".join(f"`{new.value}`" for new in sorted(news, key=list(type(old)).index))
        lines.append(f"| `{old.value}` | {names} |")
    return "\n".join(lines)


def coarse() -> str:
    """Return the coarse view of each state as a Markdown table."""
    lines = ["| State | Coarse | Final |", "|---|---|---|"]
    lines += [f"| `{each.value}` | `{COARSE[each].value}` | {'yes' if each in FINAL else ''} |" for each in TaskStatus]
    return "\n".join(lines)


def states() -> str:
    """Return ``states.md`` with everything between its markers made anew."""
    text = (HERE / "states.md").read_text(encoding="utf-8")
    parts = {
        "task-diagram": diagram(TRANSITIONS, TaskStatus.PENDING),
        "task-table": table(TRANSITIONS),
        "coarse": coarse(),
        "run-diagram": diagram(RUN_TRANSITIONS, RunStatus.PENDING),
        "run-table": table(RUN_TRANSITIONS),
    }
    for name, made in parts.items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise SystemExit(f"states.md has no `{begin}` … `{end}`")
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def workflow_schema() -> str:
    """Return the text of ``workflow.schema.json``."""
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        schema()
    return printed.getvalue()


def generated() -> dict[Path, str]:
    """Return what every generated file should hold."""
    return {
        HERE / "states.md": states(),
        HERE / "errors.md": errors(),
        HERE / "workflow.schema.json": workflow_schema(),
    }


def stale() -> dict[Path, str]:
    """Return the generated files that are out of date, with what they should hold."""
    wanted = generated().items()
    return {path: text for path, text in wanted if not path.exists() or path.read_text(encoding="utf-8") != text}


def main() -> int:
    """Write what is out of date, or with ``--check`` only say so; return the exit code."""
    check = "--check" in sys.argv
    for path, text in (found := stale()).items():
        if not check:
            path.write_text(text, encoding="utf-8")
        print(f"{path.name} is out of date: run python docs/generate.py" if check else f"wrote {path.name}")  # noqa: T201
    return 1 if found and check else 0


if __name__ == "__main__":
    sys.exit(main())
