"""The workflow files and project folders that the benchmarks run. ``python bench/files.py FOLDER`` writes them all."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

HANDLERS = '''"""Handlers of the benchmarks."""

import base64
import os
import time


async def noop():
    return 1


async def kilobyte():
    """Return 1 KB of text that does not compress."""
    return base64.b64encode(os.urandom(768)).decode()


_ledger = None


async def record(item):
    """Note outside the engine that this item was executed, and when."""
    global _ledger
    if _ledger is None:
        _ledger = os.open(os.environ["BENCH_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_ledger, b"%d %d\\n" % (item, time.monotonic_ns()))
    return item


async def fail():
    raise ValueError("everything is to be undone")


async def step(number, text, previous=None):
    return number
'''


def project(folder: Path, workflow: str, name: str = "flow.yaml") -> Path:
    """Make ``folder`` a project with the handlers above and one workflow file; return the file's path."""
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    (folder / "tasks" / "work.py").write_text(HANDLERS)
    (folder / "autoglm.yaml").touch()
    path = folder / name
    path.write_text(workflow)
    return path


def _tasks(lines: Iterable[str], durability: str = "full") -> str:
    return f"version: 1.0\nname: bench\ndurability: {durability}\ntasks:\n" + "\n".join(lines) + "\n"


def fanout_static(folder: Path, count: int) -> Path:
    """``count`` tasks that wait for nothing."""
    return project(folder, _tasks(f"  - {{name: t{number}, handler: noop}}" for number in range(count)))


def fanout_loop(folder: Path, count: int, handler: str = "noop") -> Path:
    """One task, looped over a file of ``count`` items."""
    path = project(folder, _tasks([f"  - {{name: fan, handler: {handler}, loop: {{file: items.jsonl}}}}"]))
    (folder / "items.jsonl").write_text("".join(f"{number}\n" for number in range(count)))
    return path


_UNDO = "handler: noop, rollback: {handler: noop}"


def undone_static(folder: Path, count: int) -> Path:
    """``count`` tasks that are rolled back, because the last one fails."""
    tasks = [f"  - {{name: t{number}, {_UNDO}}}" for number in range(count)]
    names = ", ".join(f"t{number}" for number in range(count))
    return project(folder, _tasks([*tasks, f"  - {{name: last, handler: fail, depends_on: [{names}]}}"]))


def undone_loop(folder: Path, count: int) -> Path:
    """The same as items of one loop."""
    many = f"  - {{name: many, {_UNDO}, loop: '{{{{ range({count}) }}}}'}}"
    return project(folder, _tasks([many, "  - {name: last, handler: fail, depends_on: many}"]))


def chain(folder: Path, count: int, handler: str = "noop") -> Path:
    """``count`` tasks, each after the one before."""
    lines = [f"  - {{name: t0, handler: {handler}}}"]
    lines += [f"  - {{name: t{n}, handler: {handler}, depends_on: [t{n - 1}]}}" for n in range(1, count)]
    return project(folder, _tasks(lines))


def decisions(folder: Path, count: int) -> Path:
    """``count`` decisions that look at an input and take no branch."""
    rule = "conditions: [{rule: inputs.n > 5, action: end}]"
    lines = [f"  - {{name: d{number}, {rule}}}" for number in range(count)]
    return project(folder, _with_input(_tasks([*lines, "  - {name: end, handler: noop}"])))


def skips(folder: Path, count: int) -> Path:
    """``count`` tasks whose condition is false."""
    lines = [f"  - {{name: t{number}, handler: noop, when: inputs.n > 5}}" for number in range(count)]
    return project(folder, _with_input(_tasks(lines)))


def _with_input(text: str) -> str:
    return text.replace("tasks:\n", "inputs: {n: {type: integer, default: 3}}\ntasks:\n", 1)


def until(folder: Path, count: int) -> Path:
    """``count`` iterations, each of which is given the result of the one before."""
    loop = f"loop: {{until: index == {count - 1}, max_iterations: {count}}}"
    given = '{number: "{{ index }}", text: x, previous: "{{ previous }}"}'
    task = f"  - {{name: again, handler: step, with: {given}, {loop}}}"
    return project(folder, _tasks([task], durability="process"))


BIG_TASK = """\
  - name: step_{n}
    type: function
    handler: step
    description: Step {n} of the nightly batch
    depends_on: [{depends_on}]
    with:
      number: {n}
      text: {text}
    retry: {{max_attempts: 4, delay: 1s}}
    timeout: 5m
    labels: {{team: data, stage: "{stage}"}}
"""


def big(count: int) -> str:
    """Return a file such as a generator makes: ``count`` tasks with the usual fields, about 300 bytes each."""
    parts = ["version: 1.0\nname: big\ninputs:\n  day: {type: string, default: monday}\ntasks:\n"]
    for n in range(count):
        depends_on = f"step_{n - 10}" if n >= 10 else ""
        text = f'"{{{{ day }}}} after {{{{ tasks.step_{n - 10}.result }}}}"' if n >= 10 else '"{{ day }}"'
        parts.append(BIG_TASK.format(n=n, depends_on=depends_on, text=text, stage=f"s{n % 7}"))
    return "".join(parts)


def big_json(count: int) -> str:
    """Return the same file as JSON."""
    import yaml

    return json.dumps(yaml.load(big(count), Loader=yaml.CSafeLoader))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for title, make in [("fanout-loop", fanout_loop), ("fanout-static", fanout_static), ("chain", chain)]:
        print(make(target / title, 10_000))
    print(project(target / "big-yaml", big(10_000)))
    print(project(target / "big-json", big_json(10_000), "flow.json"))
