from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def install_package() -> Callable[..., None]:
    """Give a function that lays out an installed package as pip does: metadata, entry points, modules."""

    def install(folder: Path, package: str, entry_points: str, **modules: str) -> None:
        info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)

    return install
