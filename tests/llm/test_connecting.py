"""A server that never takes a connection: real sockets, and a backlog that is full."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from autoglm.base.errors import TaskError
from autoglm.llm.wire import Wire
from tests.llm.test_wire import HELLO, endpoint


@pytest.fixture
def blackhole() -> Iterator[str]:
    """Give the address of a socket that listens, whose queue is full: the kernel leaves who connects unanswered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(16):  # a backlog of 0 holds one or two, by system
            if not _connects(stack, listener.getsockname()):
                break
        else:
            pytest.skip("this kernel takes every connection, however full the backlog: there is no blackhole to test")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def _connects(stack: contextlib.ExitStack, address: Any) -> bool:
    """Return whether a connection is taken within a tenth of a second."""
    filler = stack.enter_context(socket.socket())
    filler.settimeout(0.1)
    try:
        return filler.connect_ex(address) == 0
    except OSError:  # it took too long
        return False


@pytest.mark.parametrize(("limits", "least"), [({"connect_timeout": 0.3}, 0.3), ({"timeout": 0.5}, 0.5)])
def test_a_server_that_takes_no_connection_is_given_up(blackhole: str, limits: dict[str, float], least: float) -> None:
    async def ask() -> TaskError:
        wire = Wire()
        try:
            with pytest.raises(TaskError) as caught:
                await wire.chat(endpoint(blackhole, **limits), HELLO)
            return caught.value
        finally:
            await wire.close()

    began = time.monotonic()
    error = asyncio.run(ask())
    took = time.monotonic() - began
    assert least <= took < 8, "long before the ten seconds that connecting may take otherwise"
    assert error.code == "model-timeout"
    assert error.retryable
    if "connect_timeout" in limits:
        assert error.classes == ("timeout", "connection"), "nothing was sent, so nothing is paid for"


def test_the_clients_own_connect_timeout_holds_where_the_model_says_none(blackhole: str) -> None:
    async def ask() -> str:
        wire = Wire(connect_timeout=0.3)
        try:
            with pytest.raises(TaskError) as caught:
                await wire.chat(endpoint(blackhole), HELLO)
            return caught.value.code
        finally:
            await wire.close()

    assert asyncio.run(ask()) == "model-timeout"
