"""Choices: groups of which one task runs, the one that ``choose`` names, and none but those that ``allow`` lists."""

from __future__ import annotations

from typing import Any

from autoglm.base.diagnostics import did_you_mean
from autoglm.spec.model import Path
from autoglm.spec.spellings import Entry, read_task_field
from autoglm.spec.tree import shorten
from autoglm.spec.values import Values, is_template

OPTIONS: dict[str, Any] = dict.fromkeys(("choose", "allow"))


def bodies(values: Values, options: dict[str, Any], path: Path) -> list[Entry]:
    """Return the tasks that may be chosen, and report what is wrong with the choice. ``allow`` is no option then."""
    given = "allow" in options
    allowed = options.pop("allow", None)
    if "choose" not in options:
        hint = 'add `choose: "{{ item.kind }}"`, or write `tasks` for a group'
        values.error("choice-incomplete", "`allow` lists what may be chosen, and nothing chooses", path, hint=hint)
    elif not isinstance(options["choose"], str) or not options["choose"].strip():
        values.wrong(options.pop("choose"), path, "choose", "a template that gives a name in `allow`")
    if not given:
        hint = "add `allow: {NAME: {…}}` with the tasks that may run"
        values.error("choice-incomplete", "`choose` chooses, and there is no `allow`", path, hint=hint)
        return []
    entries = read_task_field(values, allowed, (*path, "allow"))
    for entry in entries:
        for key in ("depends_on", "needs"):
            if key in entry.body:
                message = f"`{entry.name}` waits for another task, and of those in `allow` only one runs"
                values.error("choice-dependency", message, (*entry.path, key), key=True, hint="remove it")
    _check_literal(values, options.get("choose"), [entry.name for entry in entries], path)
    return entries


def _check_literal(values: Values, choose: Any, allowed: list[str], path: Path) -> None:
    """Report a name that is written out and not allowed."""
    if not isinstance(choose, str) or is_template(choose) or choose in allowed or not allowed:
        return
    close = did_you_mean(choose, allowed)
    hint = f"did you mean `{close}`?" if close else f'an expression needs braces: "{{{{ {shorten(choose)} }}}}"'
    values.error(
        "not-allowed", f"`choose` gives `{shorten(choose)}`, which is not in `allow`", (*path, "choose"), hint=hint
    )
