"""The live view: scripted events in, exact text out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console

from autoglm.base.errors import Failure
from autoglm.cli.screen import render, screen
from autoglm.cli.view import RunView, static_path
from autoglm.engine import messages as m
from autoglm.spec.model import Loop, Retry, Task, Workflow
from autoglm.stores.protocol import LogLine

BAD = Failure("handler-raised", "ValueError: no", hint="mend it")


def view_of(*tasks: Task, events: Sequence[tuple[float, m.Event]] = ()) -> RunView:
    view = RunView("1abc", "flow")
    view.set_graph(Workflow(name="flow", tasks=tasks))
    view.take(m.RunStarted(), 0.0)
    for at, event in events:
        view.take(event, at)
    return view


def work(name: str, **fields: object) -> Task:
    return Task(name=name, type="function", **fields)


def shown(view: RunView, now: float, width: int = 72, height: int = 20) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in screen(view, now, width, height)]


def test_states_times_retries_and_the_last_log_line():
    view = view_of(
        work("fetch"),
        work("clean", retry=Retry(max_attempts=4)),
        work("report"),
        work("mail"),
        events=[
            (0.0, m.AttemptStarted("fetch", 1)),
            (0.4, m.AttemptSucceeded("fetch", 1)),
            (0.4, m.AttemptStarted("clean", 1)),
            (0.5, m.AttemptFailed("clean", 1, BAD, retry_at=15.0)),
            (0.4, m.AttemptStarted("report", 1)),
            (0.6, m.TaskSkipped("mail", "`when` is false")),
        ],
    )
    view.on_log(LogLine(0.5, "report", 1, "stdout", "page 3\x1b[31m of 9"))
    view.hint = "Ctrl-C: stop"

    assert shown(view, 3.0) == [
        "● flow  run 1abc  running  3.0s",
        "✓ fetch   0.4s",
        "↻ clean   retry 2/4 in 12s  handler-raised: ValueError: no",
        "● report  2.6s  │ page 3 of 9",
        "– mail    skipped: `when` is false",
        "2/4 tasks ended  ● 1 running  ↻ 1 retrying  Ctrl-C: stop",
    ]


def test_a_second_attempt_is_told_and_a_failure_says_why():
    view = view_of(
        work("a", retry=Retry(max_attempts=2)),
        work("b"),
        events=[
            (0.0, m.AttemptStarted("a", 1)),
            (0.0, m.AttemptStarted("b", 1)),
            (1.0, m.AttemptFailed("a", 1, BAD, retry_at=2.0)),
            (2.0, m.AttemptStarted("a", 2)),
            (2.5, m.AttemptFailed("b", 1, Failure("timeout", "it ran for too long"), timeout=True)),
        ],
    )
    assert shown(view, 3.0)[1:] == [
        "● a  1.0s  attempt 2/2",
        "✗ b  timeout: it ran for too long",
        "1/2 tasks ended  ● 1 running  ✗ 1 failure",
    ]


def test_attempts_count_against_the_maximum_of_their_round_and_of_what_they_are_of():
    view = RunView("1abc", "flow")
    view.most_attempts = {"a~rollback": 4}
    view.set_graph(Workflow(name="flow", tasks=(work("a", retry=Retry(max_attempts=2)),)))
    for at, event in (
        (0.0, m.AttemptStarted("a", 1)),
        (0.0, m.AttemptFailed("a", 1, BAD, retry_at=1.0)),
        (1.0, m.AttemptStarted("a", 2)),
        (1.0, m.AttemptFailed("a", 2, BAD)),
        (1.0, m.RunFailed(BAD)),
        (9.0, m.RunReopened()),
        (9.0, m.AttemptStarted("a", 3)),
        (9.0, m.AttemptFailed("a", 3, BAD, retry_at=19.0)),
        (9.0, m.AttemptStarted("a~rollback", 1)),
        (9.0, m.AttemptFailed("a~rollback", 1, BAD, retry_at=19.0)),
    ):
        view.take(event, at)
    rows = [line for line in shown(view, 9.0) if "retry " in line]
    assert [row.split("retry ")[1].split()[0] for row in rows] == ["4/4", "2/4"]


def test_a_loop_has_a_bar_a_rate_an_eta_and_its_oldest_items():
    view = view_of(work("many", loop=Loop(over=[1])), events=[(0.0, m.LoopStarted("many", 100))])
    for index in range(20):
        view.take(m.AttemptStarted(f"many[{index}]", 1), index / 10)
        if index < 18:
            view.take(m.AttemptSucceeded(f"many[{index}]", 1), index / 10 + 0.1)
    view.take(m.AttemptFailed("many[18]", 1, BAD), 2.0)

    assert shown(view, 2.0, width=80) == [
        "● flow  run 1abc  running  2.0s",
        "● many  ━━━───────────── 19/100  9.5/s  ETA 8.5s  1 failed",
        "  ● [19]  0.1s",
        "0/1 tasks ended  ● 1 running  ✗ 1 failure",
    ]


def test_a_loop_over_a_stream_knows_its_total_only_at_the_end():
    view = view_of(
        work("rows", loop=Loop(file="rows.jsonl")), events=[(0.0, m.LoopStarted("rows", None, "rows.jsonl"))]
    )
    view.take(m.ItemsRead("rows", 0, [1, 2], last=False), 0.0)
    view.take(m.AttemptStarted("rows[0]", 1), 0.0)
    view.take(m.AttemptSucceeded("rows[0]", 1), 1.0)
    assert shown(view, 1.0)[1] == "● rows  1 done  1.0/s"

    view.take(m.ItemsRead("rows", 2, [3], last=True), 1.0)
    assert "1/3" in shown(view, 1.0)[1]


def test_groups_and_loops_over_groups_are_one_row_a_task():
    inner = (work("extract"), work("check"))
    view = view_of(
        Task(name="process", type="group", tasks=inner, loop=Loop(over=[1, 2])),
        events=[
            (0.0, m.LoopStarted("process", 2)),
            (0.0, m.GroupStarted("process[0]")),
            (0.0, m.GroupStarted("process[1]")),
            (0.1, m.AttemptStarted("process[0].extract", 1)),
            (0.1, m.AttemptStarted("process[1].extract", 1)),
            (0.2, m.AttemptSucceeded("process[0].extract", 1)),
            (0.2, m.AttemptStarted("process[0].check", 1)),
            (0.3, m.AttemptSucceeded("process[0].check", 1)),
            (0.3, m.TaskSucceeded("process[0]")),
        ],
    )
    assert shown(view, 0.4)[1:-1] == [
        "● process    ━━━━━━━─────── 1/2",
        "  ● extract  1 running",
        "  ✓ check    0.1s",
    ]


def test_failures_of_the_whole_are_not_counted_twice():
    view = view_of(
        work("many", loop=Loop(over=[1])),
        events=[
            (0.0, m.LoopStarted("many", 1)),
            (0.0, m.AttemptStarted("many[0]", 1)),
            (0.1, m.AttemptFailed("many[0]", 1, BAD)),
            (0.1, m.TaskFailed("many", Failure("loop-failed", "1 of 1 items failed"))),
            (0.1, m.RunFailed(Failure("task-failed", "`many` failed"))),
        ],
    )
    assert view.failure_count == 1
    assert [failed.task for failed in view.failures] == ["many[0]"]
    assert view.status == "failed"


def test_a_reopened_run_tells_anew():
    view = view_of(
        work("a"),
        work("b"),
        events=[
            (0.0, m.AttemptStarted("a", 1)),
            (0.1, m.AttemptFailed("a", 1, BAD)),
            (0.1, m.TaskSkipped("b", "`a` did not succeed", upstream_failed=True)),
            (0.1, m.RunFailed(BAD)),
            (9.0, m.RunReopened()),
        ],
    )
    assert view.status == "running"
    assert view.failure_count == 0
    assert view.counts == {"pending": 2}


def test_what_ran_when_its_process_was_lost_is_timed_from_when_it_runs_again():
    view = view_of(work("a"), events=[(0.0, m.AttemptStarted("a", 1)), (600.0, m.RunRecovered())])
    change = view.take(m.AttemptSucceeded("a", 1), 601.0)
    assert change is not None
    assert change.seconds == 1.0
    assert "✓ a  1.0s" in shown(view, 601.0)


def test_a_reopened_run_shows_no_more_what_ran_at_its_end():
    view = RunView("1abc", "flow")
    view.set_graph(Workflow(name="flow", tasks=(work("a"),), finally_=(work("tidy"),)))
    view.take(m.RunStarted(), 0.0)
    for event in (
        m.AttemptStarted("a", 1),
        m.AttemptFailed("a", 1, BAD),
        m.AttemptStarted("a~fallback", 1),
        m.AttemptFailed("a~fallback", 1, BAD),
        m.SectionStarted("finally"),
        m.AttemptStarted("finally.tidy", 1),
        m.AttemptSucceeded("finally.tidy", 1),
        m.RunFailed(BAD),
    ):
        view.take(event, 0.1)
    assert view.counts == {"failed": 2, "succeeded": 1}
    view.take(m.RunReopened(), 9.0)
    assert view.counts == {"pending": 1}
    view.take(m.SectionStarted("finally"), 9.0)
    assert list(view.tasks) == ["a", "finally.tidy"]


def test_what_is_parked_says_what_it_waits_for_and_how_long():
    view = view_of(
        work("batch"),
        work("many", loop=Loop(over=[1])),
        events=[
            (0.0, m.AttemptStarted("batch", 1)),
            (1.0, m.ParkingBegan("batch", 1, 61.0, "the batch is not done")),
            (1.0, m.LoopStarted("many", 1)),
            (1.0, m.AttemptStarted("many[0]", 1)),
            (1.0, m.ParkingBegan("many[0]", 1, None, "nobody has called")),
        ],
    )
    lines = shown(view, 31.0)
    assert lines[1] == "‖ batch  the batch is not done  30s left"
    assert lines[3] == "  ‖ [0]  nobody has called"
    assert "‖ 1 paused" in lines[-1]
    view.take(m.ParkingEnded("batch", 1), 61.0)
    assert shown(view, 62.0)[1] == "● batch  1.0s"


def test_an_open_question_is_shown_with_the_command_that_answers_it():
    asked = m.Question("approval", "Ship it?", {"type": "object"}, deadline=3601.0)
    view = view_of(
        work("check"),
        work("paid"),
        events=[
            (1.0, m.QuestionAsked("check", asked)),
            (1.0, m.QuestionAsked("paid", m.Question("signal", signal="paid 7"))),
        ],
    )
    view.run_id = "r1"
    lines = shown(view, 1.0)
    assert lines[1] == "‖ check  Ship it?  1h00m left"
    assert lines[3:7] == [
        "‖ check waits for an answer: Ship it?",
        "    autoglm approve r1 check --data JSON",
        "‖ paid waits for the signal `paid 7`",
        "    autoglm signal r1 'paid 7'",
    ]
    view.take(m.QuestionAnswered("check", True, "ann"), 2.0)
    view.take(m.TaskSucceeded("check"), 2.0)
    assert "autoglm approve" not in "".join(shown(view, 2.0))


def test_ten_thousand_tasks_show_what_matters_and_one_line_for_the_rest():
    view = view_of(*(work(f"t{n}") for n in range(10_000)))
    for n in range(5000):
        view.take(m.AttemptStarted(f"t{n}", 1), 1.0)
    for n in range(4997):
        failed = n == 17
        view.take(m.AttemptFailed(f"t{n}", 1, BAD) if failed else m.AttemptSucceeded(f"t{n}", 1), 2.0)

    lines = shown(view, 2.0, height=10)
    assert len(lines) == 10
    assert lines[1] == "✗ t17    handler-raised: ValueError: no"
    assert [line.split()[1] for line in lines[2:8]] == ["t4994", "t4995", "t4996", "t4997", "t4998", "t4999"]
    assert lines[8] == "… 9,993 more: 5,000 pending, 4,993 succeeded"
    assert lines[9].startswith("4,997/10,000 tasks ended  ● 3 running  ✗ 1 failure")


def test_a_hundred_thousand_items_leave_nothing_behind():
    view = view_of(work("many", loop=Loop(over=[1])), events=[(0.0, m.LoopStarted("many", 100_000))])
    for index in range(100_000):
        view.take(m.AttemptStarted(f"many[{index}]", 1), index / 1000)
        view.take(m.AttemptSucceeded(f"many[{index}]", 1), index / 1000)
    many = view.tasks["many"]
    assert many.progress is not None
    assert many.progress.ended == 100_000
    assert not many.active
    assert len(many.progress.samples) <= 20


def test_foreign_text_cannot_move_the_cursor_or_widen_the_screen():
    view = view_of(work("很长的名字"), events=[(0.0, m.AttemptStarted("很长的名字", 1))])
    view.on_log(LogLine(0.0, "很长的名字", 1, "stdout", "\x1b[2J\x1b]0;title\x07进度\u202e" * 30))
    for line in shown(view, 1.0, width=40):
        assert "\x1b" not in line
        assert "\u202e" not in line
        assert cell_len(line) <= 40


def test_rendering_for_rich_gives_the_same_text():
    view = view_of(work("a"), events=[(0.0, m.AttemptStarted("a", 1))])
    console = Console(width=72, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(render(view, 1.0, 72, 20))
    assert [line.rstrip() for line in capture.get().splitlines()] == shown(view, 1.0)


def test_the_end_of_a_call_stands_below_the_call():
    view = view_of(
        Task(name="go", type="workflow"),
        events=[
            (0.0, m.GroupStarted("go")),
            (0.0, m.AttemptStarted("go.a", 1)),
            (1.0, m.AttemptSucceeded("go.a", 1)),
            (1.0, m.CallEnding("go", "succeeded")),
            (1.0, m.SectionStarted("finally", "go")),
            (1.0, m.AttemptStarted("go.finally.tidy", 1)),
        ],
    )
    assert shown(view, 3.0) == [
        "● flow  run 1abc  running  3.0s",
        "● go              3.0s",
        "  ✓ a             1.0s",
        "  ● finally.tidy  2.0s",
        "1/3 tasks ended  ● 2 running",
    ]


def test_static_paths():
    assert static_path("a") == "a"
    assert static_path("outer[3].inner[0].leaf") == "outer.inner.leaf"


def test_a_failure_that_counts_is_kept_however_many_were_tolerated():
    view = view_of(work("may", on_error="continue", loop=Loop(over=list(range(30)))), work("bad"))
    for n in range(30):
        view.take(m.AttemptFailed(f"may[{n}]", 1, BAD), 1.0)
    view.take(m.AttemptFailed("bad", 1, BAD), 1.0)
    assert "bad" in [failed.task for failed in view.failures]
    assert view.failure_count == 31


def test_what_failed_in_something_that_succeeded_all_the_same_was_tolerated():
    group = Task(name="g", type="group", tasks=(work("x"),))
    view = view_of(group, work("bad"), events=[(0.1, m.AttemptFailed("g.x", 1, BAD))])
    assert not any(view.is_tolerated(failed) for failed in view.failures)
    view.take(m.TaskDegraded("g", BAD), 0.2)
    assert all(view.is_tolerated(failed) for failed in view.failures)
