"""Checks of what depends on what: missing names, cycles, conditions that never change, tasks that never run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.order import topological
from autoglm.spec.catalog import Catalog
from autoglm.spec.expressions import ExpressionError
from autoglm.spec.faults import suggest
from autoglm.spec.model import Join, OnError, Outcome, Path
from autoglm.spec.names import Kind
from autoglm.spec.report import Report
from autoglm.spec.scopes import ScopeInfo, TaskInfo, Upstream

_MAX_FORKS: Final = 200
"""With more tasks than this whose failure or choice others wait for, contradictions are no longer searched."""

Needs = Mapping[tuple[str, int], frozenset[Any]]
"""What must have come out for a task to run: ("outcome", task) or ("choice", decision) to what it may have been."""


def check_graph(scopes: Iterable[ScopeInfo], catalog: Catalog, report: Report) -> None:
    """Check the edges of every scope."""
    for scope in scopes:
        for info in scope.tasks:
            _check_upstreams(info, report)
            _check_targets(info, catalog, report)
            _check_alone(info, report)
        leftover = _check_cycles(scope, report)
        never = _check_conditions(scope, report)
        if not leftover:
            _check_reachable(scope, never, report)


# ------------------------------------------------------------------------------------------------------------ names


def _check_upstreams(info: TaskInfo, report: Report) -> None:
    name = info.task.name
    for upstream, path in info.unknown.items():
        hint = report.did_you_mean(upstream, (other.task for other in info.scope.tasks if other is not info))
        if hint is None and info.scope.find(upstream) is not None:
            hint = (
                "it stands outside of this group; tasks in a group depend on each other only, the group depends on it"
            )
        if info.scope.section is not None and info.scope.find(upstream) is not None:
            hint = f"every task of the run has ended when `{info.scope.section}` begins; take it out"
        hint = hint or suggest(upstream, _others(info), what="the tasks are")
        message = f"`{name}` depends on `{upstream}`, which does not exist"
        if info.scope.section is not None:
            message += f" in `{info.scope.section}`"
        if info.scope.owner is not None:
            message += f" in the group `{info.scope.owner.task.name}`"
        report.task(info.task, path, "unknown-task", message, hint=hint, word=upstream)
    if info.index in info.upstreams:
        path = info.upstreams[info.index].path
        report.task(info.task, path, "self-dependency", f"`{name}` depends on itself", hint="take it out", word=name)


def _others(info: TaskInfo) -> list[str]:
    return [other.task.name for other in info.scope.tasks if other is not info]


def _check_targets(info: TaskInfo, catalog: Catalog, report: Report) -> None:
    for action, (path, index) in info.targets.items():
        if index == info.index:
            message = f"the decision `{info.task.name}` leads to itself"
            report.task(
                info.task, path, "self-dependency", message, hint="a loop with `until` repeats a task", word=action
            )
        elif index is None and action not in catalog.functions:
            hint = report.did_you_mean(action, (other.task for other in info.scope.tasks if other is not info))
            close = did_you_mean(action, catalog.functions)
            hint = hint or (f"did you mean the function `{close}`?" if close else None)
            hint = hint or suggest(action, _others(info), what="the tasks are")
            message = f"the decision `{info.task.name}` leads to `{action}`, which is neither a task nor a function"
            report.task(info.task, path, "unknown-task", message, hint=hint, word=action)
        elif index is not None and _is_anothers(info, info.scope.tasks[index]):
            message = f"the function `{action}` is called by another decision already"
            hint = f"write a task for each of them, such as `{{name: {action}_2, handler: {action}}}`"
            report.task(info.task, path, "duplicate-name", message, hint=hint, word=action)


def _is_anothers(decision: TaskInfo, called: TaskInfo) -> bool:
    """Return whether a task stands for a function that another decision calls."""
    return called.is_called_by_decision and called.task.source != decision.task.source


def _check_alone(info: TaskInfo, report: Report) -> None:
    """Refuse what ties a task of a choice to another: only one of them runs."""
    owner = info.scope.owner
    if owner is None or "choose" not in owner.task.options:
        return
    name = info.task.name
    for up, edge in info.upstreams.items():
        if edge.is_data and up != info.index:
            other = info.scope.tasks[up].task.name
            message = f"`{name}` reads `{other}`, and of those in `allow` only one runs"
            report.task(info.task, edge.path, "choice-dependency", message, hint="put both into a group", word=other)
    if info.targets:
        message = f"the decision `{name}` leads to other tasks, and of those in `allow` only one runs"
        hint = "put the decision and its branches into a group"
        report.task(info.task, (), "choice-dependency", message, hint=hint)


# ----------------------------------------------------------------------------------------------------------- cycles


def _check_cycles(scope: ScopeInfo, report: Report) -> set[int]:
    """Report one cycle for each knot of tasks; return the tasks that have no place in an order."""
    upstreams = [[up for up in info.upstreams if up != info.index] for info in scope.tasks]
    left = set(range(len(upstreams))) - set(topological(upstreams))
    unseen = set(left)
    for start in sorted(left):
        if start not in unseen:
            continue
        cycle = _find_cycle(start, upstreams, left, unseen)
        if cycle is None:
            continue
        names = " → ".join(scope.tasks[index].task.name for index in [*cycle, cycle[0]])
        last, first = cycle[-1], scope.tasks[cycle[0]]
        edge = first.upstreams[last]
        how = "through the templates that read each other" if edge.is_data else "take one of these dependencies out"
        word = scope.tasks[last].task.name
        report.task(first.task, edge.path, "cycle", f"the tasks wait for each other: {names}", hint=how, word=word)
    return left


def _find_cycle(start: int, upstreams: Sequence[Sequence[int]], left: set[int], unseen: set[int]) -> list[int] | None:
    """Walk upstream from ``start`` over what is left until a task comes again; None when seen ground comes first.

    Every task that is left has an upstream that is left, so the walk ends in a cycle.
    """
    position: dict[int, int] = {}
    walk: list[int] = []
    at = start
    while at not in position:
        if at not in unseen:
            return None
        unseen.discard(at)
        position[at] = len(walk)
        walk.append(at)
        at = next(up for up in upstreams[at] if up in left)
    cycle = walk[position[at] :]
    cycle.reverse()  # upstream first, as the arrows go
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]


# ------------------------------------------------------------------------------------------------------- conditions


def _check_conditions(scope: ScopeInfo, report: Report) -> set[int]:
    """Warn of conditions that read nothing; return the tasks whose condition is never true."""
    never: set[int] = set()
    for info in scope.tasks:
        for reading in info.readings:
            if reading.kind not in (Kind.WHEN, Kind.RULE, Kind.UNTIL, Kind.WHILE) or reading.template.names:
                continue
            try:
                value = bool(reading.template.evaluate(_nothing))
            except ExpressionError as error:
                report.task(info.task, reading.path, error.code, error.message, hint=error.hint)
                continue
            if reading.kind is Kind.WHEN and not value:
                never.add(info.index)
            if reading.kind is not Kind.RULE or not value or not _is_last_rule(info, reading.path):
                _warn_constant(info, reading.path, reading.kind, value, report)
    return never


def _nothing(name: str) -> Any:
    raise KeyError(name)


def _warn_constant(info: TaskInfo, path: Path, kind: Kind, value: bool, report: Report) -> None:
    name = info.task.name
    says = f"is always {str(value).lower()}"
    message = {
        Kind.WHEN: f"the condition of `{name}` {says}" + ("" if value else ", so it never runs"),
        Kind.RULE: f"this rule of `{name}` {says}",
        Kind.WHILE: f"`while` of `{name}` {says}, so it " + ("runs to `max_iterations`" if value else "never runs"),
        Kind.UNTIL: f"`until` of `{name}` {says}, so it runs " + ("once" if value else "to `max_iterations`"),
    }[kind]
    hint = "read something in it, or take it out"
    report.task(info.task, path, "constant-condition", message, hint=hint, warning=True)


def _is_last_rule(info: TaskInfo, path: Path) -> bool:
    """A last rule that is always true is how some write the default."""
    conditions = info.task.options.get("conditions")
    return isinstance(conditions, list) and path[2] == len(conditions) - 1


# ---------------------------------------------------------------------------------------------------------- reaching


def _check_reachable(scope: ScopeInfo, never: set[int], report: Report) -> None:
    upstreams = [[up for up in info.upstreams if up != info.index] for info in scope.tasks]
    forks = _forks(scope)
    unreached: dict[int, str] = dict.fromkeys(never, "")
    needs: list[Needs] = [{}] * len(scope.tasks)
    for index in topological(upstreams):
        info = scope.tasks[index]
        if index in never:
            continue
        reason = _blocked(info, unreached)
        if reason is None and forks:
            needs[index], reason = _needs(info, needs, forks)
        if reason is not None:
            unreached[index] = reason
            message = f"`{info.task.name}` can never run: {reason}"
            report.task(info.task, (), "unreachable-task", message, hint="change `depends_on` or `join`", warning=True)


def _blocked(info: TaskInfo, unreached: Mapping[int, str]) -> str | None:
    """Return why the task cannot run, given the upstreams that never do: those are always skipped."""
    skipped = [up for up in info.upstreams if up in unreached]
    if not skipped:
        return None
    for up in skipped:
        edge = info.upstreams[up]
        if edge.accepts is not None and Outcome.SKIPPED not in edge.accepts:
            return f"`{_name(info, up)}` never runs"
    waiting = [up for up in skipped if info.upstreams[up].accepts is None]
    if not waiting or info.task.join is Join.ALL_DONE:
        return None
    if info.task.join is Join.ALL_SUCCEEDED:
        return f"`{_name(info, waiting[0])}` never runs"
    joined = info.joined
    never = [up for up in waiting if up in joined]
    if len(joined) == 1 and never:
        return f"`{_name(info, never[0])}` never runs"
    return "none of its upstreams ever runs" if len(never) == len(joined) else None


def _forks(scope: ScopeInfo) -> frozenset[tuple[str, int]]:
    """Return what tasks of the scope wait for in different ways: only there can contradictions arise."""
    forks: set[tuple[str, int]] = set()
    for info in scope.tasks:
        for up, edge in info.upstreams.items():
            if edge.accepts is not None and Outcome.SUCCEEDED not in edge.accepts:
                forks.add(("outcome", up))
        if len(info.targets) > 1 and info.task.options.get("mode") != "all":
            forks.add(("choice", info.index))
    return frozenset(forks) if len(forks) <= _MAX_FORKS else frozenset()


def _needs(info: TaskInfo, needs: Sequence[Needs], forks: frozenset[tuple[str, int]]) -> tuple[Needs, str | None]:
    """Return what must have come out for the task to run, and why that cannot be, if it cannot."""
    all_of: dict[tuple[str, int], frozenset[Any]] = {}
    for up, edge in info.upstreams.items():
        must_succeed = _must_succeed(info, up, edge)
        below: dict[tuple[str, int], frozenset[Any]] = dict(needs[up]) if must_succeed else {}
        accepts = edge.accepts
        if accepts is None and must_succeed:
            tolerated = info.scope.tasks[up].task.on_error == OnError.CONTINUE
            accepts = frozenset({Outcome.SUCCEEDED, Outcome.FAILED} if tolerated else {Outcome.SUCCEEDED})
        if accepts is not None and ("outcome", up) in forks:
            below[("outcome", up)] = frozenset(accepts)
        if edge.is_branch and must_succeed and ("choice", up) in forks:
            below[("choice", up)] = frozenset({info.task.name})
        for key, values in below.items():
            both = all_of.get(key, values) & values
            if not both:
                return {}, _contradiction(info, key, all_of[key], values)
            all_of[key] = both
    return all_of, None


def _must_succeed(info: TaskInfo, up: int, edge: Upstream) -> bool:
    """Tell whether the task runs only when that upstream ran and did well."""
    if edge.accepts is not None:
        return edge.accepts == frozenset({Outcome.SUCCEEDED})
    if info.task.join is Join.ALL_SUCCEEDED:
        return True
    return info.joined == [up] and info.task.join in (Join.NONE_FAILED, Join.ONE_SUCCEEDED)


def _contradiction(info: TaskInfo, key: tuple[str, int], one: frozenset[Any], other: frozenset[Any]) -> str:
    name = _name(info, key[1])
    first, second = (" or ".join(sorted(map(str, values))) for values in (one, other))
    if key[0] == "choice":
        return f"`{name}` would have to choose both `{first}` and `{second}`"
    return f"`{name}` would have to end both {first} and {second}"


def _name(info: TaskInfo, index: int) -> str:
    return info.scope.tasks[index].task.name
