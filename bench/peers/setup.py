"""Make the peers' environments: one per peer, from its pinned requirements, only when something changed.

``python bench/peers/setup.py [PEER…]`` makes all of them or those named.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".venvs"


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.txt"))


def ensure(peer: str) -> Path:
    """Return the peer's interpreter, its environment made or renewed when its requirements changed."""
    requirements = HERE / f"{peer}.txt"
    environment = ENVIRONMENTS / peer
    stamp = environment / "requirements.txt"
    python = environment / "bin" / "python"
    if stamp.exists() and stamp.read_bytes() == requirements.read_bytes():
        return python
    print(f"making the environment of {peer} (once) ...", file=sys.stderr, flush=True)
    venv.create(environment, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
    subprocess.run(install, check=True, stdout=sys.stderr)
    stamp.write_bytes(requirements.read_bytes())
    return python


if __name__ == "__main__":
    for name in sys.argv[1:] or names():
        print(ensure(name))
