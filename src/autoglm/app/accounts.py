"""The account of a run: budgets from its file, what was spent from its journal, prices and days from the project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autoglm.config.project import Project
from autoglm.engine.machine import Run
from autoglm.engine.standing_in import SUFFIX
from autoglm.llm.prices import Price
from autoglm.spec.model import Budget
from autoglm.stores.memory import MemoryStore
from autoglm.stores.protocol import Store
from autoglm.tasks.account import Account, DayPurse, SharedRecords
from autoglm.tasks.cassettes import Cassette
from autoglm.tasks.keeping import Keeping
from autoglm.tasks.routes import Routes

if TYPE_CHECKING:
    from autoglm.config.settings import Settings


def open_account(
    run_id: str,
    run: Run,
    project: Project,
    store: Store,
    clock: Callable[[], float],
    *,
    raised: Mapping[str, float] | None = None,
    cassette: Cassette | None = None,
) -> Account:
    """Return the account of a run that is about to be driven; ``raised`` are limits over those of its budget."""
    workflow, settings = run.graph.workflow, project.settings
    records = SharedRecords(store, is_blocking=not isinstance(store, MemoryStore))
    whole = settings.budgets.get(workflow.namespace, settings.budgets.get("*"))
    budget = workflow.budget
    called = {f"{key}:": each.workflow.budget for key, each in run.graph.callees.items() if each.workflow.budget}
    if raised:
        budget = (budget or Budget()).model_copy(update=dict(raised))
    return Account(
        run_id=run_id,
        clock=clock,
        records=records,
        keeping=Keeping(run_id, workflow.name, store, cassette),
        routes=Routes(workflow.name, store, clock),
        prices=own_prices(settings),
        budget=budget,
        task_budgets={**called, **_task_budgets(run)},
        day=None if whole is None else DayPurse(workflow.namespace, whole, records),
        spent=run.spent.tasks,
        started_at=run.started_at,
    )


def _task_budgets(run: Run) -> dict[str, Budget]:
    """Return the budgets of tasks by path; a task that stands in for itself is paid from its own."""
    found = {node.path: node.task.budget for node in run.graph.nodes if node.task.budget is not None}
    own = {path.removesuffix(SUFFIX): path for path in found if path.endswith(SUFFIX)}
    for path, stand_in in own.items():
        if found.get(path) == found[stand_in]:
            del found[stand_in]
    return found


def own_prices(settings: Settings) -> dict[str, Price]:
    """Return the project's own prices by name."""
    return {name: Price(each.input, each.output, each.cached_input) for name, each in settings.prices.items()}
