"""What the model calls of one run share: its budgets, its prices, and what it shares with other runs in the store.

A task type finds it as ``attempt.account``. Without one (an attempt outside of a run), nothing is counted or kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from autoglm.base.errors import StoreError, TaskError
from autoglm.llm.budgets import LOST_CALLS, LOST_COST, LOST_TOKENS, Judgement, Purse, Use, reserve, settle
from autoglm.llm.prices import Price, price_of
from autoglm.spec.model import Budget, DegradeTo, ModelSpec, OnUnpriced
from autoglm.stores.shared import change_entry
from autoglm.tasks.keeping import Keeping

if TYPE_CHECKING:
    from autoglm.llm.models import Endpoint
    from autoglm.stores.protocol import Store
    from autoglm.tasks.protocol import Attempt
    from autoglm.tasks.routes import Routes

T = TypeVar("T")
_LEASE = 0.02
"""What share of a day's budget a process fetches from the store at a time."""
_DAY = 86400.0
_STAND_IN = "~fallback"
"""What the path of a task's stand-in ends with."""


class SharedRecords:
    """A store's entries, for a :class:`~autoglm.llm.governor.Governor`."""

    def __init__(self, store: Store, *, is_blocking: bool) -> None:
        self.store = store
        self.is_blocking = is_blocking

    def change(self, key: str, now: float, change: Callable[[bytes | None], tuple[bytes | None, T]]) -> T:
        """Let ``change`` turn what is stored into what shall be; return its answer. Raises StoreError."""
        return change_entry(self.store, key, now, change, keep=_DAY)


class DayPurse:
    """What a namespace may use on a day, by all runs and processes together.

    The store holds what has been given out; this process spends what it was given, and fetches more in parts.
    """

    def __init__(self, namespace: str, budget: Budget, records: SharedRecords) -> None:
        self._namespace = namespace
        self._whole = budget
        self._records = records
        self._date = ""
        self.purse = self._empty()

    def _empty(self) -> Purse:
        nothing = {what: 0 for what in ("tokens", "cost", "calls") if getattr(self._whole, what) is not None}
        return Purse(f"the day's budget of the namespace `{self._namespace}`", self._whole.model_copy(update=nothing))

    async def fetch(self, need: Use, now: float) -> None:
        """Have enough at hand for a call that needs so much, if the day still has it."""
        date = datetime.fromtimestamp(now, UTC).date().isoformat()
        if date != self._date:
            self._date, self.purse = date, self._empty()
        purse, wanted = self.purse, {}
        for what, have in self._limits().items():
            free = have - getattr(purse.spent, what) - getattr(purse.reserved, what)
            if free < getattr(need, what):
                wanted[what] = max(getattr(need, what) - free, _LEASE * getattr(self._whole, what))
        if wanted:
            given = await asyncio.to_thread(self._take, wanted, now)
            update = {what: self._limits()[what] + amount for what, amount in given.items()}
            purse.budget = purse.budget.model_copy(update=update)

    def _limits(self) -> dict[str, float]:
        limits = {what: getattr(self.purse.budget, what) for what in ("tokens", "cost", "calls")}
        return {what: limit for what, limit in limits.items() if limit is not None}

    def _key(self) -> str:
        return f"budget:{self._namespace}:{self._date}"

    def _take(self, wanted: Mapping[str, float], now: float) -> dict[str, float]:
        def change(data: bytes | None) -> tuple[bytes, dict[str, float]]:
            given_out: dict[str, float] = {} if data is None else msgspec.json.decode(data)
            given = {}
            for what, amount in wanted.items():
                left = getattr(self._whole, what) - given_out.get(what, 0)
                given[what] = max(0, min(amount, left))
                given_out[what] = given_out.get(what, 0) + given[what]
            return msgspec.json.encode(given_out), given

        return change_entry(self._records.store, self._key(), now, change, keep=3 * _DAY)

    def give_back(self, now: float) -> None:
        """Return to the store what was fetched and not spent."""
        rest = {what: -(have - getattr(self.purse.spent, what)) for what, have in self._limits().items()}
        if not any(rest.values()):
            return

        def change(data: bytes | None) -> tuple[bytes, None]:
            given_out: dict[str, float] = {} if data is None else msgspec.json.decode(data)
            for what, amount in rest.items():
                given_out[what] = max(0, given_out.get(what, 0) + amount)
            return msgspec.json.encode(given_out), None

        change_entry(self._records.store, self._key(), now, change, keep=3 * _DAY)
        self.purse.budget = self.purse.budget.model_copy(
            update={what: getattr(self.purse.spent, what) for what in self._limits()}
        )


class Account:
    """What one run's model calls share."""

    def __init__(
        self,
        *,
        run_id: str,
        clock: Callable[[], float],
        records: SharedRecords | None = None,
        keeping: Keeping | None = None,
        routes: Routes | None = None,
        prices: Mapping[str, Price] | None = None,
        budget: Budget | None = None,
        task_budgets: Mapping[str, Budget] | None = None,
        day: DayPurse | None = None,
        spent: Mapping[str, Mapping[str, Any]] | None = None,
        started_at: float | None = None,
    ) -> None:
        """``spent`` is what the journal says was used, by task path."""
        self.run_id = run_id
        self.clock = clock
        self.records = records
        self.keeping = keeping
        self.routes = routes
        self.endpoints: dict[tuple[str, int], tuple[Mapping[str, ModelSpec], Endpoint]] = {}
        """Where models are, once it has been looked up: by name, and by the identity of the table that they are in."""
        self._prices = prices or {}
        self._known_prices: dict[tuple[str, str, str], Price | None] = {}
        """By a model's name, its provider and what its server calls it."""
        self._purses: dict[str, Purse] = {}
        self._paid_from: dict[str, list[Purse]] = {}
        self._day = day
        self._waiting: list[Callable[[], None]] = []
        self._unpriced: set[str] = set()
        if budget is not None:
            self._purses[""] = Purse("the run's budget", budget, started_at)
        for path, each in (task_budgets or {}).items():
            self._purses[path] = Purse(f"the budget of `{path.removesuffix(':')}`", each)
        budgets = [purse.budget for purse in self._purses.values()] + ([] if day is None else [day.purse.budget])
        self.is_timed = any(each.wall_time is not None for each in budgets)
        """Some budget's time runs."""
        for path, usage in (spent or {}).items():
            for purse in self._of(path):
                purse.spent.add(Use.of(usage))

    @property
    def has_budgets(self) -> bool:
        return bool(self._purses) or self._day is not None

    def _of(self, path: str) -> list[Purse]:
        """Return the purses that a call of the task at ``path`` is paid from: the run's, and those on the way to it.

        What is called from another file has paths that begin with that file's name and a colon. What stands in for a
        task is paid from that task's too.
        """
        if not self._purses:
            return []
        if path not in self._paid_from:
            self._paid_from[path] = self._purses_of(path)
        return self._paid_from[path]

    def _purses_of(self, path: str) -> list[Purse]:
        found = [self._purses[""]] if "" in self._purses else []
        file, colon, _ = path.rpartition(":")
        if colon and f"{file}:" in self._purses:
            found.append(self._purses[f"{file}:"])
        parts = path.split(".")
        names = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
        both = (each for name in names for each in dict.fromkeys((name.removesuffix(_STAND_IN), name)))
        return [*found, *(self._purses[name] for name in both if name in self._purses)]

    # ------------------------------------------------------------------------------------------------------ prices

    def price(self, endpoint: Endpoint) -> Price | None:
        """Return what the endpoint's tokens cost; None when nobody knows."""
        key = (endpoint.name, endpoint.profile.name, endpoint.model)
        if key not in self._known_prices:
            self._known_prices[key] = price_of(*key, self._prices)
        return self._known_prices[key]

    def check_priced(self, path: str, endpoint: Endpoint, log: Callable[[str, str], None]) -> Price | None:
        """Return the price of a call. Raises TaskError ``model-unpriced`` where a budget asks for one."""
        price = self.price(endpoint)
        if price is not None:
            return price
        costly = [purse for purse in self._all(path) if purse.budget.cost is not None]
        for purse in costly:
            if purse.budget.on_unpriced is OnUnpriced.FAIL:
                raise TaskError(
                    f"nobody knows what the model {endpoint.name} costs, and {purse.name} counts dollars",
                    code="model-unpriced",
                    retryable=False,
                    hint=f"give it under `prices` in autoglm.yaml: `{endpoint.model}: {{input: 0.5, output: 1.5}}`",
                )
        if costly and endpoint.name not in self._unpriced:
            self._unpriced.add(endpoint.name)
            log("log", f"warning: nobody knows what the model {endpoint.name} costs: its calls count as free")
        return None

    def _all(self, path: str) -> list[Purse]:
        return self._of(path) + ([self._day.purse] if self._day is not None else [])

    # ----------------------------------------------------------------------------------------------------- budgets

    async def reserve(self, path: str, need: Use) -> Judgement:
        """Reserve the worst case of a call in every purse that it is paid from."""
        now = self.clock()
        if self._day is not None:
            try:
                await self._day.fetch(need, now)
            except StoreError as error:
                raise TaskError(
                    f"the day's budget cannot be looked up: {error.message}", code="budget-unreadable", hint=error.hint
                ) from None
        return reserve(self._all(path), need, now)

    def settle(self, path: str, need: Use, used: Use) -> None:
        """Put what a call used in the place of what was reserved for it, and let those go on who waited for that."""
        purses = [purse for purse in self._all(path) if purse.began is not None]
        settle(purses, need, used)
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def count(self, path: str, used: Use) -> None:
        """Count a call that was paid for earlier and whose answer came back from the journal."""
        for purse in self._all(path):
            purse.spent.add(used)

    def lose(self, attempt: Attempt, worst: Use, times: int = 1) -> None:
        """Count calls of an attempt that were made, and whose end nobody has heard: what they may have used at most."""
        lost, usage = worst.times(times), attempt.usage
        for name, amount in ((LOST_CALLS, times), (LOST_TOKENS, lost.tokens), (LOST_COST, lost.cost)):
            if amount:
                usage[name] = usage.get(name, 0) + amount
        self.count(attempt.node, lost)

    def ends_at(self, path: str) -> tuple[float, Purse] | None:
        """Return when the time of a budget of the task is up, and which one it is; the first of them."""
        ends = [(purse.ends_at, purse) for purse in self._all(path)]
        return min(((at, purse) for at, purse in ends if at is not None), key=lambda each: each[0], default=None)

    def wake_when_settled(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when a call has settled."""
        self._waiting.append(wake)

    def degraded_to(self, path: str) -> str | None:
        """Return the model that is asked instead, where a budget of the task is used up and says so."""
        for purse in self._all(path):
            if purse.is_degraded and isinstance(purse.budget.on_exhausted, DegradeTo):
                return purse.budget.on_exhausted.degrade
        return None

    def left(self) -> dict[str, dict[str, float]]:
        """Return what is left of each budget, by its name."""
        purses: Sequence[Purse] = [*self._purses.values(), *([self._day.purse] if self._day else [])]
        return {purse.name: purse.remaining() for purse in purses}

    def close(self) -> None:
        """Give back to the store what was fetched and not spent, and write what is kept. May wait for a disk."""
        if self.keeping is not None:
            self.keeping.close(self.clock())
        if self.routes is not None:
            self.routes.close()
        if self._day is not None:
            try:
                self._day.give_back(self.clock())
            except StoreError:
                return  # it counts as spent until the day is over
