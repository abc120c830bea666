"""The ``autoglm`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command and leave with its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from autoglm import __version__

        sys.stdout.write(f"autoglm {__version__}\n")  # before anything that takes time to import
        return
    from autoglm.cli.entry import enter

    sys.exit(enter(sys.argv[1:]))


if __name__ == "__main__":
    main()
