"""What a model's server allows, as a record that processes share, and how a permit is booked in it. Pure.

Rules:

1. A permit is booked for a moment ``at`` and used in ``[at, at + HOLD]``, or it lapses. The record counts it until
   ``at + HOLD + WINDOW``: so no window of 60 s, wherever it begins, ever sees more than the limit.
2. Bookings follow one another in time. Their moments are kept in steps of ``GRAIN``, rounded up, so the record has at
   most 600 of them whatever the limit.
3. What 1 and 2 cost is the share ``(HOLD + GRAIN) / WINDOW`` of the limit: half a percent.
4. A call's tokens are booked as estimated, and put right when its answer has told them.

This is the sliding log of rate limiting ("sliding window log"), booked ahead, with its log coarsened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import msgspec

WINDOW = 60.0
"""Seconds that limits a minute look at."""
HOLD = 0.2
"""Seconds after its moment in which a permit may be used."""
GRAIN = 0.1
"""Seconds: how finely a record remembers when permits were booked."""
HELD = 30.0
"""Seconds for which a process's word on its calls under way counts; it renews it as long as it lives."""
LONGEST_RESET = 3600.0
"""Seconds: what a header promises beyond that is not believed."""


class Record(msgspec.Struct):
    """What processes know together about one model at one address with one key."""

    log: list[tuple[int, int, int]] = []
    """(moment in steps of ``GRAIN``, requests, tokens) of what was booked, oldest first."""
    pause_until: float = 0.0
    """No call before; a server asked for it."""
    held: dict[str, tuple[int, float]] = {}
    """Process → (calls it may have under way, until when that counts)."""


def decode_record(data: bytes | None) -> Record:
    """Return a record as stored; an empty one where there is none or nothing that can be read."""
    if data is None:
        return Record()
    try:
        return msgspec.msgpack.decode(data, type=Record)
    except msgspec.DecodeError:
        return Record()


def encode_record(record: Record) -> bytes:
    """Return a record as it is stored."""
    return msgspec.msgpack.encode(record)


class Window:
    """The part of a record's log that still counts, walked forwards in time while permits are booked."""

    def __init__(self, record: Record, rpm: int | None, tpm: int | None, now: float) -> None:
        log = record.log
        while log and _leaves(log[0][0]) <= now:
            del log[0]
        self._log = log
        self._rpm, self._tpm = rpm, tpm
        self._first = 0
        """Where in the log what counts at the moment looked at begins."""
        self._requests = sum(entry[1] for entry in log)
        self._tokens = sum(entry[2] for entry in log)
        self._at = max(now, record.pause_until, log[-1][0] * GRAIN if log else 0.0)

    def find(self, tokens: int) -> float:
        """Return the first moment at which a call of ``tokens`` may be booked."""
        if self._tpm is not None:
            tokens = min(tokens, self._tpm)
        while self._first < len(self._log) and not self._fits(tokens):
            moment, requests, used = self._log[self._first]
            self._at = max(self._at, _leaves(moment))
            self._requests -= requests
            self._tokens -= used
            self._first += 1
        return self._at

    def take(self, at: float, tokens: int) -> None:
        """Book a permit at a moment that :meth:`find` gave."""
        if self._tpm is not None:
            tokens = min(tokens, self._tpm)
        moment = ceil(round(at / GRAIN, 6))
        log = self._log
        if log and log[-1][0] == moment:
            log[-1] = (moment, log[-1][1] + 1, log[-1][2] + tokens)
        else:
            log.append((moment, 1, tokens))
        self._requests += 1
        self._tokens += tokens

    def _fits(self, tokens: int) -> bool:
        if self._rpm is not None and self._requests + 1 > self._rpm:
            return False
        return self._tpm is None or self._tokens + tokens <= self._tpm


def _leaves(moment: int) -> float:
    return moment * GRAIN + HOLD + WINDOW


def book(
    record: Record, rpm: int | None, tpm: int | None, now: float, wants: Sequence[int], horizon: float
) -> list[float]:
    """Book permits for calls of ``wants`` tokens, as many as come about within ``horizon`` seconds; return when."""
    window = Window(record, rpm, tpm, now)
    booked: list[float] = []
    for tokens in wants:
        at = window.find(tokens)
        if at > now + horizon:
            break
        window.take(at, tokens)
        booked.append(at)
    return booked


def foresee(record: Record, rpm: int | None, tpm: int | None, now: float, ahead: int, tokens: int) -> float:
    """Return when a call that ``ahead`` others go before may be expected to get its permit, each like it."""
    copy = Record(list(record.log), record.pause_until)
    most = rpm if rpm is not None else ahead + 1
    if tpm is not None:
        most = min(most, max(1, tpm // max(tokens, 1)))
    rounds, rest = divmod(ahead, max(most, 1))
    window = Window(copy, rpm, tpm, now)
    at = now
    for _ in range(rest + 1):
        at = window.find(tokens)
        window.take(at, tokens)
    return at + rounds * (WINDOW + HOLD)


def settle(record: Record, moment: float, tokens: int) -> None:
    """Put right what was booked at ``moment`` by ``tokens`` more, or fewer when negative."""
    step = ceil(round(moment / GRAIN, 6))
    for place in range(len(record.log) - 1, -1, -1):
        at, requests, used = record.log[place]
        if at == step:
            record.log[place] = (at, requests, max(0, used + tokens))
            return
        if at < step:
            return


def hold(record: Record, who: str, wanted: int, cap: int, now: float) -> int:
    """Note that ``who`` wants ``wanted`` calls under way; return how many it may have, with what others hold."""
    for name in [name for name, (_, until) in record.held.items() if until <= now]:
        del record.held[name]
    others = sum(count for name, (count, _) in record.held.items() if name != who)
    granted = max(0, min(wanted, cap - others))
    if granted:
        record.held[who] = (granted, now + HELD)
    else:
        record.held.pop(who, None)
    return granted


# ------------------------------------------------------------------------------------------ what is learned by doing


class Concurrency:
    """How many calls may be under way: additive increase, multiplicative decrease (Chiu and Jain, 1989; TCP's rule).

    Without a start there is no limit until a server refuses for the first time.
    """

    def __init__(self, start: int | None = None, ceiling: int | None = None) -> None:
        self.ceiling = ceiling
        self.limit: float | None = start if ceiling is None or start is None else min(start, ceiling)
        if self.limit is None and ceiling is not None:
            self.limit = ceiling
        self._cut_at = float("-inf")
        self.refusals = 0
        """Cuts since the last success."""

    @property
    def room(self) -> int | None:
        """How many calls may be under way; None for any number."""
        return None if self.limit is None else max(1, int(self.limit))

    def succeeded(self, under_way: int) -> None:
        """Allow a little more, where what is allowed was used: one more for each full round of successes."""
        self.refusals = 0
        if self.limit is not None and under_way >= int(self.limit) * 0.8:
            self.limit += 1 / self.limit
            if self.ceiling is not None:
                self.limit = min(self.limit, self.ceiling)

    def refused(self, under_way: int, now: float, apart: float) -> bool:
        """Halve what is allowed, once for all refusals within ``apart`` seconds; return whether it did."""
        if now - self._cut_at < apart:
            return False
        self._cut_at = now
        self.refusals += 1
        used = under_way if self.limit is None else min(self.limit, max(under_way, 1))
        self.limit = max(1.0, used / 2)
        return True


class Told:
    """What a server's headers say is left, for requests or for tokens: a bucket that refills until its reset."""

    def __init__(self) -> None:
        self._left: float | None = None
        self._rate = 0.0
        self._most = 0.0
        self._at = 0.0

    def hear(self, limit: int | None, remaining: int, reset: float, now: float, under_way: int) -> None:
        """Take what an answer's headers said; ``under_way`` is what else was sent and not answered yet."""
        most = float(limit) if limit is not None else float(remaining)
        missing = most - remaining
        self._rate = missing / reset if reset > 0 and missing > 0 else (most if reset <= 0 else most / reset)
        self._most, self._at = most, now
        self._left = remaining - under_way

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until ``amount`` is left; 0 where nothing was said."""
        if self._left is None or self._most <= 0:
            return 0.0
        left = min(self._most, self._left + (now - self._at) * self._rate)
        short = min(amount, self._most) - left
        if short <= 0:
            return 0.0
        return min(short / self._rate, LONGEST_RESET) if self._rate > 0 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Note that ``amount`` was used."""
        if self._left is not None:
            self._left = min(self._most, self._left + (now - self._at) * self._rate) - amount
            self._at = now


class Heard(msgspec.Struct, frozen=True):
    """One pair of ``x-ratelimit-*`` headers: what is allowed, what is left, seconds until it is whole again."""

    limit: int | None
    remaining: int
    reset: float


def read_headers(headers: Mapping[str, str]) -> dict[str, Heard]:
    """Return what ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` say, by ``requests`` and ``tokens``."""
    found = {}
    for what in ("requests", "tokens"):
        remaining = _whole(headers.get(f"x-ratelimit-remaining-{what}"))
        if remaining is None:
            continue
        reset = read_reset(headers.get(f"x-ratelimit-reset-{what}"))
        if reset is not None:
            limit = _whole(headers.get(f"x-ratelimit-limit-{what}"))
            found[what] = Heard(limit, remaining, min(reset, LONGEST_RESET))
    return found


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")


def read_reset(text: str | None) -> float | None:
    """Return the seconds of a reset such as ``1s``, ``6m0s``, ``250ms`` or ``12.5``; None for anything else."""
    if not text:
        return None
    text = text.strip().lower()
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\s*\d{1,12}\s*", text) else None


# ---------------------------------------------------------------------------------------------------- estimates

USUAL_ANSWER = 1024
"""Tokens that an answer is taken to have where nothing limits it."""


def estimate_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return about how many tokens a conversation has: four ASCII characters one, any other character one, each."""
    count = 3
    for message in messages:
        count += 4 + _text_tokens(message.get("content"))
    return count


def _text_tokens(content: Any) -> int:
    if isinstance(content, str):
        plain = len(content) if content.isascii() else sum(character < "\x80" for character in content)
        return ceil(plain / 4) + len(content) - plain
    if isinstance(content, list):
        return sum(
            _text_tokens(part.get("text")) if "text" in part else 800 for part in content if isinstance(part, dict)
        )
    return 0
