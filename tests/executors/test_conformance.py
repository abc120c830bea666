"""Every built-in executor against the conformance suite."""

from __future__ import annotations

from autoglm.executors.inline import InlineExecutor
from autoglm.executors.process import ProcessExecutor
from autoglm.executors.protocol import Executor
from autoglm.executors.subprocess import SubprocessExecutor
from autoglm.executors.thread import ThreadExecutor
from autoglm.testing import ExecutorTests


class TestInline(ExecutorTests):
    kinds = frozenset({"coroutine"})

    def make_executor(self) -> Executor:
        return InlineExecutor()


class TestThread(ExecutorTests):
    kinds = frozenset({"call"})
    stops_calls = False

    def make_executor(self) -> Executor:
        return ThreadExecutor()


class TestSubprocess(ExecutorTests):
    kinds = frozenset({"command"})

    def make_executor(self) -> Executor:
        return SubprocessExecutor()


class TestProcess(ExecutorTests):
    kinds = frozenset({"call"})

    def make_executor(self) -> Executor:
        return ProcessExecutor(limit=2)
