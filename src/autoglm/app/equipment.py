"""What a run is driven with: task types, executors, models, services, its account and who watches it."""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from autoglm.app.models import Models
from autoglm.app.secret_views import Environment
from autoglm.app.telemetry import Telemetry
from autoglm.app.tools import Tools
from autoglm.base.redaction import Redactor
from autoglm.engine.machine import Run
from autoglm.graph.model import Node
from autoglm.runtime.dispatch import Toolbox
from autoglm.runtime.observer import Observer
from autoglm.runtime.stage import Stage
from autoglm.spec.model import ModelSpec
from autoglm.tasks.protocol import TaskType

if TYPE_CHECKING:
    from autoglm.app.session import Session
    from autoglm.tasks.account import Account
    from autoglm.tasks.cassettes import Cassette
    from autoglm.tasks.services import RunServices


class Manner(TypedDict, total=False):
    """How a run is driven and watched."""

    max_parallel: int | None
    """How many attempts may run at once, below what the file and the settings allow."""
    budget: Mapping[str, float] | None
    """Limits over those of the file's ``budget``: ``{"cost": 10}``."""
    cassette: Cassette | None
    """Where model calls are recorded, or answered from."""
    observers: Sequence[Observer]
    on_created: Callable[[Run], None] | None
    """Called with the run before anything of it happens."""


@dataclass(slots=True)
class Equipment:
    """Everything of a run that must be closed with it, and what its runner is given."""

    toolbox: Toolbox
    tools: Tools
    services: RunServices | None
    telemetry: Telemetry | None
    observers: list[Observer]

    async def close(self) -> None:
        """Close the services, the tools and the telemetry, which may still have spans to send."""
        if self.services is not None:
            await self.services.close()
        await self.tools.close()
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)


def equip(
    session: Session,
    run: Run,
    run_id: str,
    redactor: Redactor,
    telemetry: Telemetry | None,
    stage: Stage | None,
    manner: Manner,
) -> Equipment:
    """Put together what drives a run; on a ``stage``, with the stand-ins that a test has set there."""
    project = session.project
    cassette = manner.get("cassette")
    if cassette is not None:
        cassette.scrub = redactor.scrub_value

    def open_account() -> Account:
        from autoglm.app.accounts import open_account

        raised = manner.get("budget")
        return open_account(run_id, run, project, session.store, session.now, raised=raised, cassette=cassette)

    def models(declared: Mapping[str, ModelSpec], **names: Any) -> Models:
        values = ChainMap(names, run.world.values)  # the latter are known once the run has begun
        return Models(_keyless(declared, cassette), values)

    tools = Tools(session.catalog.executor_limits, session.handlers, open_account)
    services = _services(session, run, tools)
    callees = run.graph.callees.items()
    toolbox = Toolbox(
        task_type=tools.task_type,
        executor=tools.executor,
        root=project.root,
        services=services,
        models=models(run.graph.workflow.models),
        callee_models={key: models(callee.workflow.models, vars=callee.workflow.vars) for key, callee in callees},
        project_models=models(project.settings.models),
        mcp_servers=project.settings.mcp,
        environment=Environment(project, redactor),
        redactor=redactor,
        clock=session.now,
        account=tools.account,
    )
    if stage is not None:
        toolbox.refuses_models = stage.refuses_models
        toolbox.cast = partial(_cast, stage, tools)
    observers = list(manner.get("observers", ()))
    if telemetry is not None:
        telemetry.watcher.attach(run)
        toolbox.on_call = telemetry.watcher.on_call
        observers.append(telemetry.watcher)
    return Equipment(toolbox, tools, services, telemetry, observers)


def _services(session: Session, run: Run, tools: Tools) -> RunServices | None:
    """Return the run's services, when some task of it calls functions."""
    if all(name != "function" for name, _ in run.graph.kinds):
        return None
    from autoglm.tasks.services import RunServices

    function: Any = tools.task_type("function")
    return RunServices(function.handlers(session.project.root), session.project.settings.config)


def _cast(stage: Stage, tools: Tools, node: Node) -> TaskType:
    return stage.cast(node, tools.task_type)


def _keyless(models: Mapping[str, ModelSpec], cassette: Cassette | None) -> Mapping[str, ModelSpec]:
    """Return the declarations without their keys where nobody will be called."""
    if cassette is None or not cassette.is_replayed:
        return models
    return {name: spec.model_copy(update={"api_key": None}) for name, spec in models.items()}
