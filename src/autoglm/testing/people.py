"""The ``answers`` and ``signals`` of a test file, and who gives them when the run asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoglm.base import jsonvalue
from autoglm.engine import messages as m
from autoglm.spec.model import Path
from autoglm.spec.values import Values
from autoglm.stores.protocol import LogLine
from autoglm.testing.cases import Answer, Case, Given
from autoglm.testing.clock import VirtualClock
from autoglm.testing.naming import static

_WORDS = {"approve": True, "reject": False}
_ANSWER = ("answer", "data", "comment", "by", "after")
_SIGNAL = ("data", "by", "after")


class PeopleReader:
    """Reads what people do in the cases of one file."""

    def __init__(self, values: Values) -> None:
        self.values = values

    def answers(self, body: Any, path: Path) -> dict[str, Answer] | None:
        """Return the answers by task; what of them is wrong has been reported."""
        mapping = self.values.mapping(body, path, "answers")
        here = (*path, "answers")
        return mapping if mapping is None else {task: self._answer(each, here, task) for task, each in mapping.items()}

    def signals(self, body: Any, path: Path) -> dict[str, Given] | None:
        """Return the signals by name."""
        mapping = self.values.mapping(body, path, "signals")
        here = (*path, "signals")
        return mapping if mapping is None else {name: self._signal(each, here, name) for name, each in mapping.items()}

    def _answer(self, body: Any, path: Path, task: str) -> Answer:
        values, here = self.values, (*path, task)
        if isinstance(body, str):
            return Answer(self._word(body, path, task), path=here)
        if not isinstance(body, dict) or "answer" not in body:
            values.wrong(body, path, task, "`approve`, `reject`, or a mapping with `answer`")
            return Answer(approved=False, path=here)
        values.check_keys(body, here, _ANSWER, "an answer")
        return Answer(
            approved=self._word(body["answer"], here, "answer"),
            data=body.get("data"),
            comment=self._text(body, here, "comment"),
            by=self._text(body, here, "by"),
            after=self._after(body, here),
            path=here,
        )

    def _signal(self, body: Any, path: Path, name: str) -> Given:
        here = (*path, name)
        mapping = self.values.mapping(body, path, name, "write `{data: …, after: 2h}`, or nothing") or {}
        self.values.check_keys(mapping, here, _SIGNAL, "a signal")
        data, by, after = mapping.get("data"), self._text(mapping, here, "by"), self._after(mapping, here)
        return Given(data, by, after, here)

    def _word(self, value: Any, path: Path, key: str) -> bool:
        if value not in _WORDS:
            self.values.wrong(value, path, key, "`approve` or `reject`")
        return _WORDS.get(value, False)

    def _text(self, body: Mapping[str, Any], path: Path, key: str) -> str:
        return (self.values.text(body[key], path, key) or "") if key in body else ""

    def _after(self, body: Mapping[str, Any], path: Path) -> float:
        return (self.values.duration(body["after"], path, "after") or 0.0) if "after" in body else 0.0


class People:
    """Watches a run, and answers what it asks as its case says."""

    def __init__(self, case: Case, clock: VirtualClock | None, post: Callable[[m.Stimulus], None]) -> None:
        self._case = case
        self._clock = clock
        self._post = post
        self.refused: list[tuple[str, Path]] = []
        """Why answers did not count, and where they stand."""

    def on_events(self, events: Sequence[m.Event], at: float) -> None:
        """Answer what is asked."""
        for event in events:
            if isinstance(event, m.QuestionAsked):
                self._asked(event)
            elif isinstance(event, m.AnswerRefused):
                answer = self._answer_to(event.task) if event.task else None
                self.refused.append((event.message, self._case.path if answer is None else answer.path))

    def on_log(self, line: LogLine) -> None:
        """Lines are in the store."""

    def _answer_to(self, task: str) -> Answer | None:
        answers = self._case.answers
        return answers.get(task) or answers.get(static(task))

    def _asked(self, event: m.QuestionAsked) -> None:
        signal = event.question.signal
        if signal is not None:
            given = self._case.signals.get(signal)
            if given is not None:
                self._later(given.after, m.SignalGiven(signal, jsonvalue.encode(given.data), given.by))
            return
        answer = self._answer_to(event.task)
        if answer is not None:
            data = None if answer.data is None else jsonvalue.encode(answer.data)
            stimulus = m.Answer(event.task, answer.approved, answer.by, data, answer.comment)
            self._later(answer.after, stimulus)

    def _later(self, seconds: float, stimulus: m.Stimulus) -> None:
        if self._clock is None:
            asyncio.get_running_loop().call_later(seconds, self._post, stimulus)
        else:
            self._clock.call_at(self._clock() + seconds, lambda: self._post(stimulus))
