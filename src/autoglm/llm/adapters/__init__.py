"""Other clients than our own, for those who want a provider's library to make the calls. Each is an extra.

An adapter makes one chat call with a library's client: no retries of the library's own, its errors as the coded
failures that our client raises, its answers in the OpenAI form, so that everything behind it is the same.
"""

from __future__ import annotations

import asyncio
import importlib
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from autoglm.base.errors import TaskError

if TYPE_CHECKING:
    from autoglm.llm.chat import ChatRequest, Completion
    from autoglm.llm.models import Endpoint
    from autoglm.llm.wire import Note

_MODULES: Final = {
    "openai": ("autoglm.llm.adapters.openai_sdk", "OpenAiSdk"),
    "anthropic": ("autoglm.llm.adapters.anthropic_sdk", "AnthropicSdk"),
}


class ChatClient(Protocol):
    """What makes a chat call. Our own client is one too."""

    async def chat(
        self,
        endpoint: Endpoint,
        request: ChatRequest,
        note: Note,
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Return the answer to one call; with ``on_text`` it is streamed. Raises TaskError."""

    async def close(self) -> None:
        """Close the connections. Idempotent."""


def load_adapter(name: str) -> ChatClient:
    """Return the adapter ``name``. Raises TaskError ``adapter-missing`` when its library is not installed."""
    module, attribute = _MODULES[name]
    try:
        importlib.import_module(name)
    except ImportError:
        raise not_installed(name) from None
    made: ChatClient = getattr(importlib.import_module(module), attribute)()
    return made


def not_installed(name: str) -> TaskError:
    """Return the failure for an adapter whose library is not there."""
    return TaskError(
        f"the adapter `{name}` needs the package `{name}`, which is not installed",
        code="adapter-missing",
        retryable=False,
        hint=f"pip install 'open-autoglm[{name}]'",
    )


class Clients:
    """A library's clients: one for each event loop and endpoint, because its connections belong to a loop."""

    def __init__(self, make: Callable[[Endpoint], Any]) -> None:
        self._make = make
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Any, ...], Any]] = (
            weakref.WeakKeyDictionary()
        )

    def get(self, endpoint: Endpoint) -> Any:
        """Return the client of this loop for an endpoint."""
        clients = self._loops.setdefault(asyncio.get_running_loop(), {})
        key = (endpoint.base_url, endpoint.api_key, endpoint.proxy, endpoint.timeout, tuple(endpoint.headers.items()))
        if key not in clients:
            clients[key] = self._make(endpoint)
        return clients[key]

    async def close(self) -> None:
        """Close the clients of this loop, and let go of the others."""
        for client in self._loops.pop(asyncio.get_running_loop(), {}).values():
            await client.close()
        self._loops.clear()
