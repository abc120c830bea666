"""Those who wait to call one model: some in place, and some who went away and keep their place."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field

_FORGOTTEN = 60.0
"""Seconds after which somebody who was to come back and did not loses its place."""

Order = tuple[int, float, int]
"""Priority, virtual time of the run, arrival: the lowest is first."""


@dataclass(slots=True)
class Asker:
    """Who wants to call."""

    run: str
    task: str
    priority: int = 0
    tokens: int = 0
    """What the call is expected to use at most."""
    wake: Callable[[], None] | None = None
    """Makes it come back at once when it went away with :class:`Busy`."""


@dataclass(slots=True, eq=False)
class Ticket:
    """Somebody's place in the line."""

    order: Order
    asker: Asker
    loop: asyncio.AbstractEventLoop | None = None
    turn: asyncio.Event | None = None
    gone_until: float | None = None
    """When it comes back; None while it waits in place."""
    waits_for_room: bool = False
    is_called: bool = False
    """It went away and has been fetched back."""

    def call(self) -> None:
        """Say that it is its turn; from any thread."""
        if self.turn is not None and self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.turn.set)


@dataclass(slots=True)
class Line:
    """Those who wait, in order."""

    orders: list[Order] = field(default_factory=list)
    here: list[Order] = field(default_factory=list)
    tickets: dict[Order, Ticket] = field(default_factory=dict)
    away: dict[tuple[str, str], Ticket] = field(default_factory=dict)

    def add(self, ticket: Ticket) -> None:
        """Put somebody in the line, where its order says."""
        insort(self.orders, ticket.order)
        insort(self.here, ticket.order)
        self.tickets[ticket.order] = ticket

    def leave_place(self, ticket: Ticket) -> None:
        """Let a ticket go away and keep its place."""
        del self.here[bisect_left(self.here, ticket.order)]
        self.away[ticket.asker.run, ticket.asker.task] = ticket

    def come_back(self, ticket: Ticket) -> None:
        """Note that it waits in place again."""
        insort(self.here, ticket.order)
        ticket.gone_until = None

    def drop(self, ticket: Ticket) -> None:
        """Take somebody out of the line, wherever it waits."""
        if self.tickets.pop(ticket.order, None) is None:
            return
        del self.orders[bisect_left(self.orders, ticket.order)]
        place = bisect_left(self.here, ticket.order)
        if place < len(self.here) and self.here[place] == ticket.order:
            del self.here[place]

    def forget(self, now: float) -> None:
        """Drop those who were to be back for long."""
        for key, ticket in list(self.away.items()):
            if ticket.gone_until is not None and ticket.gone_until + _FORGOTTEN < now:
                del self.away[key]
                self.drop(ticket)
