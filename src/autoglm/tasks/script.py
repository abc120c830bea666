"""The task type ``script``: any program, Python or shell file of the project.

A script gets its arguments as JSON in the file that ``$AUTOGLM_INPUT`` names (the plain ones also as
``$AUTOGLM_INPUT_<NAME>``), and answers by writing JSON to ``$AUTOGLM_OUTPUT``, or by its standard output.

Where a script may lie: a relative path stays below the project root; an absolute path is taken as it is.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import TaskError
from autoglm.base.jsonvalue import NotJson, decode, encode
from autoglm.executors.failures import clip
from autoglm.executors.protocol import Command, CommandResult
from autoglm.spec.catalog import Catalog, OptionInfo, TaskTypeInfo
from autoglm.spec.model import Task
from autoglm.tasks.protocol import Attempt
from autoglm.tasks.script_errors import failure_of

OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of JSON that a script may write to ``$AUTOGLM_OUTPUT``, and of its standard output."""
VARIABLE_LIMIT = 16 * 1024
"""Characters of an argument that still becomes a variable of its own."""

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "USER", "TZ", "VIRTUAL_ENV", "SystemRoot")
_FORMATS = ("text", "json", "lines")


class ScriptTask:
    """Runs a script of the project in a process of its own."""

    info = TaskTypeInfo(
        name="script",
        options={
            option.name: option
            for option in (
                OptionInfo(
                    "script",
                    {
                        "type": "string",
                        "minLength": 1,
                        "description": "The file, relative to the project root. `.py` runs with our own Python, `.sh` "
                        "with bash, any other must be executable.",
                    },
                    required=True,
                ),
                OptionInfo("args", {"type": "array", "description": "Arguments on its command line."}),
                OptionInfo(
                    "interpreter",
                    {
                        "anyOf": [
                            {"type": "string", "minLength": 1},
                            {"type": "array", "items": {"type": "string"}, "minItems": 1},
                        ],
                        "description": "What to run the file with: a program, or a list with its arguments.",
                    },
                ),
                OptionInfo(
                    "output_format",
                    {
                        "enum": list(_FORMATS),
                        "default": "text",
                        "description": "How to read its standard output, when it writes nothing to $AUTOGLM_OUTPUT.",
                    },
                    templated=False,
                ),
                OptionInfo("stdin", {"description": "What it reads on its standard input: text, or data as JSON."}),
                OptionInfo(
                    "cwd",
                    {"type": "string", "minLength": 1, "description": "The folder it starts in; default: the root."},
                ),
            )
        },
        signature_keys=("script",),
        executor="subprocess",
        executors=("subprocess",),
        description="Run a program, a Python file or a shell script.",
    )

    def check(self, task: Task, catalog: Catalog) -> Iterator[tuple[tuple[str | int, ...], Diagnostic]]:
        """Yield a script that lies outside of the project. That it exists is checked with all other files."""
        script = task.options.get("script")
        if not isinstance(script, str) or "{{" in script or "{%" in script or posixpath.isabs(script):
            return
        if _inside(script) is None:
            yield ("options", "script"), _outside(script)

    async def run(self, attempt: Attempt) -> Any:
        """Run the script and return what it answers. Raises TaskError."""
        argv = [*_program(attempt), *_arguments(attempt.options.get("args"))]
        try:
            folder = Path(tempfile.mkdtemp(prefix="autoglm-"))
            try:
                return await self._run_in(folder, argv, attempt)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            raise TaskError(
                f"no temporary files can be made in {tempfile.gettempdir()}: {error.strerror or error}",
                code="script-files",
                hint="make room there, or set TMPDIR to a folder that has some",
            ) from None

    async def _run_in(self, folder: Path, argv: Sequence[str], attempt: Attempt) -> Any:
        given, answer = folder / "input.json", folder / "output.json"
        given.write_bytes(_encoded("its arguments", attempt.arguments))
        command = Command(
            argv,
            env=_environment(attempt, given, answer),
            cwd=_folder(attempt),
            stdin=_stdin(attempt.options.get("stdin")),
            capture_limit=OUTPUT_LIMIT,
        )
        result: CommandResult = await attempt.execute(command)
        failure = failure_of(result, str(attempt.options["script"]), _answer_of(answer) if result.exit_code else b"")
        if failure is not None:
            raise failure
        written = _read_answer(answer)
        if written:
            return _decoded(
                written, "what it wrote to $AUTOGLM_OUTPUT", "write one JSON value there; a text is in quotes"
            )
        return _read_stdout(result.stdout, attempt.options.get("output_format") or "text")

    async def close(self) -> None:
        """Nothing is held."""


# ------------------------------------------------------------------------------------------------- what is to be run


def _program(attempt: Attempt) -> list[str]:
    script = attempt.options.get("script")
    if not isinstance(script, str) or not script:
        raise _wrong("script", script, "the path of a file")
    path = Path(script)
    if not path.is_absolute():
        inside = _inside(script)
        if inside is None:
            outside = _outside(script)
            raise TaskError(outside.message, code=outside.code, retryable=False, hint=outside.hint)
        path = attempt.root / inside
    _check_exists(path, script)
    interpreter = attempt.options.get("interpreter")
    if isinstance(interpreter, str) and interpreter:
        return [interpreter, str(path)]
    if isinstance(interpreter, list) and interpreter:
        return [*_arguments(interpreter), str(path)]
    if interpreter is not None:
        raise _wrong("interpreter", interpreter, "a program, or a list of a program and its arguments")
    match path.suffix:
        case ".py":
            return [sys.executable, str(path)]
        case ".sh":
            return ["bash", str(path)]
    return [str(path)]


def _check_exists(path: Path, script: str) -> None:
    if not os.path.isfile(path):  # noqa: PTH113 - it also answers for names that no file can have
        raise TaskError(
            f"the script `{clip(script, 200)}` does not exist, or is no file",
            code="script-not-found",
            retryable=False,
            hint=f"it is looked for at {clip(str(path), 400)}",
        )


def _inside(path: str) -> str | None:
    """Return a relative path in its shortest form, None when it leads out of the root."""
    normal = posixpath.normpath(path)
    return None if normal == ".." or normal.startswith(("../", "/")) else normal


def _outside(script: str) -> Diagnostic:
    return Diagnostic(
        "script-outside-root",
        f"the script `{script}` lies outside of the project",
        hint="move it below the project root, or give its absolute path",
    )


def _folder(attempt: Attempt) -> Path:
    cwd = attempt.options.get("cwd")
    if cwd is None:
        return attempt.root
    if not isinstance(cwd, str) or "\0" in cwd:
        raise _wrong("cwd", cwd, "the path of a folder")
    return attempt.root / cwd


def _arguments(values: Any) -> list[str]:
    if values is None:
        return []
    if not isinstance(values, list | tuple):
        raise _wrong("args", values, "a list")
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    """Return a value as a script reads it in an argument or a variable: text as it is, all else as JSON."""
    return value if isinstance(value, str) else _encoded("an argument", value).decode()


def _stdin(value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else _encoded("`stdin`", value)


def _encoded(what: str, value: Any) -> bytes:
    try:
        return encode(value)
    except NotJson as error:
        raise TaskError(f"{what}: {error}", code="not-json", retryable=False, hint=error.hint) from None


def _wrong(option: str, value: Any, wanted: str) -> TaskError:
    return TaskError(
        f"`{option}` is {clip(repr(value), 200)}, and must be {wanted}",
        code="option-value",
        retryable=False,
        hint="look at what the templates in it give",
    )


def _environment(attempt: Attempt, given: Path, answer: Path) -> dict[str, str]:
    """Return the script's whole environment: little of ours, what the task sets, and what we tell it."""
    env = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("LC_")}
    env["PYTHONUNBUFFERED"] = "1"  # else a Python script's lines come all at its end
    env.update(attempt.env)
    env.update(_argument_variables(attempt.arguments))
    context = attempt.context
    env.update(
        AUTOGLM_RUN_ID=context.run_id,
        AUTOGLM_TASK_ID=context.task_id,
        AUTOGLM_ATTEMPT=str(context.attempt),
        AUTOGLM_IDEMPOTENCY_KEY=context.idempotency_key,
        AUTOGLM_INPUT=str(given),
        AUTOGLM_OUTPUT=str(answer),
        AUTOGLM_ROOT=str(attempt.root),
    )
    if context.traceparent is not None:
        env["TRACEPARENT"] = context.traceparent
    return env


def _argument_variables(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in arguments.items():
        if isinstance(value, dict | list | tuple):
            continue
        text = "" if value is None else _text(value)
        if len(text) <= VARIABLE_LIMIT and "\0" not in text:
            yield "AUTOGLM_INPUT_" + re.sub(r"[^A-Z0-9_]", "_", name.upper()), text


# -------------------------------------------------------------------------------------------------- what came of it


def _answer_of(path: Path) -> bytes:
    """Return what a script that failed wrote to ``$AUTOGLM_OUTPUT``, empty when that cannot be read."""
    try:
        return _read_answer(path)
    except (TaskError, OSError):
        return b""


def _read_answer(path: Path) -> bytes:
    """Return what the script wrote to ``$AUTOGLM_OUTPUT``, empty when it did not."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):  # a named pipe would block us, a link leads anywhere
            hint = "write to the file that is there, and put nothing else in its place"
            message = "$AUTOGLM_OUTPUT is no plain file any more"
            raise TaskError(message, code="script-output", retryable=False, hint=hint)
        if found.st_size > OUTPUT_LIMIT:
            raise TaskError(
                f"it wrote {found.st_size:,} bytes to $AUTOGLM_OUTPUT; {OUTPUT_LIMIT:,} are allowed",
                code="output-too-large",
                retryable=False,
                hint="write large results to a file of your own and answer with its name",
            )
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _read_stdout(stdout: bytes, output_format: str) -> Any:
    if output_format == "json":
        return _decoded(stdout, "its standard output", "print nothing else there, or use `output_format: text`")
    text = stdout.decode("utf-8", "replace")
    return text.splitlines() if output_format == "lines" else text.removesuffix("\n").removesuffix("\r")


def _decoded(text: bytes, what: str, advice: str) -> Any:
    try:
        return decode(text)
    except NotJson as error:
        raise TaskError(
            f"{what} is not JSON{_position(text)}" if error.path == "$" else f"{what}: {error}",
            code="script-output",
            hint=error.hint or advice,
        ) from None


def _position(text: bytes) -> str:
    """Return where and why JSON text is broken: `` (line 2, column 5): …``."""
    if not text.strip():
        return ": it is empty"
    try:
        json.loads(text.decode("utf-8", "replace"), parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f" (line {error.lineno}, column {error.colno}): {error.msg}"
    except RecursionError:
        pass  # and of what Python says of that every version says something else
    except ValueError as error:
        return f": {error}"
    return " that we can keep: it nests too deeply, or is not UTF-8"


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")
