"""Runs with stand-ins: the real engine and runner, with a clock that need not be waited for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

import autoglm
from autoglm.base.errors import UsageError
from autoglm.testing import failing, mock, run_workflow
from tests.runtime.house import House

HOUR = 3600.0

RETRIES = """
    tasks:
      - name: fetch
        script: none.sh
        retry: {max_attempts: 4, delay: 1h, factor: 2, max_delay: 24h, jitter: none, on: [http_5xx]}
      - {name: store, script: none.sh, depends_on: fetch, timeout: 30m}
    outputs: {stored: "{{ tasks.store.result }}"}
"""


@pytest.fixture
def flow(house: House) -> Path:
    house.write("none.sh", "exit 3\n")
    return house.write("flow.yaml", RETRIES)


def test_seven_hours_of_backoff_take_no_time_and_are_all_there(flow: Path) -> None:
    down = failing("http_503", classes=["http_5xx"])
    run = run_workflow(flow, mocks={"fetch": mock(down, down, down, "page"), "store": 7})
    assert run.outputs == {"stored": 7}
    assert run.tasks["fetch"].attempts == run.calls["fetch"] == 4
    assert run.seconds == HOUR + 2 * HOUR + 4 * HOUR
    assert run.path == ["fetch", "store"]
    assert run.coverage.share == 100


def test_an_error_that_is_not_retried_ends_it_at_once(flow: Path) -> None:
    run = run_workflow(flow, mocks={"fetch": failing("http_404")})
    assert (run.status, run.seconds) == ("failed", 0.0)
    assert run.tasks["fetch"].error == {"code": "http_404", "message": "the mock fails with http_404", "hint": None}
    assert run.skipped == ["store"]


def test_a_mock_that_takes_longer_than_the_timeout_times_out(flow: Path) -> None:
    run = run_workflow(flow, mocks={"fetch": 1, "store": mock(2, delay="31m")})
    assert run.tasks["store"].status == "timeout"
    assert run.seconds == 30 * 60
    assert run_workflow(flow, mocks={"fetch": 1, "store": mock(2, delay="29m")}).seconds == 29 * 60


def test_what_has_no_mock_is_done_for_real(flow: Path, house: House) -> None:
    house.write("none.sh", "echo real\n")
    run = run_workflow(flow, mocks={"fetch": "page"})
    assert run.outputs == {"stored": "real"}
    assert 0.0 < run.seconds < 60.0


def test_a_mock_may_be_a_function_of_the_arguments(house: House) -> None:
    house.write("none.sh", "")
    flow = house.write(
        "flow.yaml",
        """
        tasks:
          - {name: add, script: none.sh, with: {a: 1, b: 2}}
          - {name: late, script: none.sh, with: {a: "{{ tasks.add.result }}"}}
          - {name: wrong, script: none.sh, depends_on: late}
        """,
    )

    async def late(a: int) -> int:
        return a * 10

    def wrong() -> None:
        raise KeyError("x")

    run = run_workflow(flow, mocks={"add": lambda a, b: a + b, "late": late, "wrong": wrong})
    assert run.tasks["late"].result == 30
    assert run.tasks["wrong"].error is not None
    assert run.tasks["wrong"].error["code"] == "handler-raised"
    assert run_workflow(flow, mocks={"add": ValueError("no")}).error == {
        "code": "task-failed",
        "message": "`add` failed: ValueError: no",
    }


LOOP = """
    tasks:
      - name: each
        loop: {over: [a, b, c], as: letter, min_success: 0}
        tasks:
          - name: ship
            script: none.sh
            with: {letter: "{{ letter }}"}
            retry: {max_attempts: 2, delay: 1m, jitter: none}
          - {name: note, script: none.sh, when: letter != "b", with: {letter: "{{ letter }}"}, depends_on: ship}
"""


@pytest.fixture
def loop(house: House) -> Path:
    house.write("none.sh", "")
    return house.write("flow.yaml", LOOP)


def test_a_sequence_may_be_of_attempts_calls_or_items(loop: Path) -> None:
    bad = failing("bad")
    by_attempt = run_workflow(loop, mocks={"each.ship": mock(bad, 1), "each.note": 2})
    assert by_attempt.calls == {"each.ship": 6, "each.note": 2}
    assert [by_attempt.status_of(f"each[{n}].note") for n in range(3)] == ["succeeded", "skipped", "succeeded"]
    assert by_attempt.coverage.missing == []

    by_item = run_workflow(loop, mocks={"each.ship": mock(1, bad, 3, per="item"), "each.note": 2})
    assert [by_item.status_of(f"each[{n}].ship") for n in range(3)] == ["succeeded", "terminated", "succeeded"]
    assert [by_item.result_of(f"each[{n}].ship") for n in range(3)] == [1, None, 3]

    by_call = run_workflow(loop, mocks={"each.ship": mock(bad, always=4, per="call"), "each.note": 2})
    assert (by_call.calls["each.ship"], by_call.status) == (4, "succeeded")


def test_a_mock_that_is_used_up_says_so_and_is_not_tried_again(loop: Path) -> None:
    run = run_workflow(loop, mocks={"each.ship": mock(1, 2, per="call"), "each.note": 2})
    assert run.status_of("each[2].ship") == "failed"
    assert run.calls["each.ship"] == 3


def test_templates_see_the_given_environment_and_secrets_and_no_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGION", "ours")
    monkeypatch.setenv("AUTOGLM_SECRET_KEY", "ours")
    house.write("autoglm.yaml", "env: [REGION]\n")
    house.write(".env", "KEY=file\n")
    house.write("none.sh", 'echo "$A $B"\n')
    flow = house.write(
        "flow.yaml",
        'tasks: [{name: a, script: none.sh, env: {A: "{{ env.REGION }}", B: "{{ secrets.KEY | length }}"}}]\n',
    )
    given = run_workflow(flow, environment={"REGION": "north"}, secrets={"KEY": "12345"})
    assert given.tasks["a"].result == "north 5"
    absent = run_workflow(flow, environment={"REGION": "north"})
    assert absent.tasks["a"].error is not None
    assert absent.tasks["a"].error["code"] == "secret-missing"


def test_a_run_is_the_same_every_day(flow: Path) -> None:
    mocks = {"fetch": mock(failing("http_5xx"), 1), "store": 2}
    one, other = (run_workflow(flow, mocks=mocks) for _ in range(2))
    assert one.run_id == other.run_id
    assert one.events == other.events
    start = datetime(2030, 5, 1, tzinfo=UTC)
    later = run_workflow(flow, mocks=mocks, start=start)
    assert later.started_at == start.timestamp()


def test_a_workflow_that_was_built_in_python_runs_too() -> None:
    def double(number: int) -> int:
        return number * 2

    builder = autoglm.WorkflowBuilder("built")
    builder.task("first", double, number=4)
    builder.task("second", double, number="{{ tasks.first.result }}")
    assert run_workflow(builder.build()).tasks["second"].result == 16
    assert run_workflow(builder.build(), mocks={"first": 1}).tasks["second"].result == 2


def test_on_the_real_clock_time_passes(flow: Path) -> None:
    run = run_workflow(flow, mocks={"fetch": 1, "store": mock(2, delay=0.05)}, clock="real")
    assert run.seconds >= 0.05


def test_a_timeout_of_real_work_holds(house: House) -> None:
    house.write("wait.sh", "exec sleep 60\n")
    flow = house.write("flow.yaml", "tasks: [{name: wait, script: wait.sh, timeout: 0.2}]\n")
    run = run_workflow(flow)
    assert run.tasks["wait"].status == "timeout"
    assert 0.2 <= run.seconds < 30


def test_a_long_chain_on_the_virtual_clock_costs_little(house: House) -> None:
    house.write("none.sh", "")
    flow = house.write(
        "flow.yaml",
        "tasks:\n- {name: a, script: none.sh, loop: {over: '{{ range(2000) }}'}, "
        "retry: {max_attempts: 2, delay: 1h, jitter: none}}\n",
    )
    run = run_workflow(flow, mocks={"a": mock(failing("x"), 1)})
    assert run.succeeded
    assert run.calls["a"] == 4000


def test_wrong_mocks_are_refused(loop: Path) -> None:
    with pytest.raises(UsageError, match="no task `each"):
        run_workflow(loop, mocks={"each.shop": 1})
    with pytest.raises(UsageError, match="only what does work"):
        run_workflow(loop, mocks={"each": 1})


def test_of_a_task_that_is_not_there_nothing_can_be_asked(loop: Path) -> None:
    run = run_workflow(loop, mocks={"each.ship": 1, "each.note": 2})
    assert (run.status_of("each[1].ship"), run.result_of("each[1].ship")) == ("succeeded", 1)
    for ask in (run.status_of, run.result_of, run.branches):
        with pytest.raises(UsageError, match=r"no task `each\[0\]\.shop`") as caught:
            ask("each[0].shop")
        assert (caught.value.code, caught.value.hint) == ("unknown-task", "did you mean `each.ship`?")


def test_a_hint_that_lists_only_some_tasks_says_so(house: House) -> None:
    house.write("none.sh", "exit 3\n")
    for count, end in ((12, "t11"), (13, "t11, …")):
        tasks = "".join(f"  - {{name: t{number}, script: none.sh}}\n" for number in range(count))
        flow = house.write("flow.yaml", f"tasks:\n{tasks}")
        with pytest.raises(UsageError) as caught:
            run_workflow(flow, mocks={"something else": 1})
        assert (caught.value.hint or "").endswith(f"t10, {end}")


def test_tasks_of_called_files_are_mocked_and_told_by_the_way_to_them(house: House) -> None:
    house.write("none.sh", "exit 3\n")
    house.write(
        "inner.yaml",
        """
        inputs: {n: {type: integer}}
        tasks:
          - {name: work, script: none.sh, with: {n: "{{ inputs.n }}"}}
          - {name: odd, script: none.sh, depends_on: work, when: inputs.n % 2 == 1}
          - {name: again, workflow: ./inner.yaml, depends_on: work, when: inputs.n > 2, with: {n: "{{ inputs.n - 1 }}"}}
        outputs: {n: "{{ tasks.work.result }}"}
        """,
    )
    flow = house.write(
        "flow.yaml",
        """
        tasks:
          - {name: one, workflow: inner.yaml, with: {n: 1}}
          - {name: each, loop: [2, 3], workflow: inner.yaml, with: {n: "{{ item }}"}}
        outputs: {one: "{{ tasks.one.result.n }}", each: "{{ tasks.each.result | map(attribute='n') | list }}"}
        """,
    )
    mocks = {"one.work": 10, "one.odd": 0, "each.work": lambda n: n * 100, "each.odd": 0, "each.again.work": 5}
    run = run_workflow(flow, mocks=mocks)
    assert run.outputs == {"one": 10, "each": [200, 300]}
    assert run.calls == {"one.work": 1, "one.odd": 1, "each.work": 2, "each.odd": 1, "each.again.work": 1}
    assert run.status_of("each[0].again") == "skipped"
    assert run.coverage.missing == []
    assert {point.task for point in run.coverage.points} > {"one", "each", "inner.yaml:work"}
    with pytest.raises(UsageError, match="a call of another workflow"):
        run_workflow(flow, mocks={"one": 1})
    with pytest.raises(UsageError) as caught:
        run_workflow(flow, mocks={"one.wrok": 1})
    assert caught.value.hint == "did you mean `one.work`?"


def test_what_runs_at_the_end_of_a_called_file_has_names_and_mocks_too(house: House) -> None:
    house.write("none.sh", "exit 3\n")
    inner = """
        tasks: [{name: work, script: none.sh}]
        on_error: [{name: tell, script: none.sh}]
        finally: [{name: tidy, script: none.sh, with: {after: "{{ run.status }}"}}]
        """
    house.write("inner.yaml", inner)
    flow = house.write("flow.yaml", "tasks: [{name: one, workflow: inner.yaml}]")
    run = run_workflow(flow, mocks={"one.work": 1, "one.finally.tidy": lambda after: after})
    assert (run.status, run.calls) == ("succeeded", {"one.work": 1, "one.finally.tidy": 1})
    assert [point.task for point in run.coverage.missing] == ["inner.yaml:on_error.tell"]
    with pytest.raises(UsageError) as caught:
        run_workflow(flow, mocks={"one.finally.tdy": 1})
    assert caught.value.hint == "did you mean `one.finally.tidy`?"
    with pytest.raises(UsageError):
        run_workflow(flow, mocks={"one.finally": 1})


def test_of_a_decision_by_a_model_the_mock_is_what_the_model_says(house: House) -> None:
    house.write("none.sh", "")
    flow = house.write(
        "flow.yaml",
        """
        tasks:
          - name: risk
            model: risk.skops
            features: [1]
            conditions: [{rule: probabilities.high > 0.5, action: review}]
            default: accept
          - name: mood
            llm: AutoGLM-Chat
            prompt: How is it?
            branches: {bad: review, good: accept}
          - {name: review, script: none.sh}
          - {name: accept, script: none.sh}
        """,
    )
    says = {"prediction": "high", "probability": 0.6, "probabilities": {"high": 0.6, "low": 0.4}}
    mocks = {"risk": says, "mood": {"label": "bad", "confidence": 0.9}, "review": 1, "accept": 2}
    run = run_workflow(flow, mocks=mocks)
    assert run.branches("risk") == run.branches("mood") == ["review"]
    assert run.path == ["risk", "mood", "review"]
    missing = sorted(f"{point.task} {point.what}" for point in run.coverage.missing)
    assert missing == ["accept runs", "mood not → review", "mood → accept", "risk not → review", "risk → accept"]
    unmocked = run_workflow(flow, mocks={"risk": says, "review": 1, "accept": 2})
    assert unmocked.tasks["mood"].error is not None
    assert unmocked.tasks["mood"].error["code"] == "model-not-mocked"


def test_rollbacks_and_the_tasks_at_the_end_have_names_and_mocks_too(house: House) -> None:
    house.write("none.sh", "exit 3\n")
    flow = house.write(
        "flow.yaml",
        """
        tasks:
          - {name: book, script: none.sh, rollback: {script: none.sh, with: {what: "{{ result }}"}}}
          - {name: pay, script: none.sh, depends_on: book}
        on_error: [{name: tell, script: none.sh}]
        finally: [{name: tidy, script: none.sh}]
        """,
    )
    undone: list[object] = []
    mocks = {
        "book": "B-7",
        "book~rollback": mock(failing("busy"), lambda what: undone.append(what), delay="1h"),
        "pay": failing("refused"),
        "on_error.tell": 1,
        "finally.tidy": mock(2, delay="2h"),
    }
    run = run_workflow(flow, mocks=mocks)
    assert (run.status, undone) == ("failed", ["B-7"])
    assert run.path == ["book", "pay", "book~rollback", "on_error.tell", "finally.tidy"]
    assert run.status_of("book") == "rolled_back"
    assert run.calls == {"book": 1, "pay": 1, "book~rollback": 2, "on_error.tell": 1, "finally.tidy": 1}
    assert 4 * HOUR <= run.seconds < 4.1 * HOUR
    assert run.coverage.missing == []
    well = run_workflow(flow, mocks={**mocks, "pay": 1})
    assert well.path == ["book", "pay", "finally.tidy"]
    assert {point.task for point in well.coverage.missing} == {"book~rollback", "on_error.tell"}


def test_what_stands_in_for_a_task_has_a_mock_too(house: House) -> None:
    house.write("none.sh", "exit 3\n")
    flow = house.write(
        "flow.yaml",
        """
        tasks:
          - name: send
            script: none.sh
            loop: [a, b]
            on_error: {degrade: {script: none.sh, with: {what: "{{ item }}"}, retry: {max_attempts: 2, delay: 1h}}}
        outputs: {sent: "{{ tasks.send.result }}"}
        """,
    )
    spare = mock(failing("busy"), lambda what: f"{what} on foot")
    run = run_workflow(flow, mocks={"send": mock(failing("down"), "b by train", per="item"), "send~fallback": spare})
    assert run.outputs == {"sent": ["a on foot", "b by train"]}
    assert run.calls == {"send": 2, "send~fallback": 2}
    with pytest.raises(UsageError, match="no task `send~rollback`"):
        run_workflow(flow, mocks={"send~rollback": 1})
