"""Scripts: how they are started, what they are told, how they answer, and every way of failing."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.executors.subprocess import SubprocessExecutor
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import Task
from autoglm.tasks.protocol import Attempt, TaskContext
from autoglm.tasks.script import ScriptTask


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, list[tuple[str, str]]]]:
    """Write a script, run it as one attempt, and return its result and log; no temporary file may be left."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def run(
        text: str | None = None, name: str = "s.sh", *, mode: int = 0o644, **options: Any
    ) -> tuple[Any, list[tuple[str, str]]]:
        if text is not None:
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(mode)
        log: list[tuple[str, str]] = []
        arguments = options.pop("arguments", {})
        env = options.pop("env", {})

        async def main() -> Any:
            executor = SubprocessExecutor()
            context = TaskContext(task_id="load[3]", run_id="run-1", attempt=2, input_data=arguments)
            attempt = Attempt(
                name="load",
                options={"script": name, **options},
                arguments=arguments,
                env=env,
                output_schema=None,
                context=context,
                root=tmp_path,
                execute=lambda work: executor.run(work, lambda stream, line: log.append((stream, line))),
                log=lambda stream, line: log.append((stream, line)),
                executor="subprocess",
            )
            try:
                return await ScriptTask().run(attempt)
            finally:
                await executor.close()

        try:
            return asyncio.run(main()), log
        finally:
            assert list((tmp_path / "temporary").iterdir()) == []

    return run


@pytest.fixture
def failure(run: Any) -> Callable[..., TaskError]:
    def failure(*arguments: Any, **options: Any) -> TaskError:
        with pytest.raises(TaskError) as caught:
            run(*arguments, **options)
        return caught.value

    return failure


# ------------------------------------------------------------------------------------------------- starting and telling


def test_shell_python_and_executable_files(run: Any) -> None:
    assert run("echo ${BASH_VERSION:+bash}")[0] == "bash"
    assert run("import sys; print(sys.argv[1:])", "s.py", args=["a b", 1, True, None, {"x": [1.5]}])[0] == (
        "['a b', '1', 'true', 'null', '{\"x\":[1.5]}']"
    )
    assert run("#!/bin/sh\necho direct", "tool", mode=0o755)[0] == "direct"
    assert run("echo $0 $1", "s.txt", interpreter="sh", args=["x"])[0].endswith("s.txt x")
    lines = run("echo hi", "s.txt", interpreter=["sh", "-x"])[1]
    assert sorted(lines) == [("stderr", "+ echo hi"), ("stdout", "hi")]  # two pipes: in either order


def test_a_script_is_told_what_it_works_on(run: Any) -> None:
    text = "import json, os\nshown = {k: v for k, v in os.environ.items() if k.startswith('AUTOGLM_')}\n"
    text += "shown['input'] = json.load(open(os.environ['AUTOGLM_INPUT']))\n"
    text += "json.dump(shown, open(os.environ['AUTOGLM_OUTPUT'], 'w'))\n"
    arguments = {"city name": "Zürich", "count": 3, "fast": True, "none": None, "rows": [1], "long": "x" * 200_000}
    shown = run(text, "s.py", arguments=arguments)[0]
    assert shown["input"] == arguments
    assert (shown["AUTOGLM_RUN_ID"], shown["AUTOGLM_TASK_ID"], shown["AUTOGLM_ATTEMPT"]) == ("run-1", "load[3]", "2")
    assert len(shown["AUTOGLM_IDEMPOTENCY_KEY"]) == 32
    given = {k.removeprefix("AUTOGLM_INPUT_"): v for k, v in shown.items() if k.startswith("AUTOGLM_INPUT_")}
    assert given == {"CITY_NAME": "Zürich", "COUNT": "3", "FAST": "true", "NONE": ""}


def test_the_environment_is_small(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    names = set(run("env", env={"STAGE": "test"}, output_format="lines")[0])
    assert not any(line.startswith("SECRET_OF_OURS") for line in names)
    assert {"STAGE=test", "LC_ALL=C.UTF-8"} <= names


def test_standard_input_and_folder(run: Any, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert run("cat", stdin="text")[0] == "text"
    assert run("cat", stdin={"a": [1]}, output_format="json")[0] == {"a": [1]}
    assert run("cat")[0] == ""
    assert run("pwd")[0] == str(tmp_path)
    assert run("pwd", cwd="sub")[0] == str(tmp_path / "sub")


# ---------------------------------------------------------------------------------------------------------- answering


def test_output_formats(run: Any) -> None:
    assert run("echo; echo ' a '; echo")[0] == "\n a \n"
    assert run("echo a; echo b", output_format="lines")[0] == ["a", "b"]
    assert run("echo '{\"a\": 1}'", output_format="json")[0] == {"a": 1}
    assert run("printf 'a\\377'")[0] == "a\ufffd"
    assert run("echo noise; echo '[1]' > $AUTOGLM_OUTPUT", output_format="json")[0] == [1]


def test_lines_are_logged(run: Any) -> None:
    log = run("echo one; echo two >&2")[1]
    assert sorted(log) == [("stderr", "two"), ("stdout", "one")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo '{\"a\": 1'; echo ' x}'", "line 2, column 2"),
        ("true", "it is empty"),
        ("echo NaN", "NaN"),
        ("printf '\"\\377\"'", "not JSON"),
        ("python3 -c \"print('[' * 100000)\"", "not JSON"),
        ("python3 -c \"print('9' * 5000)\"", "its standard output"),
        ("echo nonsense > $AUTOGLM_OUTPUT", "what it wrote to $AUTOGLM_OUTPUT is not JSON (line 1, column 1)"),
    ],
)
def test_answers_that_are_no_json(failure: Any, text: str, words: str) -> None:
    error = failure(text, output_format="json")
    assert error.code == "script-output"
    assert words in error.message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("mkfifo $AUTOGLM_OUTPUT", "script-output"),
        ("mkdir $AUTOGLM_OUTPUT", "script-output"),
        ("ln -s /dev/zero $AUTOGLM_OUTPUT", "script-output"),
        ("truncate -s 1G $AUTOGLM_OUTPUT", "output-too-large"),
        ("rm -r $(dirname $AUTOGLM_OUTPUT); exit 3", "script-exit"),
        ("yes", "output-too-large"),
    ],
)
def test_answers_that_are_traps(failure: Any, text: str, code: str) -> None:
    assert failure(text).code == code


# ------------------------------------------------------------------------------------------------------------ failing


def test_an_exit_code_is_told_with_the_last_words(failure: Any) -> None:
    error = failure("for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; echo >&2; exit 3")
    assert (error.code, error.retryable, error.details) == ("script-exit", True, {"exit_code": 3})
    assert error.failure().classes == ("script-exit", "exit_3")
    assert error.message == "s.sh ended with exit code 3: line 3\nline 4\nline 5\nline 6\nline 7"
    assert len(failure("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1").message) < 2_100


def test_a_script_says_how_it_failed(failure: Any) -> None:
    told = (
        '{"error": {"type": "Busy", "message": "try later", "code": "limit", "classes": ["soft"], "retryable": false,'
    )
    told += ' "retry_after": 2.5, "hint": "wait", "details": {"n": 1}}}'
    error = failure(f"echo '{told}' > $AUTOGLM_OUTPUT; echo noise >&2; exit 75").failure()
    assert (error.code, error.message, error.hint) == ("limit", "try later", "wait")
    assert error.classes == ("limit", "Busy", "soft", "exit_75")
    assert not error.retryable
    assert error.details == {"n": 1, "exit_code": 75, "retry_after": 2.5}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ('{"error": "no table"}', "no table"),
        ('{"error": {}}', "s.sh ended with exit code 1: noise"),
        ('{"rows": 1}', "s.sh ended with exit code 1: noise"),
        ("[", "s.sh ended with exit code 1: noise"),
        ("", "s.sh ended with exit code 1: noise"),
    ],
)
def test_what_a_script_leaves_out_is_as_without(failure: Any, told: str, message: str) -> None:
    error = failure(f"echo '{told}' > $AUTOGLM_OUTPUT; echo noise >&2; exit 1").failure()
    assert (error.message, error.hint, error.classes) == (message, None, ("script-exit", "exit_1"))


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ('{"error": 5}', "it must be a text, or a mapping"),
        ('{"error": {"retryable": "no"}}', "`retryable` must be true or false"),
        ('{"error": {"classes": [1]}}', "`classes` must be a list of names"),
        ('{"error": {"retry_after": true}}', "`retry_after` must be a number of seconds"),
        ('{"error": {"mesage": "x"}}', "it has no field `mesage`; its fields are message, code, type, "),
    ],
)
def test_what_a_script_says_in_other_words_is_told(failure: Any, told: str, wrong: str) -> None:
    error = failure(f"echo '{told}' > $AUTOGLM_OUTPUT; exit 1")
    assert error.code == "script-exit"
    assert wrong in error.hint


def test_an_error_of_a_script_that_ends_well_is_its_result(run: Any) -> None:
    assert run('echo \'{"error": "none"}\' > $AUTOGLM_OUTPUT')[0] == {"error": "none"}


def test_a_signal_is_told_by_name(failure: Any) -> None:
    error = failure("kill -9 $$")
    assert (error.code, error.message) == ("script-signal", "s.sh was ended by SIGKILL")
    assert error.failure().classes == ("script-signal", "sigkill")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"name": "missing.sh"}, "script-not-found"),
        ({"name": "../outside.sh"}, "script-outside-root"),
        ({"name": "a/../../outside.sh"}, "script-outside-root"),
        ({"name": "a\0b"}, "script-not-found"),
        ({"name": "x" * 5000}, "script-not-found"),
        ({"name": "temporary"}, "script-not-found"),
        ({"name": 3}, "option-value"),
        ({"text": "echo", "name": "tool"}, "script-not-executable"),
        ({"text": "echo", "name": "tool", "mode": 0o755}, "script-format"),
        ({"text": "#!/no/such\n", "name": "tool", "mode": 0o755}, "script-not-found"),
        ({"text": "", "interpreter": "no-such-program"}, "script-not-found"),
        ({"text": "", "interpreter": 3}, "option-value"),
        ({"text": "", "args": "text"}, "option-value"),
        ({"text": "", "args": ["a\0b"]}, "script-arguments"),
        ({"text": "", "args": ["x" * 3_000_000]}, "script-arguments"),
        ({"text": "", "args": [{1}]}, "not-json"),
        ({"text": "", "env": {"A": "\0"}}, "script-arguments"),
        ({"text": "", "cwd": "missing"}, "script-cwd-not-found"),
        ({"text": "", "cwd": "a\0b"}, "option-value"),
        ({"text": "", "stdin": {1}}, "not-json"),
    ],
)
def test_scripts_that_cannot_start(failure: Any, options: dict[str, Any], code: str) -> None:
    assert failure(**options).code == code


def test_no_room_for_temporary_files(failure: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert failure("true").code == "script-files"


def test_an_absolute_path_is_taken_as_it_is(run: Any) -> None:
    assert run(name="/bin/echo", args=["hi"])[0] == "hi"


# ------------------------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    ("script", "code", "hint"),
    [
        ("scripts/fetch.sh", None, None),
        ("./scripts/../scripts/fetch.sh", None, None),
        ("scripts/{{ item }}.sh", None, None),
        ("/usr/bin/env", None, None),
        ("../fetch.sh", "script-outside-root", "move it below the project root, or give its absolute path"),
    ],
)
def test_check(script: str, code: str | None, hint: str | None) -> None:
    task = Task(name="x", type="script", options={"script": script})
    found = list(ScriptTask().check(task, Catalog(files=frozenset({"scripts/fetch.sh"}))))
    assert [(d.code, d.hint) for _, d in found] == ([(code, hint)] if code else [])


def test_no_script_leaves_a_descriptor_open(run: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run("echo hi; exit 0", stdin="x")
    assert len(os.listdir("/proc/self/fd")) == before
