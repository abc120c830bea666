"""The compiled graph: what the engine runs. Built once by :mod:`autoglm.graph.compile`, never changed.

A :class:`ScopePlan` is the static side of a scope: the root, or the body of a group. The engine opens instances of it
(one for the root, one for each group, one for each iteration of a loop over a group).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from autoglm.spec.expressions import Template, compile_template
from autoglm.spec.model import Join, Outcome, Retry, Task, Workflow


class NodeKind(StrEnum):
    WORK = "work"
    """An attempt at an executor."""
    GROUP = "group"
    """A scope of its own."""
    CALL = "call"
    """A scope of its own, of another file, which sees nothing of the one around it."""
    DECISION = "decision"
    """Decided in the engine, without an executor."""
    WAIT = "wait"
    """Waits for a person, a signal or a time, without an executor."""


class Decider(StrEnum):
    """Who decides in a decision."""

    RULES = "rules"
    MODEL = "model"
    """A trained model, whose prediction the rules read."""
    LLM = "llm"
    """A language model, which answers with a label."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A concurrency limit; ``limit`` running attempts at most."""

    name: str
    limit: int


@dataclass(frozen=True, slots=True)
class Edge:
    """An upstream of a node, in the same scope. ``accepts`` None leaves the judgement to the node's ``join``."""

    upstream: int
    accepts: frozenset[Outcome] | None = None
    is_branch: bool = False
    """The upstream is a decision and this node one of its branches: it runs only when chosen, and is given what the
    decision was given."""
    is_data: bool = False
    """Templates of the node read it, and other edges say whether it runs: it must have ended, and not have failed."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """What ends a loop that goes on until something is true; exactly one of ``until`` and ``while_`` is set."""

    until: Template | None
    """Asked after an iteration, over its ``result``."""
    while_: Template | None
    """Asked before an iteration, over ``previous``."""
    max_iterations: int
    initial: Template | None = None
    """What ``previous`` is in the first iteration."""
    delay: float = 0.0
    """Seconds between iterations."""
    may_reach_limit: bool = False
    """``on_limit: succeed``."""


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """A compiled ``loop``; exactly one of ``over``, ``file``, ``matrix``, ``repeat`` is set."""

    item_name: str
    over: Template | None = None
    file: Template | None = None
    matrix: Mapping[str, Template] | None = None
    repeat: Repeat | None = None
    collect: Template | None = None
    max_parallel: int | None = None
    fail_fast: bool = False
    min_success: float = 1.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition of a decision. ``when`` None is the default branch."""

    when: Template | None
    action: str
    source: str
    operands: tuple[tuple[str, Template], ...] = ()
    """What the rule reads, by name: recorded with the decision."""


@dataclass(frozen=True, slots=True)
class Node:
    """One task of the file, compiled. ``local`` is its index in its scope plan, ``index`` in ``Graph.nodes``."""

    index: int
    local: int
    name: str
    path: str
    """Its static path: ``outer.inner``."""
    kind: NodeKind
    task: Task
    edges: tuple[Edge, ...]
    successors: tuple[int, ...]
    join: Join
    when: Template | None
    when_each: bool
    """The condition reads the loop's item: it is asked once an item, else once for the whole loop."""
    options: Template
    arguments: Template
    env: Template
    result: Template | None
    degrade: Template | None
    """What it succeeds with when it failed for good (``on_error: {degrade: …}``)."""
    tolerated: bool
    """``on_error: continue``: its failure does not fail what it belongs to."""
    loop: LoopPlan | None
    body: ScopePlan | None
    choose: Template | None
    """A group of which one task runs: the one that this names."""
    callee: str | None
    """The key of the file that a call calls: ``Graph.callees`` has its plan."""
    file: str
    """The key of the file that the node stands in; empty for the one that is run."""
    rules: tuple[Rule, ...]
    targets: tuple[str, ...]
    """The actions that a decision can take."""
    decider: Decider | None
    takes_all: bool
    """A decision in ``mode: all`` takes every branch whose rule is true."""
    retry: Retry | None
    timeout: float | None
    pools: tuple[int, ...]
    executor: str
    priority: int
    rank: int
    """Length of the longest path from here to an end of its scope: the critical path breaks ties."""
    rollback: Node | None = None
    """The work that undoes it. It has a place in ``Graph.nodes`` and none in a scope."""
    fallback: Node | None = None
    """The work that stands in for it when it failed for good. It has no place in a scope either."""
    spare: str | None = None
    """It is the stand-in of the task of this name, and never runs as itself."""
    undoable: bool = False
    """It, or something inside it, has a rollback."""

    @property
    def is_loop(self) -> bool:
        return self.loop is not None

    @property
    def opens_scope(self) -> bool:
        """It has tasks inside instead of attempts."""
        return self.kind is NodeKind.GROUP or self.kind is NodeKind.CALL

    @property
    def collects(self) -> bool:
        """Its loop says what goes into its list."""
        return self.loop is not None and self.loop.collect is not None


@dataclass(frozen=True, slots=True)
class ScopePlan:
    """The tasks of one scope, in file order, and how to find them by name."""

    nodes: tuple[Node, ...]
    names: Mapping[str, int]
    """Name to local index; names with ``-`` or spaces are there with ``_`` too."""
    unmet: tuple[int, ...]
    """Number of upstreams of each node."""
    sinks: tuple[int, ...]
    """Nodes without successors: their results are the scope's result unless it says otherwise."""
    undoable: bool = False
    """Something in it has a rollback."""


@dataclass(frozen=True, slots=True)
class Callee:
    """A workflow file that is called, compiled once however often and deep it is called."""

    key: str
    workflow: Workflow
    plan: ScopePlan
    outputs: Template | None
    sections: Mapping[str, ScopePlan] = field(default_factory=dict)
    """What runs at its end, in order: ``on_error``, ``finally``."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow, compiled."""

    workflow: Workflow
    root: ScopePlan
    nodes: tuple[Node, ...]
    """The nodes of the file that is run, then those of the files that it calls."""
    pools: tuple[Pool, ...]
    outputs: Template | None
    callees: Mapping[str, Callee]
    own: int
    """How many of the nodes stand in the file that is run."""
    reads: frozenset[str]
    """Root names that any template of any of the files reads."""
    kinds: frozenset[tuple[str, Decider | None]]
    """The task types of its nodes, of decisions with who decides."""
    functions: frozenset[str]
    """The functions that its nodes name."""
    files: frozenset[str]
    """Texts in the options of its nodes that may be the path of a file: of a script, a schema, an example."""
    sections: Mapping[str, ScopePlan] = field(default_factory=dict)
    """What runs at the run's end, in order: ``on_error``, ``finally``."""

    def walk(self) -> Iterator[Node]:
        """Yield every node of the file that is run, outer ones before what is inside them."""
        yield from self.nodes[: self.own]


_NOTHING = compile_template({})
OUTSIDE = Node(
    index=-1,
    local=-1,
    name="",
    path="",
    kind=NodeKind.WORK,
    task=Task.model_construct(name="", type="function"),
    edges=(),
    successors=(),
    join=Join.NONE_FAILED,
    when=None,
    when_each=False,
    options=_NOTHING,
    arguments=_NOTHING,
    env=_NOTHING,
    result=None,
    degrade=None,
    tolerated=False,
    loop=None,
    body=None,
    choose=None,
    callee=None,
    file="",
    rules=(),
    targets=(),
    decider=None,
    takes_all=False,
    retry=None,
    timeout=None,
    pools=(),
    executor="inline",
    priority=0,
    rank=0,
)
"""A stand-in for the place of what belongs to a scope and no task: the workflow's ``outputs``, a group's ``result``."""
