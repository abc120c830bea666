"""The project that a workflow file belongs to: its root folder, its settings, and what lies where in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from autoglm.base.errors import UsageError
from autoglm.config.environment import allowed_environment
from autoglm.config.secrets import Secrets
from autoglm.config.settings import FILE_NAME, Settings, load_settings

STATE_FOLDER: Final = ".autoglm"


@dataclass(frozen=True, slots=True)
class Project:
    """A project folder and its settings."""

    root: Path
    settings: Settings = field(default_factory=Settings)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    """Where secrets, keys and the variables that templates may read come from."""
    reads_dotenv: bool = True
    """False leaves the project's ``.env`` alone: a test has its own secrets."""

    @classmethod
    def find(
        cls, file: Path | None = None, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Project:
        """Return the project of the workflow ``file``, or of the folder ``cwd`` (default: the present one).

        The root is the nearest folder with ``autoglm.yaml``, else the parent of ``config/`` when the file lies in one,
        else the file's folder. The file itself need not exist.

        Raises:
            SpecError: its settings are wrong.
            UsageError: ``project-path``, when the path cannot be one.
        """
        folder = _folder(file, cwd)
        root = next((each for each in (folder, *folder.parents) if _is_file(each / FILE_NAME)), None)
        settings_file = root / FILE_NAME if root is not None else None
        if root is None:
            root = folder.parent if file is not None and folder.name == "config" else folder
        return cls(root, load_settings(settings_file, os.environ if environ is None else environ))

    @property
    def tasks_dir(self) -> Path:
        """Where the handlers are; it need not exist."""
        return self.root / "tasks"

    @property
    def state_dir(self) -> Path:
        """The folder of the project's own state, made on first use: private, and ignored by git.

        Raises:
            UsageError: ``state-folder``, when it cannot be made.
        """
        folder = self.root / STATE_FOLDER
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            ignore = folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            what = "move away what stands there" if folder.exists() else f"make {self.root} writable"
            raise UsageError(
                f"the folder {folder} cannot be made: {error.strerror}",
                code="state-folder",
                hint=f"{what}, or keep runs elsewhere: AUTOGLM_STORE=/path/to/runs.db, or =memory",
            ) from None
        return folder

    @property
    def store_path(self) -> Path | None:
        """The SQLite file of the project's runs; None when the settings ask for another store. It need not exist."""
        return self.resolve(self.settings.store) if self.settings.store_plugin == "sqlite" else None

    @property
    def secrets(self) -> Secrets:
        """The project's secrets, read when first asked for."""
        file = self.settings.secrets.file if self.reads_dotenv else None
        return Secrets(self.environ, self.resolve(file) if file else None)

    def env(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment variables that templates may read."""
        return allowed_environment(self.settings.env, self.environ if environ is None else environ)

    def resolve(self, relative: str | Path) -> Path:
        """Return a path of the workflow file as an absolute one; ``~`` and absolute paths stand for themselves.

        Raises:
            UsageError: ``project-path``, when it cannot be a path.
        """
        try:
            return Path(os.path.normpath(self.root / Path(_checked(relative)).expanduser()))
        except RuntimeError:  # nobody's home
            return self.root / relative


def _folder(file: Path | None, cwd: Path | None) -> Path:
    try:
        start = cwd if cwd is not None else Path.cwd()
        folder = (start / Path(_checked(file)).expanduser()).parent if file is not None else start
        return folder.resolve()
    except FileNotFoundError:
        hint = "change to a folder that exists"
        raise UsageError("the present folder does not exist any more", code="project-path", hint=hint) from None
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{file or cwd} cannot be a path: {error}", code="project-path") from None


def _checked(path: str | Path) -> str:
    text = str(path)
    if "\0" in text:
        raise UsageError("a path cannot hold a NUL character", code="project-path")
    return text


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder above that we may not look into
        return False
