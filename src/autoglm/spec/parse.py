"""From a document to a workflow, whatever its spelling, with everything that is wrong with it.

The outline comes first (:mod:`autoglm.spec.spellings`), then the header, then each task. Nothing stops at a mistake:
a field that is wrong is reported and left out, so that the checks that follow still see the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import ENOENT
from typing import Any

from autoglm.base.diagnostics import Diagnostic, sort_diagnostics
from autoglm.spec.catalog import Catalog
from autoglm.spec.defaults import Defaults
from autoglm.spec.document import Document, gc_paused
from autoglm.spec.header import ReadFile, read_header
from autoglm.spec.model import Workflow
from autoglm.spec.places import field_path as field_path
from autoglm.spec.places import field_place as field_place
from autoglm.spec.spellings import outline
from autoglm.spec.task_reader import TaskReader
from autoglm.spec.values import Values, build


def _no_file(name: str) -> str:
    raise FileNotFoundError(ENOENT, "there are no files here", name)


def parse_workflow(
    document: Document,
    catalog: Catalog,
    *,
    read_file: ReadFile = _no_file,
    defaults: Mapping[str, Any] | None = None,
    environment: str | None = None,
) -> tuple[Workflow | None, list[Diagnostic]]:
    """Return the workflow of a document and what is wrong with it, sorted by place.

    The workflow is there even when diagnostics hold errors, without what they name, so that further checks can run on
    it; it is None only when the file holds no task. ``read_file`` gives the text of a ``vars`` file or of a prompt's
    file by its name (by default no file is there); what it raises (OSError, ValueError, AutoglmError) becomes a
    diagnostic. ``defaults`` are the project's, below the file's own. ``environment`` chooses among the ``environments``
    of its ``vars``.
    """
    values = Values(document)
    with gc_paused():
        outlined = outline(values)
        fields = read_header(values, outlined.header, read_file, environment)
        merged = Defaults(values, outlined.header.get("defaults"), defaults)
        reader = TaskReader(values, catalog, merged, read_file)
        fields["tasks"] = reader.read_all(outlined.entries)
        for name, entries in outlined.sections.items():
            fields["finally_" if name == "finally" else name] = reader.read_all(entries)
    workflow = build(Workflow, fields) if fields["tasks"] else None
    return workflow, sort_diagnostics(values.diagnostics)
