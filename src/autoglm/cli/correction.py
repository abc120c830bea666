"""What will run again, shown before it does; and the question whether it may."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from autoglm.cli.measure import clip, harmless
from autoglm.cli.output import is_terminal, say, say_json, warn
from autoglm.cli.tables import say_table
from autoglm.engine.redoing import Again, Why

if TYPE_CHECKING:
    from autoglm.app.correcting import Correction
    from autoglm.app.definitions import Difference

_SHOWN = 40
_WIDTH = 120
_WORDS = {
    Why.ASKED: "you named it",
    Why.CHANGED: "changed",
    Why.NEW: "new",
    Why.FAILED: "failed",
    Why.CANCELLED: "was cancelled",
    Why.ROLLED_BACK: "was rolled back",
    Why.NOT_RUN: "has not run",
    Why.BELOW: "after",
    Why.INSIDE: "for what is inside it",
}


def agree(correction: Correction, *, plan: bool, ask: bool, json: bool, quiet: bool) -> bool:
    """Show the plan, and return whether to go on: not with ``plan``, nor when the person at the terminal says no."""
    if plan and json:
        say_json(correction.as_dict())
    elif plan or not (json or quiet):
        _show(correction)
    if plan:
        return False
    if not ask or json or quiet or not (is_terminal(sys.stdout) and sys.stdin.isatty()):
        return True
    sys.stdout.write("go on? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    warn("nothing was done")
    return False


def _show(correction: Correction) -> None:
    again = correction.again
    if correction.change is not None:
        _show_change(correction.change)
    count = len(again)
    keep = f"{correction.kept:,} of the file keep their results" if correction.kept else "none keeps its result"
    say(f"{count:,} task{'s' if count != 1 else ''} will run again; {keep}")
    if again:
        rows = [[harmless(each.task), each.was, _items(each), _because(each)] for each in again[:_SHOWN]]
        say_table(["AGAIN", "WAS", "ITEMS", "BECAUSE"], rows, status=1)
    if count > _SHOWN:
        say(f"… and {count - _SHOWN:,} more: --plan --json")
    _show_end("at the run's end", [each.task for each in correction.at_end if not each.if_failed])
    _show_end("if it fails", [each.task for each in correction.at_end if each.if_failed])


def _show_end(when: str, tasks: list[str]) -> None:
    if tasks:
        more = f" and {len(tasks) - _SHOWN:,} more: --plan --json" if len(tasks) > _SHOWN else ""
        say(f"{when}: {', '.join(map(harmless, tasks[:_SHOWN]))}{more}")


def _show_change(change: Difference) -> None:
    told = change.lines()
    say("changed since the run was started:" if told else "nothing has changed since the run was started")
    for line in told[:_SHOWN]:
        say(f"  {clip(harmless(line), _WIDTH)}")
    if len(told) > _SHOWN:
        say(f"  … and {len(told) - _SHOWN:,} more: --plan --json")


def _items(each: Again) -> str:
    return "" if each.items is None else f"{each.items:,}"


def _because(each: Again) -> str:
    words = _WORDS[each.why]
    if each.why is Why.BELOW:
        return f"{words} {each.because}"
    return clip(harmless(f"{words}: {each.because}" if each.because else words), _WIDTH)
