"""Errors of agents and their tools."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.errors.scene import Scene
from tests.llm.peer import Peer, completion, serve

TOOLS = "def weather(city: str) -> str:\n    return 'blue'\n"
SERVER = """
from mcp.server import MCPServer
from mcp.types import CallToolResult

server = MCPServer("books")


@server.tool()
def find_book(title: str) -> str:
    return title


@server.tool()
def lose_book() -> CallToolResult:
    return CallToolResult(content=[], is_error=True)


server.run()
"""
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
AGAIN = completion(choices=[{"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}])


def agent(scene: Scene, peer: Peer, fields: str, *command: str) -> None:
    mcp = {"books": {"command": [sys.executable, *(command or ("server.py",))]}}
    models = {"m": {"base_url": peer.url, "api_key": "{{ secrets.AGENT_KEY }}"}}
    scene.patch.setenv("AGENT_KEY", "sk-long-enough")
    scene.write("autoglm.yaml", f"models: {json.dumps(models)}\nmcp: {json.dumps(mcp)}\n")
    scene.write("tasks/tools.py", TOOLS)
    scene.write("server.py", SERVER)
    scene.run(f"tasks:\n- name: a\n  type: llm_agent\n  model: m\n  prompt: What is the weather?\n  {fields}\n")


def test_tools_that_are_none(scene: Scene) -> None:
    scene.write("autoglm.yaml", "mcp: {books: {command: [python, books.py]}}\n")
    scene.write("tasks/tools.py", TOOLS)
    scene.write(
        "flow.yaml",
        """
        tasks:
        - name: a
          type: llm_agent
          prompt: What is the weather?
          tools: [weather, weather, wether, {mcp: boks}, {name: look, script: look.sh}]
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("agent-tools", "unknown-mcp-server", "unknown-handler")


def test_tools_that_are_written_wrongly(scene: Scene) -> None:
    scene.write("autoglm.yaml", "mcp: {books: {command: [python, books.py]}}\n")
    scene.write("tasks/tools.py", TOOLS)
    scene.write("look.sh", "#!/bin/sh\n")
    scene.write(
        "flow.yaml",
        """
        tasks:
        - {name: a, type: llm_agent, prompt: hello, tools: weather}
        - {name: d, type: llm_agent, prompt: hello, tools: []}
        - name: b
          type: llm_agent
          prompt: hello
          tools:
          - {}
          - {mcp: books, only: find_book, retries: 2}
          - {name: "the weather", handler: weather}
          - {name: ask, type: llm_generate, prompt: hello}
          - {name: look, script: look.sh, parameters: {type: object}, argz: [a]}
          - {name: boss, type: approval, message: "Well?"}
        - {name: c, type: llm_agent, prompt: hello, tools: [{name: see, script: look.sh, args: ["{{ run.id }}"]}]}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("agent-tools")


def test_an_agent_that_goes_in_circles(scene: Scene) -> None:
    with scene.serving(serve(lambda _: AGAIN)) as peer:
        agent(scene, peer, "max_turns: 2\n  tools: [weather]")
    scene.shows("agent-out-of-turns")


def test_a_server_without_that_tool(scene: Scene) -> None:
    with scene.serving(serve()) as peer:
        agent(scene, peer, "tools: [{mcp: books, only: [find_bok]}]")
    scene.shows("mcp-tool-missing")


def test_tools_that_are_called_the_same(scene: Scene) -> None:
    with scene.serving(serve()) as peer:
        agent(scene, peer, "tools: [{mcp: books}, {name: find_book, handler: weather}]")
    scene.shows("agent-tools")


def called(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return completion(choices=[{"message": {"role": "assistant", "content": None, "tool_calls": [*calls]}}])


WRONG = [
    ("wether", "{}"),
    ("sky", "{}"),
    ("weather", "{city: Oslo}"),
    ("weather", "[]"),
    ("weather", '{"town": "Oslo"}'),
]


def test_what_a_model_is_told_that_calls_wrongly(scene: Scene) -> None:
    calls = [called(number, *call) for number, call in enumerate([*WRONG, ("lose_book", "{}")])]
    answers = iter([calling(*calls[:-1]), calling(calls[-1]), completion(" ")])
    with scene.serving(serve(lambda _: next(answers))) as peer:
        agent(scene, peer, "max_turns: 3\n  tool_retries: 0\n  tools: [weather, {mcp: books}]")
    scene.autoglm("logs", "r1", "--task", "a")
    scene.shows("agent-out-of-turns")


def test_a_server_that_does_not_start(scene: Scene) -> None:
    with scene.serving(serve()) as peer:
        agent(scene, peer, "tools: [{mcp: books}]", "-c", "raise SystemExit(3)")
    scene.shows("mcp-server-failed")


def test_the_package_is_not_installed(scene: Scene) -> None:
    with scene.serving(serve()) as peer:
        scene.patch.setitem(sys.modules, "mcp", None)
        agent(scene, peer, "tools: [{mcp: books}]")
    scene.shows("mcp-missing")
