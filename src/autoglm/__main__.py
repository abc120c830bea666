"""The ``autoglm`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command and leave with its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from autoglm import __version__

        sys.stdout.write(f"autoglm {__version__}\n")  # before anything that takes time to import
        return
    try:
        from autoglm.cli.entry import enter

        code = enter(sys.argv[1:])
    except KeyboardInterrupt:  # while modules were still being imported
        sys.stderr.write("\ninterrupted\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
