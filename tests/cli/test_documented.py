"""``docs/cli.md`` tells every command and option there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from autoglm.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def declared() -> dict[str, set[str]]:
    """Each command's options, by every spelling."""
    top = typer.main.get_command(app)
    commands = {"": top, **top.commands}
    return {
        name: {spelling for parameter in command.params for spelling in parameter.opts if spelling.startswith("-")}
        - {"--help", "-h"}
        for name, command in commands.items()
    }


def documented() -> dict[str, set[str]]:
    """The same, as the page's tables tell it."""
    found: dict[str, set[str]] = {"": set()}
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## autoglm "):
            section = line.removeprefix("## autoglm ")
            found[section] = set()
        elif line.startswith("| `-"):
            found[section] |= set(re.findall(r"`(--?[A-Za-z][\w-]*)", line.split(" | ")[0]))
    return found


def test_every_command_and_option_is_documented_and_none_else():
    assert documented() == declared()


def test_every_command_and_option_says_what_it_is_for():
    for command in typer.main.get_command(app).commands.values():
        assert command.help
        for parameter in command.params:
            assert getattr(parameter, "help", None), (command.name, parameter.name)
