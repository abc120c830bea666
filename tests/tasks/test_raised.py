"""What a project's code could fail with, read from its text."""

from __future__ import annotations

from pathlib import Path

from autoglm.tasks.raised import Raised

CODE = """
from requests import ConnectTimeout as Slow

class OutOfStock(Exception): pass

def f():
    raise TaskError("no", code="sold-out", classes=["later", SOON])
"""


def test_every_word_may_be_a_name_and_some_surely_are(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("def (: Torn")
    raised = Raised(tmp_path, tmp_path / "nowhere")
    assert {"OutOfStock", "ConnectTimeout", "sold-out", "SOON", "Torn"} <= {
        name for name in ("OutOfStock", "ConnectTimeout", "sold-out", "SOON", "Torn", "Other") if name in raised
    }
    assert "Other" not in raised
    assert set(raised) == {"OutOfStock", "sold-out", "later"}
    assert raised | {"x"} == {"OutOfStock", "sold-out", "later", "x"}
