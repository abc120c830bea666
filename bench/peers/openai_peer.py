"""The openai SDK making the benchmark's calls with asyncio.gather; runs in the peer's own environment, prints one JSON line.

As its documentation shows: one AsyncOpenAI, a semaphore, gather. Its retries are off, as nothing fails here.
"""

import argparse
import asyncio
import json
import time

from openai import AsyncOpenAI


async def main(options: argparse.Namespace) -> dict[str, float]:
    client = AsyncOpenAI(base_url=options.url, api_key="none", max_retries=0, timeout=600)
    turns = asyncio.Semaphore(options.concurrency)

    async def one(number: int) -> object:
        async with turns:
            completion = await client.chat.completions.create(
                model="bench", messages=[{"role": "user", "content": f"Label the review number {number}."}]
            )
        return json.loads(completion.choices[0].message.content or "")

    await asyncio.gather(*(one(number) for number in range(50)))
    begin, used = time.perf_counter(), time.process_time()
    results = await asyncio.gather(*(one(number) for number in range(options.tasks)))
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    assert len(results) == options.tasks
    await client.close()
    return {"tasks": options.tasks, "seconds": seconds, "cpu_seconds": used}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--dir", required=True)
    print(json.dumps(asyncio.run(main(parser.parse_args()))))
