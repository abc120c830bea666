"""Begin a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; it may not hold any of the files.")] = Path(),
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The workflow's name; default: the folder's.")
    ] = None,
) -> int:
    """Make a project that runs as it stands."""
    from autoglm.cli.output import say

    files = _files(_name(folder, name))
    _refuse_to_overwrite(folder, files)
    for relative, text in files.items():
        _write(folder / relative, text)
    say(f"made a project in {folder}:" if str(folder) != "." else "made a project here:")
    for relative in sorted(files):
        say(f"  {relative}")
    say()
    say("next:")
    if str(folder) != ".":
        say(f"  cd {folder}")
    say("  autoglm run config/workflow.yaml")
    return 0


def _name(folder: Path, name: str | None) -> str:
    """Return a name that may stand in YAML as it is."""
    import re

    from autoglm.base.errors import UsageError

    if name is not None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
            hint = "use letters, digits, dashes and underscores, a letter first"
            raise UsageError(f"{name!r} cannot be a workflow's name", code="name-invalid", hint=hint)
        return name
    found = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.absolute().name).strip("-_")[:64]
    return found if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", found) else "workflow"


def _files(name: str) -> dict[str, str]:
    """Return the project's files: relative path to text."""
    import json
    from importlib.resources import files

    from autoglm.cli.commands.check import schema_of_files

    found: dict[str, str] = {}
    _collect(files("autoglm.cli.templates") / "project", "", found)
    found = {path: text.replace("@NAME@", name) for path, text in found.items()}
    found["config/workflow.schema.json"] = json.dumps(schema_of_files(), ensure_ascii=False, indent=1) + "\n"
    return found


def _collect(folder: Traversable, prefix: str, found: dict[str, str]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _collect(entry, f"{prefix}{entry.name}/", found)
        elif entry.name.endswith(".tmpl"):
            name = entry.name.removesuffix(".tmpl")
            name = f".{name.removeprefix('dot-')}" if name.startswith("dot-") else name
            found[f"{prefix}{name}"] = entry.read_text(encoding="utf-8")


def _refuse_to_overwrite(folder: Path, files: dict[str, str]) -> None:
    from autoglm.base.errors import UsageError

    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file", code="init-exists", hint="give a folder")
        there = [relative for relative in sorted(files) if (folder / relative).exists()]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{folder} cannot be used: {reason}", code="init-failed", hint="give another folder") from None
    if there:
        count = f" and {len(there) - 3} more" if len(there) > 3 else ""
        hint = "give another folder, or move them away; nothing has been written"
        raise UsageError(f"{folder} has {', '.join(there[:3])}{count} already", code="init-exists", hint=hint)


def _write(path: Path, text: str) -> None:
    from autoglm.base.errors import UsageError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        if path.suffix == ".sh":
            path.chmod(0o755)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "give a folder that can be made and written"
        raise UsageError(f"{path} cannot be written: {reason}", code="init-failed", hint=hint) from None
