"""The carrier: a real HTTP service on this machine, as reliable as carriers are, and the calls that ask it.

It is a service of the run: started when the first parcel goes out, stopped at the end. What it has accepted it keeps on
disk, and an `Idempotency-Key` that it knows gets the parcel it got before. A parcel that was called off is not taken.
"""

import sqlite3
from pathlib import Path

import aiohttp
from aiohttp import web
from chance import chance

import autoglm

ROOT = Path(__file__).resolve().parent.parent

_TABLES = """
create table if not exists parcels (key text primary key, order_id text not null, number integer);
create table if not exists called_off (order_id text primary key);
"""


class Depot:
    """The carrier's own side."""

    def __init__(self, path):
        path.parent.mkdir(exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript(_TABLES)
        self._asked = set()

    async def accept(self, request):
        """Take a parcel, or fail: 503 before it is taken, 500 after."""
        key, order = request.headers["Idempotency-Key"], (await request.json())["order"]
        known = self._db.execute("select number from parcels where key = ?", (key,)).fetchone()
        if known is not None:
            return web.json_response({"tracking": f"P{known[0]:06}"})
        if self._db.execute("select 1 from called_off where order_id = ?", (order,)).fetchone():
            return web.json_response({"error": "it was called off"}, status=410)
        is_first = key not in self._asked
        self._asked.add(key)
        if chance(order, "no driver") < 0.06:
            return web.json_response({"error": "no driver in that area today"}, status=503)
        if chance(order, "busy") < 0.15 and is_first:
            return web.json_response({"error": "too busy, come again"}, status=503)
        self._db.execute("insert into parcels select ?, ?, coalesce(max(number), 0) + 1 from parcels", (key, order))
        (number,) = self._db.execute("select number from parcels where key = ?", (key,)).fetchone()
        if chance(order, "lost answer") < 0.1:
            return web.json_response({"error": "it broke after the parcel was taken"}, status=500)
        return web.json_response({"tracking": f"P{number:06}"})

    async def call_off(self, request):
        """Give a parcel back, or never take it."""
        order = (request.match_info["order"],)
        self._db.execute("insert or ignore into called_off values (?)", order)
        taken = self._db.execute("delete from parcels where order_id = ?", order).rowcount
        return web.json_response({"called_off": taken})

    def close(self):
        self._db.close()


@autoglm.service
async def carrier():
    """Start the carrier, and give a session that speaks to it."""
    depot = Depot(ROOT / "out" / "carrier.db")
    app = web.Application()
    app.router.add_post("/parcels", depot.accept)
    app.router.add_delete("/parcels/{order}", depot.call_off)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(f"http://{host}:{port}", timeout=aiohttp.ClientTimeout(total=5)) as session:
            yield session
    finally:
        await runner.cleanup()
        depot.close()


async def dispatch(order: dict, carrier: aiohttp.ClientSession, ctx) -> dict:
    """Hand a parcel to the carrier. All attempts of one order carry the same key."""
    headers = {"Idempotency-Key": ctx.idempotency_key}
    answer = await _ask(carrier.post("/parcels", json={"order": order["id"]}, headers=headers))
    return {"carrier": "carrier", "tracking": answer["tracking"]}


async def stand_by(order: dict, carrier: aiohttp.ClientSession) -> dict:
    """Let the standby courier go. A carrier that did not answer may have the parcel all the same: it is called off."""
    await _ask(carrier.delete(f"/parcels/{order['id']}"))
    return {"carrier": "standby", "tracking": None}


async def _ask(request) -> dict:
    try:
        async with request as response:
            answer = await response.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise autoglm.TaskError(f"the carrier cannot be reached: {error}", code="carrier-unreachable") from error
    if response.status != 200:
        classes = (f"http_{response.status}", f"http_{response.status // 100}xx")
        raise autoglm.TaskError(f"the carrier: {answer['error']}", code="carrier-failed", classes=classes)
    return answer
