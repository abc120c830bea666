"""What functions of the author's do wrong, and what is wrong with how a task calls them."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

import autoglm
from autoglm.base.errors import TaskError
from autoglm.executors.inline import InlineExecutor
from autoglm.executors.process import ProcessExecutor
from autoglm.executors.protocol import Call, Command, Executor, Work
from autoglm.executors.subprocess import SubprocessExecutor
from autoglm.executors.thread import ThreadExecutor
from tests.errors.scene import Scene

HANDLERS = """
    import asyncio
    import os
    import signal
    import time

    from autoglm import AutoglmError, TaskError

    def divides(): return 1 / 0
    def leaves(): raise SystemExit(3)
    async def cancels_itself(): asyncio.current_task().cancel(); await asyncio.sleep(1)
    async def cancels():
        other = asyncio.create_task(asyncio.sleep(1))
        other.cancel()
        await other
    async def waits(): await asyncio.sleep(100)
    def dies(): os._exit(3)
    def killed(): os.kill(os.getpid(), signal.SIGSEGV)
    def killed_oddly(): os.kill(os.getpid(), signal.SIGRTMIN + 3)
    def says(): raise TaskError("the well is dry")
    def says_more(): raise TaskError("the well is dry", code="no-water", hint="dig deeper")
    def ours(): raise AutoglmError("something is amiss")
    def gives_a_set(): return {"found": {1, 2}}
    def keeps_a_set(ctx): ctx.state["seen"] = {1, 2}
    def keeps_by_number(ctx): ctx.state[7] = 1
    def gives_too_much(): return "x" * 68_000_000
    def gives_what_cannot_be_read(): return Odd()
    def waits_in_a_thread():
        with open("pipe") as pipe: return pipe.read()
    class Odd(dict):
        def items(self): raise RuntimeError("nobody reads me")
        __iter__ = keys = values = items
    def clean(text, limit): return text
    def idle(): return None
    """


def execute(executor: Executor, work: Work) -> None:
    async def main() -> None:
        try:
            await executor.run(work, lambda stream, line: None)
        finally:
            await executor.close()

    asyncio.run(main())


def failing(scene: Scene, fields: str) -> None:
    scene.write("tasks/handlers.py", HANDLERS)
    scene.run_task(fields)


DEEDS = {
    "divides": "handler-raised",
    "leaves": "handler-exit",
    "cancels": "handler-cancelled",
    "cancels_itself": "cancelled-itself",
    "says": "task-error",
    "says_more": "no-water",
    "ours": "handler-raised",
    "gives_a_set": "not-json",
    "keeps_a_set": "not-json",
    "keeps_by_number": "not-json",
    "gives_too_much": "output-too-large",
    "gives_what_cannot_be_read": "not-json",
}


@pytest.mark.parametrize(("handler", "code"), DEEDS.items(), ids=DEEDS)
def test_what_a_function_does(scene: Scene, handler: str, code: str) -> None:
    failing(scene, f"handler: {handler}")
    scene.shows(code)


def test_where_it_was_raised(scene: Scene) -> None:
    failing(scene, "handler: divides")
    scene.autoglm("show", "r1", "a")
    scene.shows("handler-raised")


def test_a_timeout(scene: Scene) -> None:
    scene.write("tasks/handlers.py", HANDLERS)
    # After another task, so that the functions have been loaded when the time begins.
    scene.run(
        "tasks:\n  - {name: first, handler: idle}\n  - {name: a, handler: waits, timeout: 10ms, depends_on: first}\n"
    )
    scene.shows("timeout")


def test_a_timeout_of_what_cannot_be_stopped(scene: Scene) -> None:
    os.mkfifo(scene.root / "pipe")
    failing(scene, "handler: waits_in_a_thread, timeout: 50ms")
    os.close(os.open(scene.root / "pipe", os.O_WRONLY | os.O_NONBLOCK))  # lets the thread go
    scene.shows("timeout")


def test_a_result_that_is_not_as_its_schema_says(scene: Scene) -> None:
    failing(scene, "handler: idle, output_schema: {type: object}")
    scene.shows("schema-mismatch")


def test_a_process_that_dies(scene: Scene) -> None:
    failing(scene, "handler: dies, executor: process")
    failing(scene, "handler: killed, executor: process")
    failing(scene, "handler: killed_oddly, executor: process")
    scene.shows("worker-died")


def test_arguments_that_only_the_run_knows(scene: Scene) -> None:
    failing(scene, "handler: os.path:exists")
    failing(scene, "handler: os.path:exists, with: {path: x, paths: y}")
    failing(scene, "handler: os.path:joint")
    failing(scene, "handler: tasks/gone.py:clean")
    scene.shows("missing-argument", "unknown-argument", "unknown-handler")


def test_a_file_of_functions_that_cannot_be_imported(scene: Scene) -> None:
    scene.write("tasks/broken.py", "import no_such_package\n\ndef broken(): return 1\n")
    assert scene.run_task("handler: broken") == 1
    scene.shows("handler-import-failed")


def test_files_of_functions_that_cannot_be_read(scene: Scene) -> None:
    scene.write("tasks/one.py", "def clean(text): return text\n")
    scene.write("tasks/two.py", "def clean(text): return text\n")
    scene.write("tasks/wrong.py", "def wrong(\n")
    scene.write("tasks/large.py", "#" * 5_000_000)
    scene.write("tasks/deep.py", f"a = {'-' * 50_000}1\n")
    (scene.root / "tasks" / "folder.py").mkdir()
    scene.write("flow.yaml", "tasks: [{name: a, handler: clean, with: {text: x}}]")
    scene.autoglm("validate", "flow.yaml")
    scene.shows("handler-duplicate", "handler-syntax", "handler-unreadable")


SERVICES = """
    import autoglm

    @autoglm.service
    def database(): raise OSError("connection refused")

    @autoglm.service
    async def cache(): return {}

    """
ASKING = """
    def asks(database): return 1
    def asks_late(ctx): return ctx.dependencies["cashe"]
    def asks_async(ctx): return ctx.dependencies["cache"]
    """


def test_services(scene: Scene) -> None:
    scene.write("tasks/services.py", SERVICES)
    scene.write("tasks/asking.py", ASKING)
    for handler in ("asks", "asks_late", "asks_async", "asks, executor: process"):
        assert scene.run_task(f"handler: {handler}") == 1
    scene.shows("service-failed", "unknown-service", "service-not-open", "service-not-shared")


def test_a_function_that_another_process_cannot_find(scene: Scene) -> None:
    with scene.refuses("a lambda goes to the process executor"):
        execute(ProcessExecutor(1), Call(lambda: 1))
    with scene.refuses("what is no data goes to the process executor"):
        execute(ProcessExecutor(1), Call(len, {"obj": {1, 2}}, reference="builtins:len"))
    flow = autoglm.Workflow.from_data({"tasks": [{"name": "a", "executor": "process"}]}, {"a": lambda: 1})
    run = flow.run()
    scene.shows_error(
        "a workflow made in Python runs a lambda of its own in a process", TaskError(**run.tasks["a"].error)
    )
    scene.shows("not-importable", "not-json")


def test_work_of_another_kind(scene: Scene) -> None:
    for executor in (InlineExecutor(), ThreadExecutor(), ProcessExecutor(1), SubprocessExecutor()):
        with scene.refuses(f"{executor.name} gets what it does not run"):
            execute(executor, Call(len) if executor.name in ("inline", "subprocess") else Command(["true"], {}))
    scene.shows("wrong-executor")


def test_a_system_without_threads(scene: Scene) -> None:
    before = threading.stack_size(2**46)  # more than the machine has: no thread can start
    try:
        with scene.refuses("a function goes to the thread executor"):
            execute(ThreadExecutor(), Call(len, {"obj": "x"}))
    finally:
        threading.stack_size(before)
    scene.shows("no-thread")
