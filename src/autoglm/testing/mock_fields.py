"""The ``mocks`` of a test file: what stands in for a task's work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autoglm.base.errors import TaskError
from autoglm.spec.expressions import ExpressionError, Template, compile_template
from autoglm.spec.model import Path
from autoglm.spec.values import Values, one_of
from autoglm.testing.cases import Mock, Outcome, Per

_OUTCOME = ("value", "error", "delay")
_MOCK = (*_OUTCOME, "sequence", "per")
_ERROR = ("code", "message", "class", "retryable", "hint", "details")


class MockReader:
    """Reads mocks of one file."""

    def __init__(self, values: Values) -> None:
        self.values = values

    def read(self, body: Any, path: Path, task: str) -> Mock:
        """Return the mock of ``task``, which stands at ``path``; what of it is wrong has been reported."""
        values, here = self.values, (*path, task)
        if not isinstance(body, dict) or not body:
            hint = "write `{value: …}`, `{error: …}` or `{sequence: [...]}`"
            if body == {}:
                self._says_nothing(here, f"the mock of `{task}`", hint)
            else:
                values.wrong(body, path, task, "a mapping", hint)
            return Mock(path=here)
        values.check_keys(body, here, _MOCK, "a mock")
        sequence: list[Outcome] = []
        if "sequence" in body:
            if not isinstance(body["sequence"], list) or not body["sequence"]:
                values.wrong(body["sequence"], here, "sequence", "a list of outcomes")
            else:
                for index, entry in enumerate(body["sequence"]):
                    sequence.append(self._entry(entry, (*here, "sequence"), index))
        per = None
        if "per" in body:
            per = values.choice(body["per"], here, "per", Per)
            if "sequence" not in body:
                message = "`per` says what a `sequence` is counted by, and there is none here"
                values.error("mock-outcome", message, (*here, "per"), key=True, hint="add `sequence`, or remove it")
        has_always = "value" in body or "error" in body or "sequence" not in body
        always = self._outcome(body, here)
        sequence = [replace(each, delay=each.delay or always.delay) for each in sequence]
        return Mock(tuple(sequence), per or Per.ATTEMPT, always if has_always else None, here)

    def _entry(self, entry: Any, path: Path, index: int) -> Outcome:
        if not isinstance(entry, dict) or not entry:
            hint = "write `{value: …}` or `{error: …}`"
            if entry == {}:
                self._says_nothing((*path, index), f"item {index + 1} of the `sequence`", hint)
            else:
                self.values.wrong(entry, path, index, "an outcome", hint)
            return Outcome()
        self.values.check_keys(entry, (*path, index), _OUTCOME, "an outcome")
        return self._outcome(entry, (*path, index))

    def _says_nothing(self, path: Path, what: str, hint: str) -> None:
        self.values.error("mock-outcome", f"{what} does not say what a call comes to", path, hint=hint)

    def _outcome(self, body: dict[str, Any], path: Path) -> Outcome:
        values = self.values
        if "value" in body and "error" in body:
            message = "a call has either a `value` or an `error`"
            hint = "remove one, or write a `sequence` of both"
            values.error("mock-outcome", message, (*path, "error"), key=True, hint=hint)
        error = self._error(body["error"], path) if "error" in body else None
        value = self._template(body["value"], (*path, "value")) if "value" in body else None
        return Outcome(value, error, None, self._delay(body, path))

    def _delay(self, body: dict[str, Any], path: Path) -> float:
        return (self.values.duration(body["delay"], path, "delay") or 0.0) if "delay" in body else 0.0

    def _template(self, value: Any, path: Path) -> Template | None:
        try:
            return compile_template(value)
        except ExpressionError as error:
            self.values.error(error.code, error.message, path, hint=error.hint)
            return None

    def _error(self, body: Any, path: Path) -> TaskError | None:
        """Return the error that a call fails with. A text alone is its code."""
        values, here = self.values, (*path, "error")
        if isinstance(body, str) and body.strip():
            return TaskError(f"the mock fails with {body}", code=body)
        if not isinstance(body, dict) or not body:
            expected = "an error's code, or a mapping of what it is"
            values.wrong(body, path, "error", expected, f"it may have {one_of(_ERROR)}")
            return None
        values.check_keys(body, here, _ERROR, "an error")
        code = values.filled_text(body["code"], here, "code") if "code" in body else "mock-error"
        message = values.text(body["message"], here, "message") if "message" in body else None
        classes = values.texts(body["class"], here, "class") if "class" in body else ()
        retryable = values.boolean(body["retryable"], here, "retryable") if "retryable" in body else True
        hint = values.text(body["hint"], here, "hint") if "hint" in body else None
        details = values.mapping(body["details"], here, "details") if "details" in body else None
        return TaskError(
            message or f"the mock fails with {code}",
            code=code,
            retryable=retryable is not False,
            classes=classes or (),
            hint=hint,
            details=details,
        )
