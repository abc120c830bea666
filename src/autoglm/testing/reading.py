"""A ``.test.yaml`` file read: what it says, and everything in it that cannot be meant.

What stands at the top of the file beside ``workflow`` and ``cases`` holds for every case; a case's own goes first, name
by name for ``inputs``, ``mocks``, ``answers``, ``signals``, ``environment`` and ``secrets``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from autoglm.base.diagnostics import did_you_mean, sort_diagnostics
from autoglm.base.errors import SpecError
from autoglm.spec.document import Document
from autoglm.spec.model import Path
from autoglm.spec.values import Values
from autoglm.testing.cases import Case, CaseFile, Clock, Mock
from autoglm.testing.expectations import Expectations
from autoglm.testing.mock_fields import MockReader
from autoglm.testing.people import PeopleReader

_SHARED = ("inputs", "mocks", "answers", "signals", "environment", "secrets", "offline", "clock", "start", "timeout")
_CASE = ("name", "description", *_SHARED, "expect")
_FILE = ("workflow", "description", *_SHARED, "cases")
_OTHER_WORDS = {
    "env": "environment",
    "approvals": "answers",
    "approve": "answers",
    "events": "signals",
    "input": "inputs",
    "mock": "mocks",
    "stubs": "mocks",
    "tests": "cases",
    "assert": "expect",
    "asserts": "expect",
    "assertions": "expect",
    "expected": "expect",
    "file": "workflow",
    "flow": "workflow",
}


def read_case_file(document: Document) -> CaseFile:
    """Return what a test file says.

    Raises:
        SpecError: everything that is wrong with it, as far as that can be told without its workflow.
    """
    values = Values(document)
    found = _Reader(values).file(document)
    if found is None or values.diagnostics:
        raise SpecError(sort_diagnostics(values.diagnostics))
    return found


class _Reader:
    def __init__(self, values: Values) -> None:
        self.values = values
        self._mocks = MockReader(values)
        self._people = PeopleReader(values)
        self._expectations = Expectations(values)

    def file(self, document: Document) -> CaseFile | None:
        values, data = self.values, document.data
        if not isinstance(data, dict):
            hint = "write `workflow: config/workflow.yaml` and `cases: [...]`"
            values.error("wrong-kind", "a test file must be a mapping, but it is a list", (), hint=hint)
            return None
        self._keys(data, (), _FILE, "a test file")
        workflow = None
        if "workflow" in data:
            workflow = values.filled_text(data["workflow"], (), "workflow")
        else:
            hint = "add `workflow: config/workflow.yaml`, a path relative to the project"
            values.error("test-without-workflow", "the file does not say which workflow it tests", (), hint=hint)
        shared = self._shared(data, ())
        cases = self._cases(data.get("cases"), shared)
        return CaseFile(document.file, workflow or "", tuple(cases))

    def _cases(self, written: Any, shared: Mapping[str, Any]) -> list[Case]:
        values = self.values
        entries: list[tuple[Any, Path, str | None]] = []
        if isinstance(written, list):
            entries = [(body, ("cases", index), None) for index, body in enumerate(written)]
        elif isinstance(written, dict):
            entries = [(body, ("cases", name), name) for name, body in written.items()]
        elif written is not None:
            values.wrong(written, (), "cases", "a list of cases, or a mapping of names to cases")
            return []
        if not entries:
            hint = "add `cases: [{name: …, inputs: …, expect: …}]`"
            values.error("test-without-cases", "the file has no cases", ("cases",), hint=hint)
        found: list[Case] = []
        names: dict[str, Path] = {}
        for body, path, name in entries:
            case = self._case(body, path, name, shared)
            if case is None:
                continue
            if case.name in names:
                line = values.document.line_of(names[case.name])
                message = f"the case `{case.name}` stands in this file twice (line {line})"
                values.error("duplicate-case", message, (*path, "name"), hint="give each a name of its own")
            names.setdefault(case.name, path)
            found.append(case)
        return found

    def _case(self, body: Any, path: Path, name: str | None, shared: Mapping[str, Any]) -> Case | None:
        values = self.values
        read = values.mapping(body, path[:-1], path[-1])
        if read is None:
            return None
        self._keys(read, path, _CASE, "a case")
        if "name" in read:
            name = values.filled_text(read["name"], path, "name")
        elif name is None:
            values.error("missing-name", "this case has no `name`", path, hint="add `name: …`, which says what holds")
        if name is None:
            return None
        fields = dict(shared)
        for key, value in self._shared(read, path).items():
            is_merged = isinstance(value, Mapping) and key in fields
            fields[key] = {**fields[key], **value} if is_merged else value
        expect = self._expectations.read(read.get("expect"), path)
        return Case(name, **fields, expect=expect, path=path)

    def _shared(self, data: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Return the fields that the file and each of its cases may have, as :class:`Case` takes them."""
        values = self.values
        found: dict[str, Any] = {}
        if "inputs" in data:
            found["inputs"] = values.mapping(data["inputs"], path, "inputs")
        if "mocks" in data:
            found["mocks"] = self._all_mocks(data["mocks"], path)
        if "answers" in data:
            found["answers"] = self._people.answers(data["answers"], path)
        if "signals" in data:
            found["signals"] = self._people.signals(data["signals"], path)
        for key in ("environment", "secrets"):
            if key in data:
                found[key] = values.text_mapping(data[key], path, key)
        if "offline" in data:
            found["offline"] = values.boolean(data["offline"], path, "offline")
        if "clock" in data:
            found["clock"] = values.choice(data["clock"], path, "clock", Clock)
        if "start" in data:
            found["start"] = self._instant(data["start"], path)
        if "timeout" in data:
            found["timeout"] = values.duration(data["timeout"], path, "timeout")
        return {key: value for key, value in found.items() if value is not None}

    def _all_mocks(self, written: Any, path: Path) -> dict[str, Mock] | None:
        mapping = self.values.mapping(written, path, "mocks")
        if mapping is None:
            return None
        return {task: self._mocks.read(body, (*path, "mocks"), task) for task, body in mapping.items()}

    def _instant(self, value: Any, path: Path) -> float | None:
        if isinstance(value, str):
            try:
                instant = datetime.fromisoformat(value)
            except ValueError:
                pass
            else:
                return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()
        hint = "write one like 2026-03-01T09:00:00Z"
        self.values.wrong(value, path, "start", "a date and time", hint)
        return None

    def _keys(self, mapping: Mapping[str, Any], path: Path, known: tuple[str, ...], what: str) -> None:
        for key in mapping:
            if key not in known and not key.startswith("x-"):
                other = _OTHER_WORDS.get(key)
                close = did_you_mean(key, known) or (other if other in known else None)
                hint = f"did you mean `{close}`?" if close else f"it has {', '.join(known)}"
                self.values.unknown_key(key, path, known, what, hint)
