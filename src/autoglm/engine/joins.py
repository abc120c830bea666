"""Whether a task runs, waits or is skipped, given how its upstreams ended.

Each upstream counts as *ok*, *skipped* or *bad*. A failure that its task tolerates (``on_error: continue``) is ok; a
skip that a failure caused is bad, so that a failure travels down a chain. An edge with outcomes of its own
(``depends_on: {fetch: [failed]}``) and a branch of a decision must hold, whatever the ``join``.

Where a task says what it depends on, or is a branch, that alone is joined: what its templates read besides must have
ended, and for the joins that ask for success, must not have failed; skipped, it is read as nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

from autoglm.engine.state import Instance, Scope
from autoglm.engine.states import FAILURES, FINAL, TaskStatus
from autoglm.graph.model import Node
from autoglm.spec.model import Join, Outcome


class Verdict(Enum):
    RUN = "run"
    WAIT = "wait"
    SKIP = "skip"


class Judgement(NamedTuple):
    verdict: Verdict
    reason: str = ""
    upstream_failed: bool = False


_SUCCEEDED = TaskStatus.SUCCEEDED
_RUN = Judgement(Verdict.RUN)
_WAIT = Judgement(Verdict.WAIT)
_ASK_FOR_SUCCESS = (Join.NONE_FAILED, Join.ALL_SUCCEEDED)


def outcome(instance: Instance) -> Outcome:
    """Return how a final instance ended, in the words of ``depends_on``."""
    if instance.status is TaskStatus.SUCCEEDED:
        return Outcome.SUCCEEDED
    if instance.status is TaskStatus.SKIPPED:
        return Outcome.SKIPPED
    return Outcome.FAILED if instance.status in FAILURES else Outcome.CANCELLED


class _Taken(msgspec.Struct):
    """What of a decision's result says which branches were taken."""

    branches: list[str] = []


_taken = msgspec.json.Decoder(_Taken).decode
_NOTHING_TAKEN = b'{"branches":[]'
"""How the result of a decision begins that took no branch: nothing else of it needs to be read then."""


def judge(node: Node, scope: Scope) -> Judgement:
    """Judge a task whose upstreams have all ended, or that need not wait for all of them."""
    edges = node.edges
    if not edges:
        return _RUN
    if len(edges) == 1 and edges[0].accepts is None and not edges[0].is_branch:
        upstream = scope.instances[edges[0].upstream]
        if upstream is not None and upstream.status is _SUCCEEDED and node.join is not Join.ONE_FAILED:
            return _RUN
    return _judge_edges(node, scope)


def _judge_edges(node: Node, scope: Scope) -> Judgement:
    ok: list[Instance] = []
    skipped: list[Instance] = []
    bad: list[Instance] = []
    not_chosen: list[Instance] = []
    chosen = waiting = False
    instances = scope.instances
    for edge in node.edges:
        upstream = instances[edge.upstream]
        if upstream is None or upstream.status not in FINAL:
            waiting = True
            continue
        if edge.is_data:
            continue
        if edge.accepts is not None:
            if outcome(upstream) not in edge.accepts:
                wanted = " or ".join(sorted(edge.accepts))
                reason = f"`{upstream.node.name}` ended {outcome(upstream)}, not {wanted}"
                return Judgement(Verdict.SKIP, reason, upstream.is_failure)
            is_awaited_failure = node.join is Join.ONE_FAILED and upstream.is_failure
            (bad if is_awaited_failure else ok).append(upstream)
        elif edge.is_branch and upstream.status is _SUCCEEDED:
            chosen = chosen or _is_chosen(upstream, node)
            (ok if chosen else not_chosen).append(upstream)
        elif edge.is_branch and not upstream.is_failure:  # nobody decided, so nothing was chosen
            not_chosen.append(upstream)
        elif upstream.status is _SUCCEEDED:
            ok.append(upstream)
        elif upstream.is_failure:
            (bad if _is_bad(upstream) else ok).append(upstream)
        else:
            skipped.append(upstream)
    if not_chosen and not chosen and not waiting:
        return Judgement(Verdict.SKIP, _why_not(not_chosen[0]))
    if waiting and not _has_read(node, scope):
        return _WAIT
    if node.join in _ASK_FOR_SUCCESS:
        read = [scope.instances[edge.upstream] for edge in node.edges if edge.is_data]
        bad += [each for each in read if each is not None and _is_bad(each)]
        if node.join is Join.ALL_SUCCEEDED:
            skipped += [each for each in read if each is not None and each.status is TaskStatus.SKIPPED]
    return _by_join(node.join, ok, skipped, bad, waiting=waiting)


def _has_read(node: Node, scope: Scope) -> bool:
    """Return whether all that a task only reads has ended."""
    read = (scope.instances[edge.upstream] for edge in node.edges if edge.is_data)
    return all(upstream is not None and upstream.is_final for upstream in read)


def _is_bad(upstream: Instance) -> bool:
    """Return whether an upstream failed, and may not."""
    return upstream.is_failure and (upstream.upstream_failed or not upstream.node.tolerated)


def _why_not(decision: Instance) -> str:
    """Return why a branch is not taken. Where nobody decided, nothing was chosen."""
    return f"`{decision.node.name}` " + (
        "chose another branch" if decision.status is TaskStatus.SUCCEEDED else "was skipped"
    )


def _by_join(
    join: Join, ok: list[Instance], skipped: list[Instance], bad: list[Instance], *, waiting: bool
) -> Judgement:
    if join is Join.ONE_SUCCEEDED and ok:
        return _RUN
    if join is Join.ONE_FAILED and bad:
        return _RUN
    if waiting:
        return _WAIT
    if join is Join.ALL_DONE:
        return _RUN
    if join is Join.ONE_FAILED:
        return Judgement(Verdict.SKIP, "no upstream failed")
    if bad:
        return Judgement(Verdict.SKIP, f"`{bad[0].node.name}` did not succeed", upstream_failed=True)
    if join is Join.ALL_SUCCEEDED and skipped:
        return Judgement(Verdict.SKIP, f"`{skipped[0].node.name}` was skipped")
    if ok:
        return _RUN
    is_one = len(skipped) == 1
    return Judgement(Verdict.SKIP, f"`{skipped[0].node.name}` was skipped" if is_one else "every upstream was skipped")


def _is_chosen(decision: Instance, node: Node) -> bool:
    result = decision.result
    if type(result) is not bytes or result.startswith(_NOTHING_TAKEN):
        return False
    return node.name in _taken(result).branches
