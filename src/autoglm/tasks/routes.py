"""Splits at work: an arm for each attempt, what came of it, and what becomes of a canary over all runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from autoglm.base import jsonvalue
from autoglm.base.errors import StoreError, TaskError
from autoglm.llm.routing import Decision, RouteState, Split, Tally, choose, judge, rated
from autoglm.stores.shared import change_entry
from autoglm.tasks.protocol import Attempt, Park

if TYPE_CHECKING:
    from autoglm.stores.protocol import Store

PROMPT_KEYS = frozenset({"prompt", "prompt_template", "prompt_file"})
"""Ways to say the prompt: an arm that has one of them needs none of its task's."""
_GROUP = 8
"""Results that are told to the store together."""
_KEPT = 90 * 86400.0
"""Seconds for which the state of a split is kept after its last use."""


@dataclass(slots=True)
class _Route:
    split: Split
    key: str
    state: RouteState
    pending: dict[str, Tally] = field(default_factory=dict)


class Routes:
    """The splits of one run. What is known of them lives in the store, for all runs of the workflow together."""

    def __init__(self, workflow: str, store: Store | None, clock: Callable[[], float]) -> None:
        self._workflow = workflow
        self._store = store
        self._clock = clock
        self._routes: dict[str, _Route] = {}

    def find(self, path: str, split: Split) -> _Route:
        """Return what is known of the split of the task at ``path``."""
        plain = msgspec.structs.replace(split, by=None)  # the key differs from item to item
        digest = sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()[:16]
        key = f"route:{self._workflow}:{path}:{digest}"
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = _Route(split, key, self._read(key))
        return route

    def _read(self, key: str) -> RouteState:
        if self._store is None:
            return RouteState()
        try:
            entry = self._store.get_entry(key, self._clock())
            return RouteState() if entry is None else msgspec.json.decode(entry.data, type=RouteState)
        except (StoreError, msgspec.DecodeError):
            return RouteState()

    async def tell(self, route: _Route, arm: str, tally: Tally, log: Callable[[str, str], None]) -> None:
        """Count what came of an attempt; now and then tell the store, and hear what has been decided."""
        route.pending.setdefault(arm, Tally()).add(tally)
        if sum(each.calls for each in route.pending.values()) >= _GROUP:
            before = route.state.decision
            await asyncio.to_thread(self._flush, route)
            if route.state.decision is not before and route.split.canary is not None:
                verb = "takes over" if route.state.decision is Decision.PROMOTED else "is taken out"
                log("log", f"warning: the arm {route.split.canary.arm} {verb}: {route.state.reason}")

    def _flush(self, route: _Route) -> None:
        pending, route.pending = route.pending, {}
        canary = route.split.canary

        def change(data: bytes | None) -> tuple[bytes, RouteState]:
            state = RouteState() if data is None else msgspec.json.decode(data, type=RouteState)
            state.add(pending)
            if canary is not None and state.decision is Decision.OPEN:
                judged = judge(canary, state.arms)
                state.decision, state.reason = judged.decision, judged.reason
            return msgspec.json.encode(state), state

        try:
            if self._store is not None and pending:
                route.state = change_entry(self._store, route.key, self._clock(), change, keep=_KEPT)
        except (StoreError, msgspec.DecodeError):
            route.pending = pending  # told another time

    def close(self) -> None:
        """Tell the store what is left. May wait for a disk."""
        for route in self._routes.values():
            self._flush(route)


async def routed(attempt: Attempt, split: Split, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do the work of an attempt with the options of one arm, and take note of what comes of it."""
    account = attempt.account
    routes = None if account is None else account.routes
    route = None if routes is None else routes.find(attempt.node, split)
    memo = attempt.memo if isinstance(attempt.memo, dict) else {}
    arm = memo.get("arm")
    if arm not in split.split:
        key = attempt.task_id if split.by is None else jsonvalue.canonical(split.by).decode()
        arm = choose(split, key, Decision.OPEN if route is None else route.state.decision)
    own = split.options_of(arm)
    given = {"model", *PROMPT_KEYS} if own.keys() & PROMPT_KEYS else {"model"}
    attempt.options = {**{k: v for k, v in attempt.options.items() if k not in given}, **own}
    attempt.usage["arm"] = arm
    clock: Callable[[], float] = time.time if account is None else account.clock
    began = clock()
    failed, result = 1, None
    try:
        result = await work()
        failed = 0
    except Park as park:
        park.memo = {**(park.memo if isinstance(park.memo, dict) else {}), "arm": arm}
        raise
    except TaskError:
        await _tell(attempt, routes, route, split, arm, clock() - began, failed, result)
        raise
    await _tell(attempt, routes, route, split, arm, clock() - began, failed, result)
    return result


async def _tell(
    attempt: Attempt,
    routes: Routes | None,
    route: _Route | None,
    split: Split,
    arm: str,
    seconds: float,
    failed: int,
    result: Any,
) -> None:
    quality = rated(result, None if split.canary is None else split.canary.quality)
    attempt.usage["seconds"] = seconds
    if quality is not None:
        attempt.usage.update(quality=quality, rated=1)
    if routes is not None and route is not None and not attempt.offline:
        tally = Tally(1, failed, attempt.usage.get("cost", 0.0), seconds, quality or 0.0, int(quality is not None))
        await routes.tell(route, arm, tally, attempt.log)
