"""LangChain's ChatOpenAI.abatch making the benchmark's calls; runs in the peer's own environment, prints one JSON line."""

import argparse
import asyncio
import json
import os
import time

os.environ["LANGSMITH_TRACING"] = "false"

from langchain_openai import ChatOpenAI


async def main(options: argparse.Namespace) -> dict[str, float]:
    model = ChatOpenAI(model="bench", base_url=options.url, api_key="none", max_retries=0)  # type: ignore[arg-type]
    config = {"max_concurrency": options.concurrency}
    await model.abatch([f"Label the review number {number}." for number in range(50)], config)
    prompts = [f"Label the review number {number}." for number in range(options.tasks)]
    begin, used = time.perf_counter(), time.process_time()
    messages = await model.abatch(prompts, config)
    results = [json.loads(message.content) for message in messages]
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    assert len(results) == options.tasks
    return {"tasks": options.tasks, "seconds": seconds, "cpu_seconds": used}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--dir", required=True)
    print(json.dumps(asyncio.run(main(parser.parse_args()))))
