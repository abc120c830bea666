"""Tools of MCP servers (https://modelcontextprotocol.io), which the project's settings declare.

A server's command comes from ``autoglm.yaml`` alone, never from a workflow's text or a model's answer. Servers are
opened for one attempt of an agent and closed with it: a stdio server lives as long as the attempt that uses it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import TaskError
from autoglm.spec.model import McpServer
from autoglm.tasks.agent_tools import Tool, ToolSpec
from autoglm.tasks.protocol import Attempt

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult

_PAGES = 100
"""How many pages of tools are read from one server: one that never ends its list must not hold us."""


async def open_tools(attempt: Attempt, spec: ToolSpec, stack: AsyncExitStack) -> list[Tool]:
    """Return the tools of a server, which stays open as long as ``stack``. Raises TaskError."""
    name = spec.server or ""
    server = attempt.mcp_servers.get(name)
    if server is None:
        raise TaskError(
            f"the settings declare no MCP server `{name}`",
            code="unknown-mcp-server",
            retryable=False,
            hint="declare it in autoglm.yaml: `mcp: {NAME: {command: […]}}`",
        )
    try:
        client = await stack.enter_async_context(_client(attempt, server, stack))
        found = await _list(client)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(
            f"the MCP server `{name}` cannot be used: {_reason(error)}",
            code="mcp-server-failed",
            hint="start its command by hand and look at what it says",
        ) from error
    wanted = {tool.name for tool in found} if spec.only is None else set(spec.only)
    for missing in sorted(wanted - {tool.name for tool in found}):
        close = did_you_mean(missing, [tool.name for tool in found])
        raise TaskError(
            f"the MCP server `{name}` has no tool `{missing}`",
            code="mcp-tool-missing",
            retryable=False,
            hint=f"did you mean `{close}`?"
            if close
            else f"it has {', '.join(sorted(t.name for t in found)) or 'none'}",
        )
    return [
        Tool(tool.name, tool.description or "", dict(tool.input_schema), _caller(client, tool.name))
        for tool in found
        if tool.name in wanted
    ]


def _client(attempt: Attempt, server: McpServer, stack: AsyncExitStack) -> Client:
    try:
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client
        from mcp.client.streamable_http import streamable_http_client
    except ImportError:
        raise TaskError(
            "MCP servers need the package mcp, which is not installed",
            code="mcp-missing",
            retryable=False,
            hint="pip install 'open-autoglm[mcp]'",
        ) from None
    if server.url is not None:
        return Client(streamable_http_client(server.url), read_timeout_seconds=server.timeout)
    command, *arguments = server.command
    parameters = StdioServerParameters(command=command, args=arguments, env=dict(server.env), cwd=attempt.root)
    errors = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # the stack closes it
    stack.callback(errors.close)
    return Client(stdio_client(parameters, errlog=errors), read_timeout_seconds=server.timeout)


async def _list(client: Client) -> list[Any]:
    found: list[Any] = []
    cursor = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


def _caller(client: Client, name: str) -> Callable[[dict[str, Any], str], Awaitable[Any]]:
    async def call(arguments: dict[str, Any], step: str) -> Any:
        from mcp import MCPError

        try:
            result = await client.call_tool(name, arguments)
        except MCPError as error:
            raise TaskError(f"{name}: {error}") from error
        return _value(name, result)

    return call


def _value(name: str, result: CallToolResult) -> Any:
    """Return what a tool gave: its structured value, else its texts. Raises TaskError when it says that it failed."""
    texts = [block.text for block in result.content if getattr(block, "text", None) is not None]  # type: ignore[union-attr]
    if result.is_error:
        raise TaskError("\n".join(texts) or f"{name} failed and does not say why")
    if result.structured_content is not None:
        return result.structured_content
    others = len(result.content) - len(texts)
    if others:
        texts.append(f"({others} parts that are not text were left out)")
    return "\n".join(texts)


def _reason(error: BaseException) -> str:
    """Return what went wrong, out of whatever groups it is wrapped in."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return str(error) or type(error).__name__
