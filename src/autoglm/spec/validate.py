"""Everything that can be known to be wrong before anything runs, found in one pass.

The checks stand by subject: what depends on what (:mod:`autoglm.spec.checks_graph`), what the names in templates mean
(:mod:`autoglm.spec.checks_names`), and what the types, handlers and limits of the installation allow
(:mod:`autoglm.spec.checks_types`). None of them runs the author's code.
"""

from __future__ import annotations

from collections.abc import Mapping

from autoglm.base.diagnostics import Diagnostic, sort_diagnostics
from autoglm.spec.catalog import Catalog
from autoglm.spec.checks_available import check_available
from autoglm.spec.checks_calls import check_calls
from autoglm.spec.checks_effect import check_effect
from autoglm.spec.checks_failure import check_failure
from autoglm.spec.checks_graph import check_graph
from autoglm.spec.checks_names import check_names, check_unused_inputs
from autoglm.spec.checks_retry import check_retry
from autoglm.spec.checks_types import check_types
from autoglm.spec.checks_waiting import check_waiting
from autoglm.spec.document import Document, gc_paused
from autoglm.spec.model import Workflow
from autoglm.spec.report import Report
from autoglm.spec.scopes import all_scopes, take_apart


def validate(
    workflow: Workflow,
    catalog: Catalog,
    document: Document | None = None,
    callees: Mapping[str, Workflow] | None = None,
) -> list[Diagnostic]:
    """Return every error and warning of ``workflow``, sorted by place.

    ``callees`` are the workflows that it calls, by the path that it gives; what is unknown is not checked. Without a
    document the diagnostics have no place. When none :attr:`~Diagnostic.is_error`, the workflow compiles.
    """
    report = Report(document)
    with gc_paused():
        scopes = all_scopes(workflow, callees)
        check_available(workflow, scopes, report)
        check_effect(scopes, catalog, report)
        check_graph(scopes, catalog, report)
        check_failure(workflow, scopes, report)
        check_names(workflow, scopes, catalog, report)
        check_types(workflow, scopes, catalog, report)
        check_retry(scopes, catalog, report)
        check_calls(scopes, report)
        check_waiting(scopes, report)
        check_unused_inputs(workflow, scopes, catalog, report)
        take_apart(scopes)
    return sort_diagnostics(report.found)
