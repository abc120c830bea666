"""Rows that stand alike, written together: nothing is lost by it, and what can be said once is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoglm.stores.protocol import TaskRow, TaskRows

rows = st.lists(
    st.builds(
        TaskRow,
        number=st.integers(1, 50),
        task=st.sampled_from(["a", "b[1]"]),
        node=st.sampled_from(["a", "b"]),
        status=st.sampled_from(["running", "failed"]),
        attempts=st.integers(0, 1),
        ended_at=st.none() | st.just(1.5),
        error=st.none() | st.just("no"),
        record=st.integers(0, 1),
    )
)


@given(rows)
def test_what_is_put_together_comes_apart_again(given: list[TaskRow]) -> None:
    assert [row for alike in TaskRows.of(given) for row in alike.rows()] == given


def test_what_stands_alike_is_said_once() -> None:
    started = [TaskRow(n, f"t[{n}]", "t", "running", 1, 5.0) for n in range(1, 4)]
    together = TaskRows.of([*started, TaskRow(4, "end", "end", "running")])
    assert [len(alike.tasks) for alike in together] == [3, 1]
    assert together[1].tasks == [(4, "end")]
