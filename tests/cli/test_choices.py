"""What is shown of tasks that were not chosen: nothing, for they have no part in the run."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Autoglm

FLOW = """
tasks:
  - name: pick
    choose: "{{ 'this' }}"
    allow:
      this: {handler: quick}
      that: {handler: quick}
"""


def test_show_lists_the_task_that_was_chosen_and_not_the_others(autoglm: Autoglm, project: Path) -> None:
    (project / "choice.yaml").write_text(FLOW)
    assert autoglm("run", "choice.yaml").returncode == 0
    shown = json.loads(autoglm("show", "last", "--json").stdout)
    assert [task["task"] for task in shown["tasks"]] == ["pick", "pick.this"]
