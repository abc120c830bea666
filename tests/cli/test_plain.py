"""A run as plain lines."""

from __future__ import annotations

import io
import time

from autoglm.base.errors import Failure
from autoglm.cli.plain import PlainPrinter
from autoglm.cli.view import RunView
from autoglm.engine import messages as m
from autoglm.spec.model import Loop, Retry, Task, Workflow
from autoglm.stores.protocol import LogLine

BAD = Failure("script-exit", "it ended with exit code 3", hint="read its log")


def printer(out: io.StringIO, **how: bool) -> PlainPrinter:
    view = RunView("1abc", "flow")
    loop = Task(name="many", type="function", loop=Loop(over=[1]))
    view.set_graph(Workflow(name="flow", tasks=(Task(name="a", type="script", retry=Retry()), loop)))
    return PlainPrinter(view, out, **how)


def lines(out: io.StringIO) -> list[str]:
    """The lines without their clock."""
    return [line.split(" ", 1)[1] for line in out.getvalue().splitlines()]


def test_one_line_a_change():
    out = io.StringIO()
    watch = printer(out)
    watch.on_events([m.RunStarted(), m.AttemptStarted("a", 1)], 100.0)
    watch.on_events([m.AttemptFailed("a", 1, BAD, retry_at=102.0)], 100.5)
    watch.on_events([m.AttemptStarted("a", 2)], 102.0)
    watch.on_events([m.AttemptSucceeded("a", 2)], 102.03)
    assert lines(out) == [
        "a started",
        "a failed after 0.5s, retry 2/3 in 1.5s: script-exit: it ended with exit code 3",
        "a started, attempt 2",
        "a succeeded in 30ms",
    ]
    assert out.getvalue().startswith(time.strftime("%H:%M:%S ", time.localtime(100.0)))


def test_what_is_parked_says_how_long_and_why():
    out = io.StringIO()
    watch = printer(out)
    watch.on_events([m.AttemptStarted("a", 1), m.ParkingBegan("a", 1, 65.0, "the batch is not done")], 5.0)
    watch.on_events([m.ParkingEnded("a", 1), m.ParkingBegan("a", 1, None, "nobody has called")], 65.0)
    assert lines(out) == [
        "a started",
        "a waits for 1m00s: the batch is not done",
        "a started",
        "a waits: nobody has called",
    ]


def test_a_final_failure_carries_its_hint():
    out = io.StringIO()
    watch = printer(out)
    watch.on_events([m.AttemptStarted("a", 1), m.AttemptFailed("a", 1, BAD, final="terminated")], 5.0)
    assert lines(out)[-1] == "a gave up after 0ms: script-exit: it ended with exit code 3 (hint: read its log)"


def test_items_are_counted_not_listed():
    out = io.StringIO()
    watch = printer(out)
    watch.on_events([m.LoopStarted("many", 1000)], 0.0)
    for index in range(1000):
        watch.on_events([m.AttemptStarted(f"many[{index}]", 1)], index / 100)
        watch.on_events([m.AttemptSucceeded(f"many[{index}]", 1)], index / 100)
    watch.on_events([m.TaskSucceeded("many")], 10.0)
    assert lines(out) == [
        "many started, 1,000 items",
        "many 300/1,000, 100.0/s, ETA 7.0s",
        "many 600/1,000, 100.0/s, ETA 4.0s",
        "many 900/1,000, 100.0/s, ETA 1.0s",
        "many succeeded in 10s, 1,000 items",
    ]


def test_many_failing_items_do_not_flood():
    out = io.StringIO()
    watch = printer(out)
    watch.on_events([m.LoopStarted("many", 1000)], 0.0)
    for index in range(100):
        watch.on_events([m.AttemptStarted(f"many[{index}]", 1), m.AttemptFailed(f"many[{index}]", 1, BAD)], 0.1)
    assert len(lines(out)) == 22
    assert lines(out)[-1] == "many: further failures of items are only counted"


def test_log_lines_only_when_verbose_and_harmless():
    line = LogLine(1.0, "a", 1, "stdout", "half\x1b[2J done")
    quiet, loud = io.StringIO(), io.StringIO()
    printer(quiet).on_log(line)
    printer(loud, verbose=True).on_log(line)
    assert quiet.getvalue() == ""
    assert lines(loud) == ["a | half done"]


def test_a_reader_who_leaves_does_not_stop_the_run():
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    watch = printer(Gone())
    watch.on_events([m.AttemptStarted("a", 1)], 1.0)
    watch.on_events([m.AttemptSucceeded("a", 1)], 2.0)
    assert watch.view.tasks["a"].status == "succeeded"


def test_what_a_continued_run_waits_for_is_told_first():
    out = io.StringIO()
    watch = printer(out)
    watch.view.where = " --project x"
    watch.view.questions = {f"ask[{n}]": m.Question("approval", "good?") for n in range(22)}
    watch.view.questions["late"] = m.Question("approval", "good?", deadline=0.0)
    watch.tell_questions(0.0)
    assert lines(out)[0] == "ask[0] waits: good? (answer: autoglm approve 1abc --project x 'ask[0]')"
    assert lines(out)[20:] == ["2 more wait: autoglm show 1abc --project x"]
