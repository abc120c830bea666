"""One sign and one style a state. The signs differ in shape, so that colour is never needed to tell them apart.

The colours avoid red against green: blue, teal, orange and purple, after Okabe and Ito.
"""

from __future__ import annotations

ICONS = {
    "pending": "○",
    "running": "●",
    "retrying": "↻",
    "paused": "‖",
    "cancelling": "◌",
    "succeeded": "✓",
    "failed": "✗",
    "timeout": "✗",
    "terminated": "✗",
    "skipped": "–",
    "cancelled": "■",
    "rolled_back": "↶",
}
STYLES = {
    "pending": "dim",
    "running": "bold blue",
    "retrying": "yellow",
    "paused": "yellow",
    "cancelling": "yellow",
    "succeeded": "cyan",
    "failed": "bold red",
    "timeout": "bold red",
    "terminated": "bold red",
    "skipped": "dim",
    "cancelled": "magenta",
    "rolled_back": "magenta",
}


def icon_of(status: str | None) -> str:
    """Return the sign of a state; ``?`` for one from a newer version."""
    return ICONS.get(status or "pending", "?")


def style_of(status: str | None) -> str:
    """Return the rich style of a state."""
    return STYLES.get(status or "pending", "")
