"""Services: opened once a run at first use, whoever asks, and closed at its end in reverse."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.executors.inline import InlineExecutor
from autoglm.executors.thread import ThreadExecutor
from autoglm.tasks.function import FunctionTask
from autoglm.tasks.protocol import Attempt, TaskContext
from autoglm.tasks.services import RunServices

SERVICES = """
import asyncio, autoglm
events = []

@autoglm.service
def plain(config):
    events.append("open plain")
    return config["region"]

@autoglm.service
def closing():
    events.append("open closing")
    yield "closing"
    events.append("close closing")

@autoglm.service(name="db")
async def open_database():
    async with asyncio.TaskGroup():  # must be left in the task that entered it
        events.append("open db")
        await asyncio.sleep(0)
        yield "db"
        events.append("close db")

@autoglm.service
async def client():
    events.append("open client")
    await asyncio.sleep(0)
    return "client"

@autoglm.service
def broken():
    raise ConnectionError("nobody there")

@autoglm.service
async def broken_async():
    raise ConnectionError("nobody there")

@autoglm.service
async def sloppy():
    yield "sloppy"
    raise ValueError("on close")
"""

HANDLERS = """
import services
async def f(db, client, closing, plain):
    return [db, client, closing, plain]
def g(ctx):
    return [ctx.dependencies["closing"], ctx.dependencies.plain]
def early(ctx):
    return ctx.dependencies["db"]
def b(broken): ...
async def c(broken_async): ...
def n(ctx):
    return ctx.dependencies["clossing"]
"""


class Run:
    """A run of several function tasks that share services."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.type = FunctionTask()
        self.services = RunServices(self.type.handlers(root), {"region": "eu"})
        self.executors = {"inline": InlineExecutor(), "thread": ThreadExecutor()}

    async def call(self, name: str, executor: str = "inline", **fields: Any) -> Any:
        context = TaskContext(task_id=name, run_id="r", attempt=1, input_data={}, dependencies=self.services)
        attempt = Attempt(
            name=name,
            options={},
            arguments=fields.pop("arguments", {}),
            env={},
            output_schema=None,
            context=context,
            root=self.root,
            execute=lambda work: self.executors[executor].run(work, print),
            log=print,
            executor=executor,
            services=self.services,
            **fields,
        )
        return await self.type.run(attempt)

    async def close(self) -> list[TaskError]:
        errors = await self.services.close()
        for executor in self.executors.values():
            await executor.close()
        await self.type.close()
        return errors

    def events(self) -> list[str]:
        function = self.type.handlers(self.root).service("plain")
        return function.__globals__["events"]  # type: ignore[no-any-return]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "services.py").write_text(SERVICES)
    (tmp_path / "tasks" / "steps.py").write_text(HANDLERS.replace("import services\n", ""))
    return tmp_path


def test_opened_once_and_closed_in_reverse(root: Path) -> None:
    async def main() -> None:
        run = Run(root)
        results = await asyncio.gather(*(run.call("f", executor) for executor in ("inline", "thread") * 5))
        assert results == [["db", "client", "closing", "eu"]] * 10
        assert sorted(run.events()) == ["open client", "open closing", "open db", "open plain"]
        assert await run.call("g", "thread") == ["closing", "eu"]
        opened = [event.removeprefix("open ") for event in run.events()]
        assert await run.close() == []
        closed = [event.removeprefix("close ") for event in run.events()[4:]]
        assert closed == [name for name in reversed(opened) if name in ("db", "closing")]
        assert await run.services.close() == []

    asyncio.run(main())


def test_what_the_workflow_gives_comes_before_a_service(root: Path) -> None:
    async def main() -> None:
        run = Run(root)
        given = await run.call("f", arguments={"db": 1}, upstream={"client": 2}, inputs={"closing": 3, "plain": 4})
        assert given == [1, 2, 3, 4]
        assert run.events() == []
        await run.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("handler", "code", "words"),
    [
        ("b", "service-failed", "ConnectionError: nobody there"),
        ("c", "service-failed", "ConnectionError: nobody there"),
        ("early", "service-not-open", "async and not open yet"),
        ("n", "unknown-service", "clossing"),
    ],
)
def test_services_that_are_not_to_be_had(root: Path, handler: str, code: str, words: str) -> None:
    async def main() -> None:
        run = Run(root)
        for _ in range(2):  # a second attempt tries again
            with pytest.raises(TaskError) as caught:
                await run.call(handler)
            assert caught.value.code == code
            assert words in caught.value.message
        await run.close()

    asyncio.run(main())


def test_a_service_that_fails_to_close_does_not_stop_the_others(root: Path) -> None:
    async def main() -> None:
        run = Run(root)
        for name in ("closing", "sloppy", "db"):
            await run.services.get(name)
        errors = await run.close()
        assert [error.message for error in errors] == ["the service `sloppy` cannot be closed: ValueError: on close"]
        assert run.events()[-2:] == ["close db", "close closing"]

    asyncio.run(main())


def test_an_attempt_that_is_cancelled_takes_the_service_from_no_other(root: Path) -> None:
    async def main() -> None:
        run = Run(root)
        first = asyncio.create_task(run.services.get("client"))
        second = asyncio.create_task(run.services.get("client"))
        while "open client" not in run.events():  # noqa: ASYNC110 - it is a list of the author's
            await asyncio.sleep(0)
        first.cancel()
        assert await second == "client"
        assert run.events().count("open client") == 1
        await run.close()

    asyncio.run(main())


def test_a_run_may_end_while_a_service_opens(root: Path) -> None:
    (root / "tasks" / "slow.py").write_text(
        "import asyncio, autoglm\nopening = asyncio.Event()\n"
        "@autoglm.service\nasync def slow():\n    opening.set()\n    await asyncio.Event().wait()\n"
    )

    async def main() -> None:
        run = Run(root)
        waiting = asyncio.create_task(run.services.get("slow"))
        await asyncio.to_thread(run.type.handlers(root).service, "slow")
        await run.type.handlers(root).service("slow").__globals__["opening"].wait()
        assert await run.close() == []
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
