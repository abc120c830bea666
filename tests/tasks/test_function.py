"""Functions of the author's: found, called with what they ask for, and every way of failing."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autoglm
from autoglm.base.errors import TaskError
from autoglm.executors.inline import InlineExecutor
from autoglm.executors.process import ProcessExecutor
from autoglm.executors.protocol import Executor
from autoglm.executors.thread import ThreadExecutor
from autoglm.spec.catalog import Catalog, FunctionInfo
from autoglm.spec.model import Task
from autoglm.tasks.function import FunctionTask
from autoglm.tasks.handlers import Handlers
from autoglm.tasks.protocol import Attempt, TaskContext

EXECUTORS: dict[str, Callable[[], Executor]] = {
    "inline": InlineExecutor,
    "thread": ThreadExecutor,
    "process": lambda: ProcessExecutor(1),
}


def run(
    root: Path, name: str, *, executor: str = "inline", extra: dict[str, Any] | None = None, **fields: Any
) -> tuple[Any, list[tuple[str, str]]]:
    """Run one attempt of a function task; return its result and its log."""
    log: list[tuple[str, str]] = []

    async def main() -> Any:
        place = EXECUTORS[executor]()
        task_type = FunctionTask(extra)
        arguments = fields.pop("arguments", {})
        attempt = Attempt(
            name=name,
            options=fields.pop("options", {}),
            arguments=arguments,
            env=fields.pop("env", {}),
            output_schema=None,
            context=TaskContext(
                task_id=f"{name}[1]",
                run_id="run-1",
                attempt=2,
                input_data=arguments,
                config={"region": "eu"},
            ),
            root=root,
            execute=lambda work: place.run(work, lambda stream, line: log.append((stream, line))),
            log=lambda stream, line: log.append((stream, line)),
            executor=executor,
            **fields,
        )
        try:
            return await task_type.run(attempt)
        finally:
            await place.close()
            await task_type.close()

    return asyncio.run(main()), log


def failure(root: Path, name: str, **fields: Any) -> TaskError:
    with pytest.raises(TaskError) as caught:
        run(root, name, **fields)
    return caught.value


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Write the files of a project's ``tasks/``."""

    def write(**files: str) -> Path:
        (tmp_path / "tasks").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / "tasks" / f"{name}.py").write_text(text)
        return tmp_path

    return write


# ------------------------------------------------------------------------------------------------------------ finding


@pytest.mark.parametrize("executor", EXECUTORS)
def test_plain_and_async_functions_run_on_every_executor(project: Any, executor: str) -> None:
    root = project(
        plain="def double(x):\n    return 2 * x\n",
        waiting="import asyncio\nasync def triple(x):\n    await asyncio.sleep(0)\n    return 3 * x\n",
    )
    assert run(root, "double", executor=executor, arguments={"x": 4})[0] == 8
    assert run(root, "triple", executor=executor, arguments={"x": 4})[0] == 12


def test_only_the_file_that_is_needed_is_imported(project: Any) -> None:
    root = project(good="def fine():\n    return 1\n", bad="raise RuntimeError('never imported')\n")
    assert run(root, "fine")[0] == 1


def test_a_task_name_is_spelled_like_python(project: Any) -> None:
    assert run(project(a="def fetch_all_data():\n    return 1\n"), "fetch-all data")[0] == 1


def test_names_given_by_the_decorator(project: Any) -> None:
    text = "import autoglm\n@autoglm.task(name='clean-up')\ndef f():\n    return 1\n"
    text += "@autoglm.task\nasync def _g():\n    return 2\n"
    root = project(a=text)
    assert run(root, "clean-up")[0] == 1
    assert run(root, "_g")[0] == 2
    assert run(root, "clean-up", executor="process")[0] == 1


def test_a_marked_function_outside_of_any_project_is_found_by_name(tmp_path: Path) -> None:
    @autoglm.task
    def marked_in_this_very_test() -> int:
        return 5

    assert marked_in_this_very_test() == 5
    assert run(tmp_path, "marked_in_this_very_test")[0] == 5


def test_functions_that_only_importing_shows(project: Any) -> None:
    text = "import autoglm\nfor n in (1, 2):\n    autoglm.task(name=f'made-{n}')(lambda n=n: n)\n"
    text += "made = autoglm.task(name='held')(lambda: 'held')\n"
    assert run(project(a=text), "held")[0] == "held"


def test_references_and_given_functions(project: Any) -> None:
    root = project(a="class Tools:\n    @staticmethod\n    def f():\n        return 'tools'\n")
    (root / "extra.py").write_text("def g():\n    return 'beside'\n")
    assert run(root, "x", options={"handler": "math:sqrt"}, upstream={"before": 16.0})[0] == 4
    assert run(root, "x", options={"handler": "tasks/a.py:Tools.f"})[0] == "tools"
    assert run(root, "x", options={"handler": "extra:g"})[0] == "beside"
    assert run(root, "x", extra={"x": functools.partial(math.pow, 2)}, upstream={"before": 5})[0] == 32
    assert run(root, "given", extra={"given": lambda: "given"})[0] == "given"


def test_siblings_import_each_other(project: Any) -> None:
    root = project(
        alpha_file="def shared():\n    return 'shared'\n",
        beta_file="from .alpha_file import shared\nimport alpha_file\n"
        "def use():\n    import alpha_file as late\n    return shared() + late.shared()\n",
    )
    assert run(root, "use")[0] == "sharedshared"


def test_a_file_may_be_called_like_a_module_of_python(project: Any) -> None:
    root = project(email="def send():\n    import email.message\n    return email.message.__name__\n")
    assert run(root, "send")[0] == "email.message"


def test_two_projects_with_the_same_file_names(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "tasks").mkdir(parents=True)
        (tmp_path / name / "tasks" / "steps.py").write_text(f"def who():\n    return {name!r}\n")
    assert [run(tmp_path / name, "who")[0] for name in ("one", "two")] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("import nothing_like_it\ndef f(): ...\n", "tasks/a.py:1", "ModuleNotFoundError"),
        ("def f(): ...\nimport sys\nsys.exit(3)\n", "tasks/a.py:3", "SystemExit"),
        ("def f(): ...\n1 / 0\n", "tasks/a.py:2", "ZeroDivisionError"),
        ("def f(): ...\ndef g(:\n", "tasks/a.py:2", "SyntaxError"),
        ("def f(): ...\nraise KeyboardInterrupt\n", "tasks/a.py:2", "KeyboardInterrupt"),
    ],
)
def test_a_file_that_cannot_be_imported(project: Any, text: str, place: str, reason: str) -> None:
    error = failure(project(a=text), "x", options={"handler": "tasks/a.py:f"})
    assert (error.code, error.retryable) == ("handler-import-failed", False)
    assert error.message.startswith(place)
    assert reason in error.message


@pytest.mark.parametrize(
    "handler", ["clea", "no.such:f", "tasks/no.py:f", "math:sqr", "a:b:c", ":", "x:", "tasks/a.py:"]
)
def test_a_function_that_does_not_exist(project: Any, handler: str) -> None:
    error = failure(project(a="def clean(): ...\n"), "x", options={"handler": handler})
    assert error.code in ("unknown-handler", "handler-import-failed")
    assert not error.retryable
    if handler == "clea":
        assert error.hint == "did you mean `clean`?"


# ------------------------------------------------------------------------------------------------------------ binding


def test_the_order_in_which_parameters_are_filled(project: Any) -> None:
    root = project(
        a="def f(given, fetch_page, city, item, extra='default'):\n    return [given, fetch_page, city, item, extra]\n"
    )
    everything = {
        "arguments": {"given": 1},
        "upstream": {"given": 2, "fetch-page": 3},
        "inputs": {"given": 4, "fetch-page": 5, "city": 6},
        "item": 7,
        "item_name": "item",
    }
    assert run(root, "f", **everything)[0] == [1, 3, 6, 7, "default"]


def test_the_one_that_is_left_gets_the_upstream_or_the_item(project: Any) -> None:
    root = project(a="def f(text, *, mode='m'):\n    return [text, mode]\n", b="def g(*, text): ...\n")
    assert run(root, "f", upstream={"before": "up"})[0] == ["up", "m"]
    assert run(root, "f", item="it", item_name="row")[0] == ["it", "m"]
    assert run(root, "f", item=None, item_name="row")[0] == [None, "m"]
    assert failure(root, "f", upstream={"a": 1, "b": 2}).code == "missing-argument"
    assert failure(root, "g", upstream={"a": 1}).code == "missing-argument"


def test_several_that_are_left_get_the_fields_of_the_single_upstream(project: Any) -> None:
    root = project(a="def f(text, lang, size=1):\n    return [text, lang, size]\n")
    assert run(root, "f", upstream={"before": {"text": "t", "lang": "l", "size": 2}})[0] == ["t", "l", 1]
    error = failure(root, "f", upstream={"before": {"text": "t"}})
    assert (error.code, "`lang`" in error.message, "`text`" in error.message) == ("missing-argument", True, False)


def test_the_loop_variable_by_its_own_name(project: Any) -> None:
    assert run(project(a="def f(a, row):\n    return row\n"), "f", arguments={"a": 1}, item=3, item_name="row")[0] == 3


def test_what_is_missing_is_named(project: Any) -> None:
    error = failure(project(a="def f(a, b): ...\n"), "f", inputs={"c": 1})
    assert (error.code, error.retryable) == ("missing-argument", False)
    assert "`a`, `b`" in error.message
    assert error.hint == "pass it: `with: {a: …}`; in scope are c"


def test_arguments_that_the_function_does_not_take(project: Any) -> None:
    root = project(
        a="def f(text=''): ...\ndef g(ctx):\n    return dict(ctx.input_data)\ndef h(**rest):\n    return rest\n"
    )
    error = failure(root, "f", arguments={"texts": 1})
    assert (error.code, error.hint) == ("unknown-argument", "did you mean `text`?")
    assert run(root, "g", arguments={"a": 1})[0] == {"a": 1}
    assert run(root, "h", arguments={"a": 1})[0] == {"a": 1}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_context_by_name_and_by_annotation(project: Any, executor: str) -> None:
    text = "import autoglm\n"
    text += "def show(c):\n    return [c.task_id, c.run_id, c.attempt, len(c.idempotency_key), c.config,\n"
    text += "        c.cancelled, dict(c.input_data)]\n"
    text += "def f(ctx):\n    return show(ctx)\n"
    text += "def g(what: 'autoglm.TaskContext'):\n    return show(what)\n"
    text += "def h(context: autoglm.TaskContext):\n    return show(context)\n"
    text += "def plain(context: str):\n    return context\n"
    root = project(a=text)
    for name in ("f", "g", "h"):
        shown = run(root, name, executor=executor, arguments={"a": 1})[0]
        assert shown == [f"{name}[1]", "run-1", 2, 32, {"region": "eu"}, False, {"a": 1}]
    assert run(root, "plain", executor=executor, arguments={"context": "words"})[0] == "words"
    assert run(root, "f", executor=executor, arguments={})[0][6] == {}


# ------------------------------------------------------------------------------------------------------------ failing


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_the_function_raises_is_told_with_its_own_frames(project: Any, executor: str) -> None:
    root = project(a="def deep():\n    raise LookupError('no such row')\ndef f():\n    deep()\n")
    error = failure(root, "f", executor=executor)
    assert (error.code, error.message, error.retryable) == ("handler-raised", "LookupError: no such row", True)
    assert error.failure().classes == ("handler-raised", "LookupError")
    trace = error.details["traceback"]
    assert trace.count("File ") == 2
    assert 'tasks/a.py", line 2, in deep' in trace


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("import sys; sys.exit(3)", "handler-exit", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "handler-exit", "KeyboardInterrupt"),
        ("raise GeneratorExit", "handler-exit", "GeneratorExit"),
        ("return f()", "handler-raised", "RecursionError"),
        ("raise MemoryError", "handler-raised", "MemoryError"),
        ("raise StopIteration('x')", "handler-raised", "StopIteration"),
        ("raise Odd", "handler-raised", "Odd: (its message cannot be read"),
        ("raise Exception('x' * 10_000)", "handler-raised", "…"),
        ("raise ValueError('\\ud800')", "handler-raised", "ValueError: ?"),
        ("import asyncio; raise asyncio.CancelledError", "handler-cancelled", "cancelled"),
        ("raise ExceptionGroup('two', [ValueError(), KeyError()])", "handler-raised", "ExceptionGroup: two"),
        ("from autoglm import TaskError; raise TaskError('no', code='mine', details={1: set()})", "mine", "no"),
        ("from autoglm import TaskError; raise TaskError(None)", "task-error", "None"),
    ],
)
def test_every_way_of_raising(project: Any, executor: str, body: str, code: str, message: str) -> None:
    head = "class Odd(Exception):\n    def __str__(self):\n        raise SystemExit\n"
    root = project(
        a=f"{head}def f():\n    {body}\nasync def g():\n    {body.replace('return f()', 'return await g()')}\n"
    )
    for name in ("f", "g"):
        error = failure(root, name, executor=executor)
        assert error.code == code
        assert message in error.message
        assert len(error.message) <= 2_000
        error.failure()


def test_a_process_that_dies_takes_only_its_attempt(project: Any) -> None:
    root = project(a="import os\ndef f():\n    os._exit(7)\ndef g():\n    os.kill(os.getpid(), 11)\n")
    error = failure(root, "f", executor="process")
    assert (error.code, error.retryable) == ("worker-died", True)
    assert "exit code 7" in error.message
    assert "SIGSEGV" in failure(root, "g", executor="process").message


def test_the_output_of_a_process_is_logged_in_order(project: Any) -> None:
    root = project(
        a="import sys\ndef f(ctx):\n    print('one')\n    print('two', file=sys.stderr)\n"
        "    ctx.logger.warning('three %d', 3)\n"
    )
    _, log = run(root, "f", executor="process")
    assert sorted(log) == [("log", "warning: three 3"), ("stderr", "two"), ("stdout", "one")]


def test_env_is_set_while_the_function_runs_in_a_process(project: Any) -> None:
    root = project(a="import os\ndef f():\n    return os.environ['STAGE']\n")
    assert run(root, "f", executor="process", env={"STAGE": "test"})[0] == "test"


def test_what_cannot_go_to_another_process(project: Any) -> None:
    root = project(a="import datetime\ndef f():\n    return {1, 2}\ndef g(x): ...\n")
    assert failure(root, "f", executor="process").code == "not-json"
    assert failure(root, "g", executor="process", arguments={"x": {1}}).code == "not-json"
    assert failure(root, "h", executor="process", extra={"h": lambda: 1}).code == "not-importable"


# -------------------------------------------------------------------------------------------------- checks and defaults


def test_default_executor_and_checks() -> None:
    functions = {
        "wait": FunctionInfo("wait", "tasks/a.py:1", is_async=True),
        "clean": FunctionInfo("clean", "tasks/a.py:2", ("text",), ("text",)),
    }
    catalog, task_type = Catalog(functions=functions), FunctionTask()

    def task(**fields: Any) -> Task:
        return Task.model_validate({"name": "clean", "type": "function", **fields})

    assert task_type.default_executor(task(), catalog) == "thread"
    assert task_type.default_executor(task(options={"handler": "wait"}), catalog) == "inline"
    assert task_type.default_executor(task(options={"handler": "os:getpid"}), catalog) == "thread"
    found = list(task_type.check(task(env={"A": "1"}), catalog))
    assert [(path, d.code, d.is_error) for path, d in found] == [
        (("env",), "env-without-process", False),
    ]


def test_info_of_a_function_given_directly(tmp_path: Path) -> None:
    async def fetch(ctx: TaskContext, url: str, retries: int = 3, **rest: Any) -> None:
        """Fetch a page."""

    info = Handlers(tmp_path, {"fetch": fetch}).get("fetch").info()
    assert (info.parameters, info.required) == (("url", "retries"), ("url",))
    assert (info.is_async, info.accepts_any, info.doc) == (True, True, "Fetch a page.")


def test_a_no_op_costs_next_to_nothing(tmp_path: Path) -> None:
    async def nothing(ctx: TaskContext) -> None:
        return None

    async def main() -> float:
        task_type, executor = FunctionTask({"nothing": nothing}), InlineExecutor()
        log = lambda stream, line: None  # noqa: E731
        context = TaskContext(task_id="nothing", run_id="r", attempt=1, input_data={})
        attempt = Attempt("nothing", {}, {}, {}, None, context, tmp_path, lambda w: executor.run(w, log), log, "inline")
        await task_type.run(attempt)
        start = time.perf_counter()
        for _ in range(10_000):
            await task_type.run(attempt)
        await task_type.close()
        return (time.perf_counter() - start) / 10_000

    assert min(asyncio.run(main()) for _ in range(3)) < 50e-6
