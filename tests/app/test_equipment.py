"""What a run is driven with: here, that models of a called file may name secrets, and variables of their own file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.llm.peer import serve

from autoglm.app.session import Session


def test_the_models_of_a_called_file_see_secrets_and_their_own_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> tuple[str, str]:
        async with serve() as peer:
            model = {"base_url": peer.url, "model": "{{ vars.served }}", "api_key": "{{ secrets.HOUSE_KEY }}"}
            called = {
                "vars": {"served": "m-1"},
                "models": {"house": model},
                "tasks": [{"name": "ask", "prompt": "hello", "model": "house"}],
            }
            (tmp_path / "called.yaml").write_text(json.dumps(called))
            flow = {"vars": {"served": "another"}, "tasks": [{"name": "call", "workflow": "called.yaml"}]}
            (tmp_path / "flow.yaml").write_text(json.dumps(flow))
            with Session.open(tmp_path / "flow.yaml", store="memory") as session:
                report = await session.run(session.load(tmp_path / "flow.yaml"))
            assert report.status == "succeeded", report.error
            return peer.requests[0]["model"], peer.headers[0]["authorization"]

    monkeypatch.setenv("HOUSE_KEY", "a-key")
    assert asyncio.run(go()) == ("m-1", "Bearer a-key")
