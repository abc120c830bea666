"""Steps on their way into the journal and back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from autoglm.base.errors import StoreError, TaskError
from autoglm.engine import messages as m
from autoglm.engine.states import RunStatus
from autoglm.executors.protocol import Call
from autoglm.spec.model import Retry
from autoglm.stores.sqlite import SqliteStore
from autoglm.tasks.protocol import Attempt, Park

from .house import Bench, Faulty
from .scripted import bench


def steps_of(made: Bench) -> dict[str, bytes]:
    return {event.key: bytes(event.value) for event in made.journal() if isinstance(event, m.StepRecorded)}


def result(made: Bench) -> Any:
    assert made.runner is not None
    return made.runner.run.result_of(made.runner.run.find("a"))  # type: ignore[arg-type]


def test_a_step_is_committed_before_it_returns(tmp_path: Path) -> None:
    seen = []

    async def ask() -> list[str]:
        return ["raw"]

    async def work(attempt: Attempt) -> Any:
        answer = await attempt.step("ask", ask)
        seen.append(steps_of(made))
        return answer

    made = bench(tmp_path, work, SqliteStore(tmp_path / "runs.db"))
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert seen == [{"ask": b'["raw"]'}]
    assert result(made) == ["raw"]
    made.store.close()


def test_a_step_is_done_once_whatever_fails_after_it(tmp_path: Path) -> None:
    done = []

    async def ask() -> dict[str, int]:
        done.append("ask")
        return {"n": len(done)}

    def a_second_later() -> None:
        made.now += 1

    async def work(attempt: Attempt) -> Any:
        answer = await attempt.step("ask", ask)
        answer["n"] += 10 * attempt.context.attempt
        if attempt.context.attempt == 1:
            raise TaskError("not today")
        if attempt.memo is None:
            raise Park(made.now, "wait", True)
        return answer

    made = bench(tmp_path, work, retry=Retry(delay=1.0, jitter="none"))
    made.watcher.when[m.AttemptFailed] = a_second_later
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert done == ["ask"]
    assert result(made) == {"n": 21}, "what one attempt does to a value is not seen by the next"


def test_text_is_recorded_as_it_came_and_found_by_the_next_attempt(tmp_path: Path) -> None:
    async def work(attempt: Attempt) -> Any:
        found = attempt.recorded("ask")
        if found is None:
            await attempt.record("ask", b'{"n":  1e0}')
            assert attempt.recorded("ask") == b'{"n":  1e0}'
            raise TaskError("not today")
        return found.decode()

    def a_second_later() -> None:
        made.now += 1

    made = bench(tmp_path, work, retry=Retry(delay=1.0, jitter="none"))
    made.watcher.when[m.AttemptFailed] = a_second_later
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert result(made) == '{"n":  1e0}'


def test_text_that_is_no_json_is_not_recorded(tmp_path: Path) -> None:
    async def work(attempt: Attempt) -> Any:
        with pytest.raises(TaskError, match="the step `ask` gave is not JSON data") as caught:
            await attempt.record("ask", b'{"n": ')
        return caught.value.code

    made = bench(tmp_path, work)
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert result(made) == "not-json"
    assert not steps_of(made)


def test_a_recovered_run_finds_its_steps(tmp_path: Path) -> None:
    done = []

    async def work(attempt: Attempt) -> Any:
        async def one() -> int:
            done.append("one")
            return 1

        async def two() -> int:
            done.append("two")
            assert made.runner is not None
            if done.count("two") == 1:
                made.runner.abort()
                await asyncio.Event().wait()
            return 2

        return [await attempt.step("one", one), await attempt.step("two", two)]

    made = bench(tmp_path, work)
    assert asyncio.run(made.start()) is RunStatus.RUNNING
    assert asyncio.run(made.resume()) is RunStatus.SUCCEEDED
    assert done == ["one", "two", "two"]
    assert result(made) == [1, 2]


def test_a_step_whose_commit_fails_does_not_return(tmp_path: Path) -> None:
    reached = []

    async def one() -> int:
        return 1

    async def work(attempt: Attempt) -> Any:
        reached.append(await attempt.step("one", one))

    made = bench(tmp_path, work)
    made.store = Faulty(made.store, 2)  # type: ignore[assignment]
    with pytest.raises(StoreError):
        asyncio.run(made.start())
    assert reached == []
    assert asyncio.run(made.resume()) is RunStatus.SUCCEEDED
    assert reached == [1]


def test_steps_side_by_side_and_the_same_one_twice_at_once(tmp_path: Path) -> None:
    done = []

    async def work(attempt: Attempt) -> Any:
        async def do(number: int) -> int:
            done.append(number)
            await asyncio.sleep(0)
            return number

        return await asyncio.gather(*(attempt.step(f"s{n % 3}", lambda n=n: do(n)) for n in range(6)))

    made = bench(tmp_path, work)
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert done == [0, 1, 2]
    assert result(made) == [0, 1, 2, 0, 1, 2]


def test_a_step_that_fails_is_not_recorded_and_may_be_tried_again(tmp_path: Path) -> None:
    async def work(attempt: Attempt) -> Any:
        async def do() -> int:
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("not yet")
            return len(tries)

        with pytest.raises(ValueError, match="not yet"):
            await attempt.step("do", do)
        return await attempt.step("do", do)

    tries: list[int] = []
    made = bench(tmp_path, work)
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert result(made) == 2


def test_secrets_are_redacted_and_the_value_is_the_same_when_it_is_found_again(tmp_path: Path) -> None:
    async def ask() -> dict[str, str]:
        return {"said": "the key is hunter2-hunter2"}

    async def work(attempt: Attempt) -> Any:
        first = await attempt.step("ask hunter2-hunter2", ask)
        assert first == await attempt.step("ask hunter2-hunter2", ask)
        return first

    made = bench(tmp_path, work)
    made.redactor.add("hunter2-hunter2")
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    assert "hunter2" not in str(steps_of(made))
    assert result(made) == {"said": "the key is ***"}


def test_a_large_value_is_a_blob(tmp_path: Path) -> None:
    async def ask() -> str:
        return "x" * 300_000

    async def work(attempt: Attempt) -> Any:
        return len(await attempt.step("ask", ask))

    made = bench(tmp_path, work)
    assert asyncio.run(made.start()) is RunStatus.SUCCEEDED
    (event,) = (event for event in made.journal() if isinstance(event, m.StepRecorded))
    assert event.blob is not None
    assert made.store.get_blob(event.blob.digest) == b'"' + b"x" * 300_000 + b'"'
    assert result(made) == 300_000


def test_a_value_that_is_no_json_fails_the_attempt(tmp_path: Path) -> None:
    async def ask() -> Any:
        return {1, 2}

    async def work(attempt: Attempt) -> Any:
        return await attempt.step("ask", ask)

    made = bench(tmp_path, work)
    assert asyncio.run(made.start()) is RunStatus.FAILED
    (event,) = (event for event in made.journal() if isinstance(event, m.AttemptFailed))
    assert (event.failure.code, event.failure.retryable) == ("not-json", False)
    assert event.failure.message.startswith("what the step `ask` gave is not JSON data: ")


def test_steps_are_inline_only(tmp_path: Path) -> None:
    async def ask() -> int:
        return 1

    class InThread:
        """Does its work in a thread."""

        def __init__(self) -> None:
            self.info = made.task_types["scripted"].info

        async def run(self, attempt: Attempt) -> Any:
            return await attempt.execute(Call(lambda: asyncio.run(attempt.step("ask", ask))))  # type: ignore[arg-type]

        async def close(self) -> None:
            pass

    async def nothing(attempt: Attempt) -> None:
        pass

    made = bench(tmp_path, nothing, executor="thread")
    made.task_types["scripted"] = InThread()  # type: ignore[assignment]
    assert asyncio.run(made.start()) is RunStatus.FAILED
    (event,) = (event for event in made.journal() if isinstance(event, m.AttemptFailed))
    assert event.failure.code == "wrong-executor"


def test_an_attempt_that_belongs_to_no_run_just_does_its_steps() -> None:
    async def ask() -> int:
        return 7

    attempt = Attempt("a", {}, {}, {}, None, None, Path(), None, None, "inline")  # type: ignore[arg-type]
    assert asyncio.run(attempt.step("ask", ask)) == 7  # type: ignore[arg-type]
