"""The file's ``defaults``: fields that every task has unless it says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoglm.spec import task_fields
from autoglm.spec.catalog import TaskTypeInfo
from autoglm.spec.values import Values

FIELDS = (
    "retry",
    "retries",
    "timeout",
    "executor",
    "on_error",
    "pool",
    "env",
    "labels",
    "resources",
    "priority",
    "cache",
    "model",
)
_MERGED = ("env", "labels", "resources")
_WITHOUT = frozenset({"group", "decision", "wait", "approval", "workflow"})
"""Types that hold or direct other tasks, or wait: defaults are meant for what does the work."""


class Defaults:
    """What ``defaults`` says, read and checked once."""

    def __init__(self, values: Values, written: Any, project: Mapping[str, Any] | None = None) -> None:
        """``project`` holds the defaults of the project's settings, already checked: the file's come before them."""
        self._model: str | None = None
        self._fields: dict[str, Any] = {}
        self._retry: dict[str, Any] = {}
        mapping = {**(project or {}), **(values.mapping(written, (), "defaults") or {})}
        for key, value in mapping.items():
            if key == "model":
                self._model = values.text(value, ("defaults",), key)
            elif key not in FIELDS:
                values.unknown_key(key, ("defaults",), FIELDS, "`defaults`")
            elif key in task_fields.READERS:
                read = task_fields.READERS[key](values, value, ("defaults",), key)
                if read is not None:
                    self._fields[key] = read
        policy = task_fields.retry(values, mapping, ("defaults",), {})
        if policy is not None:
            written_retry = mapping.get("retry")
            names = set(written_retry) if isinstance(written_retry, dict) else set()
            names |= {"max_attempts"} if "retries" in mapping else set()
            self._retry = {name: getattr(policy, name) for name in names & set(type(policy).model_fields)}

    def retry_for(self, kind: str) -> dict[str, Any]:
        """Return the fields of the retry policy that a task of this type starts from."""
        return {} if kind in _WITHOUT else self._retry

    def apply(self, fields: dict[str, Any], body: dict[str, Any], info: TaskTypeInfo | None) -> None:
        """Fill what a task's author left out of ``fields``."""
        if fields["type"] in _WITHOUT:
            return
        if self._model is not None and info is not None and "model" in info.options:
            fields["options"] = {"model": self._model, **fields["options"]}
        for key, value in self._fields.items():
            if key in _MERGED:
                fields[key] = {**value, **fields[key]}
            elif key in body or (key == "cache" and not (info is not None and info.caches)):
                continue
            elif key != "executor" or info is None or info.name == "function" or value in info.executors:
                fields[key] = value
