"""The workflow file as one model, whatever its spelling.

:mod:`autoglm.spec.parse` turns every spelling into these classes; everything above reads these and nothing else.
Strings that hold ``{{ … }}`` are kept as written; :mod:`autoglm.spec.expressions` compiles them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from autoglm.base.durations import parse_duration

Path = tuple[str | int, ...]
"""Where a value stands in the source document: keys and list indexes from its root."""

Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
"""A duration: ``250ms``, ``30s``, ``1h30m``, ``PT30S`` or a number of seconds; kept as seconds."""


class Model(BaseModel):
    """Base of everything in a workflow file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


class Join(StrEnum):
    """When a task runs, given how its upstreams ended. ``FORMAT`` calls it ``join``."""

    NONE_FAILED = "none_failed"
    ALL_SUCCEEDED = "all_succeeded"
    ALL_DONE = "all_done"
    ONE_SUCCEEDED = "one_succeeded"
    ONE_FAILED = "one_failed"


class Outcome(StrEnum):
    """How a task can end, as ``depends_on: {task: [outcome, …]}`` names it.

    ``failed`` covers every way of failing: a failed or timed-out attempt, and giving up after retries.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class Schedule(StrEnum):
    FIFO = "fifo"
    PRIORITY = "priority"


class Durability(StrEnum):
    """``full`` survives a power cut; ``process`` survives ``kill -9``."""

    FULL = "full"
    PROCESS = "process"


class Adapter(StrEnum):
    """A client library that can call a model instead of our own client."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class InputSpec(Model):
    """One declared input: a JSON Schema in small. Without a ``default`` it is required."""

    type: Literal["string", "integer", "number", "boolean", "array", "object", "null", "any"] | tuple[str, ...] = "any"
    description: str | None = None
    default: JsonValue = None
    required: bool = True
    """False when a default was written (also ``default: null``); set by the parser."""
    enum: tuple[JsonValue, ...] | None = None
    secret: bool = False
    json_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")
    """Further JSON Schema keywords: ``minimum``, ``pattern``, ``items`` …"""


class Retry(Model):
    """When and how often an attempt that failed is repeated. ``max_attempts`` counts the first."""

    max_attempts: int = Field(default=3, ge=1)
    delay: Seconds = 1.0
    factor: float = Field(default=2.0, ge=1)
    max_delay: Seconds = 60.0
    jitter: Literal["full", "none"] = "full"
    max_elapsed: Seconds | None = None
    on: tuple[str, ...] | None = None
    """Failure classes that are retried; None means every retryable failure."""


class Loop(Model):
    """What a task is repeated over; exactly one of ``over``, ``file``, ``matrix``, ``until``, ``while_`` is set."""

    over: JsonValue = None
    """A list, or a template string that gives one."""
    file: str | None = None
    """``users.yaml#path``, ``rows.jsonl``, ``rows.csv``: streamed; relative to the root; may hold a template."""
    matrix: dict[str, JsonValue] | None = None
    """Axis name to its list (or template); the items are mappings axis → value, last axis fastest."""
    until: str | bool | None = None
    """Asked after each iteration, over its ``result``: the loop ends when it is true."""
    while_: str | bool | None = Field(default=None, alias="while")
    """Asked before each iteration, over ``previous``: the loop ends when it is false."""
    max_iterations: int | None = Field(default=None, ge=1)
    """Goes with ``until`` and ``while``, and must be given there."""
    initial: JsonValue = None
    """What ``previous`` is in the first iteration."""
    delay: Seconds | None = None
    """The wait between two iterations; it holds no slot."""
    on_limit: Literal["fail", "succeed"] = "fail"
    """What comes of the loop when ``max_iterations`` is reached before the condition."""
    as_: str = Field(default="item", alias="as")
    max_parallel: int | None = Field(default=None, ge=1)
    fail_fast: bool = False
    min_success: float = Field(default=1.0, ge=0, le=1)
    """Share of the items that must succeed (``95%`` or ``0.95`` in the file)."""
    collect: str | None = None
    """Expression over ``result``, ``item``, ``index`` giving what goes into the loop's list; default: the result."""


class Degrade(Model):
    """``on_error: {degrade: VALUE}``: succeed with this value (or template) when the task failed for good."""

    degrade: JsonValue = None


class StandIn(Model):
    """``on_error: {degrade: {task: NAME}}`` or ``{model: NAME}``: what runs instead when the task failed for good."""

    task: str | None = None
    """A task of the same scope, which runs only then."""
    model: str | None = None
    """The task itself, asking this model."""


class OnError(StrEnum):
    FAIL = "fail"
    CONTINUE = "continue"


class Effects(StrEnum):
    """What is known of a task's effects on the world."""

    REPEATABLE = "repeatable"
    """An attempt that was lost is made again."""
    GUARDED = "guarded"
    """An attempt that was lost may have had its effect: a person says what to do."""


class PoolSpec(Model):
    """A concurrency limit that tasks share by naming it in ``pool``."""

    limit: int = Field(ge=1)


class ModelLimits(Model):
    """What a model's server allows this key; all runs, and all processes on the same store, share it."""

    rpm: int | None = Field(default=None, ge=1)
    """Requests a minute."""
    tpm: int | None = Field(default=None, ge=1)
    """Tokens a minute, in and out."""
    max_parallel: int | None = Field(default=None, ge=1)
    """Calls under way."""
    patience: Annotated[float, BeforeValidator(parse_duration), Field(ge=0)] | None = None
    """Seconds for which a refused call is made again; 0 fails at once, None is ten minutes."""


class ModelSpec(Model):
    """Where a model is and how it is called: the file's ``models:`` and the project's settings hold these."""

    model: str | None = None
    """The name the server knows; default: the name it is declared under. ``openai/gpt-…`` names provider and model."""
    provider: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    """A secret reference such as ``{{ secrets.MY_KEY }}``; a literal key is refused."""
    headers: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    max_parallel: int | None = Field(default=None, ge=1)
    limits: ModelLimits | None = None
    timeout: Seconds | None = None
    """Of a whole call."""
    connect_timeout: Seconds | None = None
    first_token_timeout: Seconds | None = None
    """How long a stream may be silent: before its first token, and between two."""
    proxy: str | None = None
    """``http://gateway.example:3128``, instead of the environment's."""
    context_tokens: int | None = Field(default=None, ge=1)
    """How long prompt and answer may be together: a prompt that cannot fit is refused before it is sent."""
    adapter: Adapter | None = None
    """A client library to call it with, instead of our own client; each is an extra to install."""


class McpServer(Model):
    """An MCP server of the project: a ``command`` that speaks over its standard streams, or a ``url``."""

    command: tuple[str, ...] = ()
    """The program and its arguments; it runs in the project's root."""
    url: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    """Variables that its process gets beside the few that every one gets."""
    timeout: Seconds = 60.0
    """For each request."""

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if bool(self.command) == (self.url is not None):
            raise ValueError("an MCP server has a `command` or a `url`")
        return self


class OnExhausted(StrEnum):
    """What happens when a budget does not allow the next call."""

    FAIL = "fail"
    PAUSE = "pause"


class OnUnpriced(StrEnum):
    """What happens to a call whose price nobody knows, under a budget with a cost."""

    FAIL = "fail"
    WARN = "warn"


class DegradeTo(Model):
    """``on_exhausted: {degrade: MODEL}``: from then on this model is asked instead, and not held back."""

    degrade: str


class Budget(Model):
    """What may be used of models; at least one of the four limits is set."""

    tokens: int | None = Field(default=None, ge=1)
    """In and out together."""
    cost: float | None = Field(default=None, gt=0)
    """US dollars."""
    calls: int | None = Field(default=None, ge=1)
    wall_time: Seconds | None = None
    """From the start of the run, or of the first call of the task; looked at before each call."""
    on_exhausted: OnExhausted | DegradeTo = OnExhausted.FAIL
    on_unpriced: OnUnpriced = OnUnpriced.WARN


class CacheScope(StrEnum):
    """Who may be given a kept answer."""

    RUN = "run"
    WORKFLOW = "workflow"
    PROJECT = "project"


class CacheSpec(Model):
    """``cache: true`` or ``{ttl, scope}``: the same question of the same model is asked once."""

    ttl: Seconds | None = None
    """How long an answer is kept; None for good."""
    scope: CacheScope = CacheScope.PROJECT


class Task(Model):
    """One task unit. ``options`` are what its type declares, ``arguments`` what the author passes in ``with``."""

    name: str
    type: str
    description: str | None = None
    depends_on: dict[str, tuple[Outcome, ...] | None] = Field(default_factory=dict)
    """Upstream name to the outcomes it accepts; None leaves the judgement to ``join``."""
    when: str | bool | None = None
    join: Join = Join.NONE_FAILED
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """The type's own fields, for ``script``: ``script``, ``args``, ``output_format`` …; may hold templates."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict, alias="with")
    """Free parameters: a function's arguments, a script's input, a prompt template's variables; may hold templates."""
    result: JsonValue = None
    """A template over ``output`` (and everything else in scope) that maps what came back to the task's result."""
    output_schema: dict[str, Any] | None = None
    loop: Loop | None = None
    retry: Retry | None = None
    timeout: Seconds | None = None
    cache: CacheSpec | None = None
    budget: Budget | None = None
    """For all attempts and items of this task together."""
    effects: Effects = Effects.REPEATABLE
    priority: int = 0
    resources: dict[str, JsonValue] = Field(default_factory=dict)
    pool: tuple[str, ...] = ()
    executor: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    on_error: OnError | StandIn | Degrade = OnError.FAIL
    fallback: Self | None = None
    """``on_error: {degrade: {handler: …}}``: work whose result stands in when the task failed for good."""
    rollback: Self | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    tasks: tuple[Self, ...] = ()
    """The inline group, for ``type: group``."""
    source: Path = Field(default=(), exclude=True)
    """Where the task stands in its document."""
    written: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    """The task as its author wrote it: :func:`autoglm.spec.places.field_path` finds the place of a field through it."""


class Workflow(Model):
    """A whole workflow file."""

    version: str = "1.0"
    name: str
    description: str | None = None
    namespace: str = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    inputs: dict[str, InputSpec] = Field(default_factory=dict)
    inputs_inferred: bool = False
    """True when the file declares no ``inputs`` and they were inferred from its templates' free names."""
    vars: dict[str, JsonValue] = Field(default_factory=dict)
    """Inline variables, those of ``vars`` files and of the chosen environment, already merged (later wins)."""
    environments: tuple[str, ...] = ()
    """The environments that the file's ``vars`` tell apart."""
    environment: str | None = None
    """The one that was chosen."""
    models: dict[str, ModelSpec] = Field(default_factory=dict)
    pools: dict[str, PoolSpec] = Field(default_factory=dict)
    max_parallel: int | None = Field(default=None, ge=1)
    """How many attempts of the whole run may be running at once."""
    schedule: Schedule = Schedule.FIFO
    durability: Durability = Durability.FULL
    budget: Budget | None = None
    triggers: JsonValue = None
    outputs: dict[str, JsonValue] = Field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    callees: dict[str, Self] = Field(default_factory=dict)
    """The workflows that this one calls, and those that they call, by their files' keys (``spec.calls``)."""
    on_error: tuple[Task, ...] = ()
    """Run once the run has failed and what had completed is rolled back."""
    finally_: tuple[Task, ...] = Field(default=(), alias="finally")
    """Run last, however the run ended."""

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """The tasks of the file, then those that run at its end; what is inside of groups not by itself."""
        return (*self.tasks, *self.on_error, *self.finally_)

    def sections(self) -> dict[str, tuple[Task, ...]]:
        """Return what runs at the run's end, in order, by the name that its tasks' ids begin with."""
        named = {"on_error": self.on_error, "finally": self.finally_}
        return {name: tasks for name, tasks in named.items() if tasks}
