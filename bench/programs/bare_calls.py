"""URL COUNT CONCURRENCY: the same calls by a bare aiohttp loop that parses the answers and keeps them in a list."""

import asyncio
import json
import sys
import time

import aiohttp

from bench.programs.engine import answer

url, count, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def main() -> tuple[float, float]:
    results: list[object] = [None] * count
    numbers = iter(range(count))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def worker() -> None:
            for number in numbers:
                body = {
                    "model": "bench",
                    "messages": [{"role": "user", "content": f"Label the review number {number}."}],
                }
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    data = json.loads(await response.read())
                results[number] = json.loads(data["choices"][0]["message"]["content"])

        begin, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        seconds, used = time.perf_counter() - begin, time.process_time() - used
    assert all(result == {"label": "praise", "score": 0.75} for result in results)
    return seconds, used


seconds, cpu = asyncio.run(main())
answer(tasks=count, seconds=seconds, cpu_seconds=cpu)
