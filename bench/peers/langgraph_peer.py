"""LangGraph doing the benchmark's workloads; runs in the peer's own environment and prints one JSON line.

Every way that LangGraph's documentation offers to express the workload is here as a *form*, so that the harness can
compare us with the fastest of them: ``nodes`` (one node per task, edges from START), ``send`` (a conditional edge that
returns N ``Send``), ``tasks`` (the functional API: ``@task`` calls inside an ``@entrypoint``). ``delta`` is ``nodes`` on LangGraph's beta ``DeltaChannel``, for the growing state. ``--saver`` is where
checkpoints go; with ``sqlite`` LangGraph is driven synchronously, for that is all ``SqliteSaver`` does.

Only the run itself is timed: imports, building and compiling the graph, and a warm-up run of the same shape come before.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import operator
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

# Tracing needs a server and an account; off is LangSmith's default without a key, said here so that it stays so.
os.environ["LANGSMITH_TRACING"] = "false"

from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send


class State(TypedDict):
    done: Annotated[int, operator.add]


class Growing(TypedDict):
    notes: Annotated[list[str], operator.add]


def extend(notes: list[str], batches: Sequence[list[str]]) -> list[str]:
    return notes + [note for batch in batches for note in batch]


class GrowingByDelta(TypedDict):
    notes: Annotated[list[str], DeltaChannel(extend)]


def noop(state: Any) -> dict[str, int]:
    return {"done": 1}


async def anoop(state: Any) -> dict[str, int]:
    return {"done": 1}


def fanout_nodes(count: int, work: Any) -> StateGraph:
    graph = StateGraph(State)
    for number in range(count):
        graph.add_node(f"t{number}", work)
        graph.add_edge(START, f"t{number}")
        graph.add_edge(f"t{number}", END)
    return graph


def fanout_send(count: int, work: Any) -> StateGraph:
    graph = StateGraph(State)
    graph.add_node("t", work)
    graph.add_conditional_edges(START, lambda _: [Send("t", {"done": 0}) for _ in range(count)], ["t"])
    graph.add_edge("t", END)
    return graph


def chain_nodes(count: int, work: Any) -> StateGraph:
    graph = StateGraph(State)
    for number in range(count):
        graph.add_node(f"t{number}", work)
        graph.add_edge(f"t{number - 1}" if number else START, f"t{number}")
    graph.add_edge(f"t{count - 1}", END)
    return graph


def growing(count: int, asynchronous: bool, form: str) -> StateGraph:
    """``count`` steps that each append 1 KB to the state."""

    def append(state: Any) -> dict[str, list[str]]:
        return {"notes": [base64.b64encode(os.urandom(768)).decode()]}

    async def aappend(state: Any) -> dict[str, list[str]]:
        return append(state)

    graph = StateGraph(GrowingByDelta if form == "delta" else Growing)
    for number in range(count):
        graph.add_node(f"t{number}", aappend if asynchronous else append)
        graph.add_edge(f"t{number - 1}" if number else START, f"t{number}")
    graph.add_edge(f"t{count - 1}", END)
    return graph


def functional(workload: str, count: int, asynchronous: bool, saver: Any) -> Any:
    @task
    def one(number: int) -> int:
        return 1

    @task
    async def aone(number: int) -> int:
        return 1

    @entrypoint(checkpointer=saver)
    def whole(_: Any) -> int:
        if workload == "chain":
            return sum(one(number).result() for number in range(count))
        return sum(future.result() for future in [one(number) for number in range(count)])

    @entrypoint(checkpointer=saver)
    async def awhole(_: Any) -> int:
        if workload == "chain":
            return sum([await aone(number) for number in range(count)])
        return sum(await asyncio.gather(*(aone(number) for number in range(count))))

    return awhole if asynchronous else whole


def build(workload: str, form: str, count: int, asynchronous: bool, saver: Any) -> tuple[Any, Any]:
    """Return what runs, and its input."""
    if form == "tasks":
        return functional(workload, count, asynchronous, saver), {"go": 1}
    work = anoop if asynchronous else noop
    if workload == "growing":
        return growing(count, asynchronous, form).compile(checkpointer=saver), {"notes": []}
    makers = {("fanout", "nodes"): fanout_nodes, ("fanout", "send"): fanout_send, ("chain", "nodes"): chain_nodes}
    return makers[workload, form](count, work).compile(checkpointer=saver), {"done": 0}


def check(workload: str, count: int, result: Any) -> None:
    got = result if isinstance(result, int) else len(result["notes"]) if "notes" in result else result["done"]
    if got != count:
        raise SystemExit(f"langgraph did {got} of {count} {workload} tasks")


async def main(options: argparse.Namespace) -> dict[str, Any]:
    asynchronous = options.saver != "sqlite"
    folder = Path(tempfile.mkdtemp(dir=options.dir))
    database = folder / "checkpoints.sqlite"
    extra: dict[str, Any] = {} if options.saver == "none" else {"durability": options.durability}
    with contextlib.ExitStack() as stack:
        async with contextlib.AsyncExitStack() as astack:
            saver: Any = None
            if options.saver == "memory":
                saver = InMemorySaver()
            elif options.saver == "sqlite":
                saver = stack.enter_context(SqliteSaver.from_conn_string(str(database)))
            elif options.saver == "aiosqlite":
                saver = await astack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(database)))

            async def once(count: int, thread: str) -> tuple[float, float]:
                runnable, given = build(options.workload, options.form, count, asynchronous, saver)
                config = {"configurable": {"thread_id": thread}, "recursion_limit": count + 100}
                if options.max_concurrency:
                    config["max_concurrency"] = options.max_concurrency
                begin, used = time.perf_counter(), time.process_time()
                if asynchronous:
                    result = await runnable.ainvoke(given, config, **extra)
                else:
                    result = runnable.invoke(given, config, **extra)
                seconds, used = time.perf_counter() - begin, time.process_time() - used
                check(options.workload, count, result)
                return seconds, used

            await once(min(options.tasks, 100), "warm-up")
            before = sum(path.stat().st_size for path in folder.iterdir())
            seconds, used = await once(options.tasks, "measured")
            after = sum(path.stat().st_size for path in folder.iterdir())
    return {"tasks": options.tasks, "seconds": seconds, "cpu_seconds": used, "bytes": after - before}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", choices=["fanout", "chain", "growing"], required=True)
    parser.add_argument("--form", choices=["nodes", "send", "tasks", "delta"], required=True)
    parser.add_argument("--saver", choices=["none", "memory", "sqlite", "aiosqlite"], required=True)
    parser.add_argument("--durability", choices=["sync", "async", "exit"], default="sync")
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--max-concurrency", type=int, default=0)
    parser.add_argument("--dir", required=True)
    # A chain nests nothing, but LangGraph's synchronous loop over many nodes needs head-room on small stacks.
    sys.setrecursionlimit(10_000)
    print(json.dumps(asyncio.run(main(parser.parse_args()))))
