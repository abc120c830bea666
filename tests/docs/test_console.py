"""Every page that shows a terminal is played, and shows what really comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.docs.pages import ROOT, blocks, environment, missing, pages, play, shell
from tests.llm.loopback import listening, on_a_thread

PLAYED = [
    page
    for page in pages()
    if page.name != "README.zh-CN.md"  # its blocks are those of README.md, which another test holds it to
    and any(block.language == "console" for block in blocks(page))
]


@pytest.fixture(scope="module")
def model_server() -> Iterator[str]:
    """The address of a server that answers chat calls, for blocks that stand for a call with a real key."""

    async def chat(request: web.Request) -> web.Response:
        prompt = (await request.json())["messages"][-1]["content"]
        answer = {"role": "assistant", "content": f"1. What about this: {prompt}"}
        usage = {"prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20}
        body = {"model": "m", "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}], "usage": usage}
        return web.json_response(body, dumps=json.dumps)

    with on_a_thread(listening(web.post("/v1/chat/completions", chat))) as address:
        yield f"{address}/v1"


@pytest.mark.parametrize("page", PLAYED, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_in_a_terminal_is_what_comes(page: Path, tmp_path: Path, model_server: str) -> None:
    env = environment()
    for block in blocks(page):
        if "title" in block.options:
            file = tmp_path / block.options["title"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            here = env | ({"AUTOGLM_BASE_URL": model_server} if "server" in block.options else {})
            for command, shown, output in play(block, tmp_path, here):
                assert "Traceback" not in output
                absent = missing(shown, output)
                assert absent is None, f"{block}: `{command}` did not print {absent!r}, but:\n{output}"


def test_both_readmes_show_the_same_commands_and_files() -> None:
    english, chinese = (list(blocks(ROOT / name)) for name in ("README.md", "README.zh-CN.md"))
    assert [(one.language, dict(one.options)) for one in english] == [
        (two.language, dict(two.options)) for two in chinese
    ]
    for one, two in zip(english, chinese, strict=True):
        if one.language in ("console", "yaml", "python"):
            strip = [line.split("#")[0].rstrip() for line in one.text.splitlines()]
            assert strip == [line.split("#")[0].rstrip() for line in two.text.splitlines()], str(two)


def test_every_make_target_that_is_named_exists() -> None:
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if line[:1].isalpha()}
    for page in pages():
        for block in blocks(page):
            for line in block.text.splitlines() if block.language == "sh" else ():
                if line.startswith("make "):
                    assert line.split()[1] in targets, f"{block}: {line}"


RUN_PAGES = [page for page in pages() if any("run" in block.options for block in blocks(page))]


@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_workflow_on_a_page_runs(page: Path, tmp_path: Path) -> None:
    flows = []
    for block in blocks(page):
        name = block.options.get("title") or (f"line-{block.line}.yaml" if "run" in block.options else None)
        if name is not None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(block.text, encoding="utf-8")
        if "run" in block.options:
            flows.append(name)
    output = shell("".join(f"echo {flow}; autoglm run {flow} --offline\n" for flow in flows), tmp_path, environment())
    assert output.count(" succeeded in ") >= len(flows), output
    assert output.count("✓ run ") == len(flows), output
    assert "warning[" not in output
