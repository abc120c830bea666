"""Names in ``retry.on`` that nothing can fail with: misspelt ones, as far as that can be told.

What a function raises cannot be known for certain, so a name is told of only when it is close to one that is known and
stands nowhere in the project's code; for tasks that only ask a model, whose failures are all ours, when it is unknown.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable
from typing import Final

from autoglm.base.diagnostics import did_you_mean
from autoglm.spec.catalog import Catalog
from autoglm.spec.model import Task
from autoglm.spec.report import Report
from autoglm.spec.scopes import ScopeInfo

CODES: Final = frozenset(
    """
    handler-raised handler-exit handler-cancelled handler-import-failed unknown-handler missing-argument
    unknown-argument no-thread not-importable worker-died output-too-large script-exit script-signal script-output
    script-files script-not-found script-not-executable script-format script-arguments script-cwd-not-found
    script-start script-outside-root option-value not-json service-failed service-not-open service-not-shared
    unknown-service wrong-executor model-file-missing model-file-unreadable model-file-untrusted
    model-file-needs-extra features-invalid decision-unsure rejected deadline-passed task-error timeout
    unknown-model model-key-missing model-address-invalid model-declared-in-circle model-parameter-invalid
    adapter-missing model-request-invalid model-rate-limited model-overloaded model-no-credit model-unauthorized
    model-not-found model-request-rejected model-server-error model-timeout model-connection bad-response
    prompt-too-long answer-refused answer-empty schema-mismatch output-schema-invalid offline-unsupported-schema
    prompt-missing prompt-empty prompt-twice llm-option-invalid label-set-invalid schema-impossible image-invalid
    prompt-file agent-out-of-turns agent-tools mcp-missing mcp-server-failed mcp-tool-missing unknown-mcp-server
    budget-empty budget-exhausted budget-unreadable budget-option model-unpriced cassette-missing
    cassette-unreadable cassette-unwritable cassette-mismatch model-split-invalid batch-unsupported batch-failed
    rate_limited overloaded content_filter connection bad_response schema_mismatch http_4xx http_5xx http_429
    http_500 http_502 http_503 http_504 exit_1 sigkill sigterm sigsegv
    """.split()  # noqa: SIM905 - a list of a hundred quoted words is worse to read
)
"""Codes and classes that we fail with ourselves. A test holds them against what is documented."""
EXCEPTIONS: Final = frozenset(
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
)
_FAMILIES: Final = re.compile(r"http_[1-5](?:\d\d|xx)|exit_\d{1,3}|sig[a-z]+\d?|signal \d+")
_NEAR: Final = 2
"""How many letters a class's name may differ in to be taken for a misspelt one."""


def check_retry(scopes: Iterable[ScopeInfo], catalog: Catalog, report: Report) -> None:
    """Warn of names in ``retry.on`` that nothing is known to fail with; of those in ``defaults`` once."""
    told: set[str] = set()
    for scope in scopes:
        for info in scope.tasks:
            for task in (info.task, info.task.rollback, info.task.fallback):
                if task is not None and task.retry is not None and task.retry.on:
                    _check(task, task.retry.on, catalog, report, told)


def _check(task: Task, names: tuple[str, ...], catalog: Catalog, report: Report, told: set[str]) -> None:
    is_own = not task.written or "retry" in task.written
    kind = catalog.task_types.get(task.type)
    is_closed = kind is not None and kind.caches and "tools" not in task.options
    for name in names:
        if name in CODES or name in EXCEPTIONS or _FAMILIES.fullmatch(name) or name in catalog.raised:
            continue
        close = _close(name, catalog)
        if close is None and not is_closed:
            continue
        if not is_own:
            if name in told:
                continue
            told.add(name)
        message = f"nothing is known to fail with `{name}`, so it is never retried for that"
        hint = f"did you mean `{close}`?" if close else "what a model fails with is listed in docs/models.md"
        report.task(task, ("retry", "on"), "retry-on-unknown", message, hint=hint, word=name, warning=True)


def _close(name: str, catalog: Catalog) -> str | None:
    """Return the known name that was probably meant."""
    if name.islower() or "_" in name or "-" in name:
        return did_you_mean(name, CODES)
    known = sorted(EXCEPTIONS | set(catalog.raised))
    return next((each for each in known if _differ(name, each) <= _NEAR), None)


def _differ(one: str, other: str) -> int:
    """Return in how many letters two names differ (Levenshtein, two neighbours that changed places counting as one).

    More than ``_NEAR`` is told as just that.
    """
    if abs(len(one) - len(other)) > _NEAR:
        return _NEAR + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i, *[0] * len(other)]
        for j, b in enumerate(other, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                row[j] = min(row[j], last[j - 2] + 1)
        if min(row) > _NEAR:
            return _NEAR + 1
    return row[-1]
