"""The ``llm_agent`` task type: a real loop over a real wire, with functions, scripts and an MCP server as tools."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoglm.app.report import RunReport
from autoglm.base.errors import SpecError
from autoglm.tasks.agent_tools import schema_of

from ..llm.peer import Peer, completion, serve  # noqa: TID252  # the peer serves both folders
from ..runtime.house import House  # noqa: TID252

TOOLS = '''
calls = []


def weather(city: str, days: int = 1) -> dict:
    """Tell the weather of a city."""
    calls.append(city)
    return {"city": city, "sky": "blue", "days": days}


async def key(ctx) -> str:
    """Tell the key of this call."""
    return ctx.idempotency_key


def flaky(ctx) -> str:
    from pathlib import Path
    path = Path(__file__).parent.parent / "tried"
    tried = path.read_text() if path.exists() else ""
    path.write_text(tried + "x")
    if len(tried) < 1:
        raise OSError("the line is busy")
    return "at last"
'''
SERVER = '''
from mcp.server import MCPServer

server = MCPServer("books")


@server.tool()
def find_book(title: str) -> dict:
    """Find a book."""
    return {"title": title, "shelf": 7}


@server.tool()
def burn_book(title: str) -> str:
    """Burn a book."""
    raise ValueError("we do not do that here")


server.run()
'''


def call(name: str, number: int = 1, **arguments: Any) -> dict[str, Any]:
    return {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def wanting(*calls: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    return completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])


class Agent:
    """A project with an agent in it, and a model that answers as it is told."""

    def __init__(self, root: Path) -> None:
        self.house = House(root)
        self.house.write("tasks/tools.py", TOOLS)
        self.house.write("server.py", SERVER)
        self.peer: Peer | None = None

    def run(self, fields: str, *answers: dict[str, Any]) -> RunReport:
        return asyncio.run(self._run(fields, *answers))

    async def _run(self, fields: str, *answers: dict[str, Any]) -> RunReport:
        left = list(answers)
        flow = f"tasks:\n- name: agent\n  type: llm_agent\n  prompt: do it\n  model: m\n{fields}"

        def reply(request: dict[str, Any]) -> dict[str, Any]:
            return left.pop(0)

        async with serve(reply) as self.peer:
            command = json.dumps([sys.executable, "server.py"])
            model = json.dumps({"base_url": self.peer.url, "api_key": "{{ secrets.K }}"})
            self.house.write("autoglm.yaml", f"models: {{m: {model}}}\nmcp: {{books: {{command: {command}}}}}\n")
            self.house.write(".env", "K=sk-long-enough\n")
            with self.house.session() as session:
                report = await session.run(session.load(self.house.write("flow.yaml", flow)))
        assert not left
        return report

    def sent(self, turn: int) -> list[dict[str, Any]]:
        """Return the messages of a call."""
        assert self.peer is not None
        return self.peer.requests[turn]["messages"]

    def told(self, turn: int) -> list[str]:
        """Return what the tools had answered by a call."""
        return [message["content"] for message in self.sent(turn) if message["role"] == "tool"]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_a_model_calls_a_function_and_answers(agent: Agent) -> None:
    report = agent.run("  tools: [weather]\n", wanting(call("weather", city="Oslo")), completion("blue"))
    assert report.tasks["agent"].result == "blue"
    assert agent.peer is not None
    (tool,) = agent.peer.requests[0]["tools"]
    assert tool["function"] == {
        "name": "weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"title": "City", "type": "string"},
                "days": {"default": 1, "title": "Days", "type": "integer"},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    }
    assert json.loads(agent.told(1)[0]) == {"city": "Oslo", "sky": "blue", "days": 1}
    assert [message["role"] for message in agent.sent(1)] == ["user", "assistant", "tool"]
    assert report.usage["calls"] == 2
    assert report.usage["input_tokens"] == 14


def test_the_calls_of_an_answer_are_answered_in_its_order_and_have_keys_of_their_own(agent: Agent) -> None:
    agent.run(
        "  tools: [key, weather]\n",
        wanting(call("key", 1), call("weather", 2, city="A"), call("key", 3)),
        completion("ok"),
    )
    first, weather, second = agent.told(1)
    assert "blue" in weather
    assert first != second
    assert len(first) == len(second) == 32
    assert [message["tool_call_id"] for message in agent.sent(1) if message["role"] == "tool"] == ["c1", "c2", "c3"]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (call("weathr", city="A"), "error: there is no tool weathr; did you mean weather?"),
        (call("weather"), "error: its arguments do not fit"),
        (call("weather", city="A", wind=1), "error: its arguments do not fit"),
        ({**call("weather"), "function": {"name": "weather", "arguments": "{"}}, "error: its arguments are not JSON"),
        ({**call("weather"), "function": {"name": "weather", "arguments": "[1]"}}, "error: its arguments must be"),
    ],
)
def test_what_a_model_gets_wrong_it_is_told(agent: Agent, wanted: dict[str, Any], told: str) -> None:
    report = agent.run("  tools: [weather]\n", wanting(wanted), completion("sorry"))
    assert agent.told(1)[0].startswith(told)
    assert report.tasks["agent"].result == "sorry"


def test_a_tool_that_fails_is_tried_again(agent: Agent, tmp_path: Path) -> None:
    agent.run("  tools: [flaky]\n", wanting(call("flaky")), completion("ok"))
    assert agent.told(1) == ["at last"]
    assert (tmp_path / "tried").read_text() == "xx"


def test_a_tool_that_goes_on_failing_is_the_models_business(agent: Agent) -> None:
    agent.run("  tools: [flaky]\n  tool_retries: 0\n", wanting(call("flaky")), completion("ok"))
    assert agent.told(1)[0].startswith("error: ")
    assert "the line is busy" in agent.told(1)[0]


def test_a_script_can_be_a_tool(agent: Agent) -> None:
    agent.house.write("look.sh", 'echo "looking for $AUTOGLM_INPUT_WHAT"\n')
    takes = "{type: object, properties: {what: {type: string}}}"
    tool = f"{{name: look, description: Look., script: look.sh, parameters: {takes}}}"
    agent.run(f"  tools: [{tool}]\n", wanting(call("look", what="keys; rm -rf /")), completion("ok"))
    assert agent.told(1) == ["looking for keys; rm -rf /"]


def test_tools_of_an_mcp_server_are_offered_and_called(agent: Agent) -> None:
    wants = wanting(call("find_book", 1, title="Emma"), call("burn_book", 2, title="Emma"))
    report = agent.run("  tools: [{mcp: books}]\n", wants, completion("done"))
    assert report.tasks["agent"].result == "done"
    assert agent.peer is not None
    assert {tool["function"]["name"] for tool in agent.peer.requests[0]["tools"]} == {"find_book", "burn_book"}
    found, burnt = agent.told(1)
    assert json.loads(found) == {"title": "Emma", "shelf": 7}
    assert burnt == "error: Error executing tool burn_book", "the server keeps the reason to itself"


def test_only_the_named_tools_of_a_server_are_offered(agent: Agent) -> None:
    agent.run("  tools: [{mcp: books, only: [find_book]}]\n", completion("done"))
    assert agent.peer is not None
    assert [tool["function"]["name"] for tool in agent.peer.requests[0]["tools"]] == ["find_book"]


def test_the_answer_fits_the_schema_or_is_asked_for_again(agent: Agent) -> None:
    fields = "  tools: [weather]\n  output_schema: {type: object, properties: {n: {type: integer}}, required: [n]}\n"
    report = agent.run(fields, completion("n is 3"), completion('{"n": 3}'))
    assert report.tasks["agent"].result == {"n": 3}
    assert "not usable" in agent.sent(1)[-1]["content"]


def test_an_agent_that_goes_in_circles_is_stopped(agent: Agent) -> None:
    again = wanting(call("weather", city="A"))
    report = agent.run("  tools: [weather]\n  max_turns: 2\n", again, again)
    failure = report.tasks["agent"].error
    assert failure is not None
    assert failure["code"] == "agent-out-of-turns"
    assert report.usage["calls"] == 2


def test_what_a_tool_gives_is_data(agent: Agent) -> None:
    wants = wanting(call("weather", city="{{ secrets.K }}"))
    agent.run("  tools: [weather]\n", wants, completion("{{ secrets.K }}"))
    assert "{{ secrets.K }}" in agent.told(1)[0]


def test_an_answer_without_a_word_is_asked_for_again(agent: Agent) -> None:
    report = agent.run("  tools: [weather]\n", completion(""), completion("ok"))
    assert report.tasks["agent"].result == "ok"
    assert "it holds no text" in agent.sent(1)[-1]["content"]


def test_what_is_recorded_is_not_done_again_by_the_next_attempt(agent: Agent, tmp_path: Path) -> None:
    broken = {"choices": 7}  # the attempt fails here, behind a turn that was recorded
    report = agent.run(
        "  tools: [flaky]\n  retry: {max_attempts: 2, delay: 1ms}\n", wanting(call("flaky")), broken, completion("ok")
    )
    assert report.tasks["agent"].result == "ok"
    assert report.tasks["agent"].attempts == 2
    assert (tmp_path / "tried").read_text() == "xx", "it ran (twice, first in vain) in the first attempt only"
    assert agent.told(2) == ["at last"]
    assert report.usage["calls"] == 3


def test_a_rehearsal_calls_neither_model_nor_tool(agent: Agent, tmp_path: Path) -> None:
    flow = "tasks:\n- name: agent\n  type: llm_agent\n  prompt: do it\n  tools: [flaky]\n"
    with agent.house.session() as session:
        loaded = session.load(agent.house.write("flow.yaml", flow))
        report = asyncio.run(session.run(loaded, offline=True))
    assert report.status == "succeeded"
    assert not (tmp_path / "tried").exists()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ("tools: []", "invalid-option"),
        ("tools: [nothing]", "unknown-handler"),
        ("tools: [{mcp: boks}]", "unknown-mcp-server"),
        ("tools: [weather, weather]", "agent-tools"),
        ("tools: [{name: look, script: server.py}]", "agent-tools"),
        ("tools: [{name: look it, handler: weather}]", "agent-tools"),
        ("tools: [{name: a, type: group}]", "agent-tools"),
        ("tools: [{handler: weather, scrpt: x}]", "agent-tools"),
        ("tools: [{mcp: books, onyl: [x]}]", "agent-tools"),
        ("tools: [7]", "invalid-option"),
    ],
)
def test_what_is_wrong_with_tools_is_found_before_anything_runs(agent: Agent, fields: str, code: str) -> None:
    agent.house.write("autoglm.yaml", "mcp: {books: {command: [cat]}}\n")
    flow = agent.house.write("flow.yaml", f"tasks:\n- name: agent\n  type: llm_agent\n  prompt: do it\n  {fields}\n")
    with agent.house.session() as session, pytest.raises(SpecError) as caught:
        session.load(flow)
    assert code in {diagnostic.code for diagnostic in caught.value.diagnostics}


def test_a_schema_comes_from_annotations() -> None:
    def tool(ctx: object, name: str, tags: list[int] | None = None, **more: Any) -> None: ...

    schema = schema_of(tool, ["ctx"])
    assert schema["required"] == ["name"]
    assert set(schema["properties"]) == {"name", "tags"}
    assert schema["additionalProperties"] is True


def test_a_type_without_a_schema_leaves_the_names() -> None:
    def tool(name: str, lock: Callable[[], object]) -> None: ...

    assert schema_of(tool, [])["required"] == ["name", "lock"]
