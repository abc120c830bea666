"""Open the project that a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoglm.base.errors import UsageError

if TYPE_CHECKING:
    from autoglm.app.session import Session


def open_session(project: Path | None, store: str | None) -> Session:
    """Return a session on the project in ``project``, or that of the present folder.

    Raises:
        UsageError: ``project-path``: it is no folder.
        SpecError: its settings are wrong.
    """
    from autoglm.app.session import Session

    if project is not None and not _is_folder(project):
        raise UsageError(f"there is no folder {project}", code="project-path", hint="give the project's folder")
    return Session.open(cwd=project.absolute() if project is not None else None, store=store)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
