"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Project = Annotated[
    Path | None,
    typer.Option("--project", "-C", metavar="DIR", help="The project's folder; default: that of the present folder."),
]
Store = Annotated[
    str | None,
    typer.Option("--store", metavar="STORE", help="A SQLite file, or `memory`; default: what the settings say."),
]
RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one that only it has, or `last`.")
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A workflow file, YAML or JSON.")]
Environment = Annotated[
    str | None,
    typer.Option("--environment", metavar="NAME", help="Which of the file's environments holds; see `vars`."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input, read by its declared type; may be repeated."),
]
SecretInputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="A secret input again, as no journal holds it."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what went wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that tasks write.")]
MaxParallel = Annotated[
    int | None, typer.Option("--max-parallel", min=1, metavar="N", help="How many attempts may run at once.")
]
Budget = Annotated[
    list[str] | None,
    typer.Option("--budget", metavar="NAME=VALUE", help="A limit over the file's budget: cost=5, tokens=2000000, …"),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Leave when all that is left waits for a person or a signal.")]
Plan = Annotated[bool, typer.Option("--plan", help="Only tell what would run again, and why.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]
WithChanges = Annotated[bool, typer.Option("--with-changes", help="Go on by the file and the code as they are now.")]
AsRecorded = Annotated[bool, typer.Option("--as-recorded", help="Go on by the file as it was, though it has changed.")]
