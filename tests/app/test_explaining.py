"""Why tasks and runs stand as they do, asked of runs on a clock of their own."""

from __future__ import annotations

from tests.engine.flows import each, group, task
from tests.engine.test_decisions import decision
from tests.engine.world import World

from autoglm.app.explaining import Link, TaskStory, explain_absent, explain_task, find_instance
from autoglm.app.explaining_runs import explain_run
from autoglm.app.operands import Operand
from autoglm.engine import messages as m
from autoglm.spec.model import Degrade, PoolSpec, Retry, Workflow


def world(*tasks: object, inputs: dict[str, object] | None = None, **fields: object) -> World:
    return World(Workflow(name="flow", tasks=tasks, **fields), **(inputs or {}))


def story(of: World, task_id: str) -> TaskStory:
    found = find_instance(of.replayed(), task_id)
    assert found is not None
    return explain_task(of.replayed(), found)


def test_a_condition_is_told_with_what_it_read() -> None:
    run = world(task("a"), task("b", "a", when="tasks.a.result.n > inputs.limit"), inputs={"limit": 5})
    run.succeed("a", b'{"n": 3}')
    found = story(run, "b")
    assert found.condition == "tasks.a.result.n > inputs.limit"
    assert found.operands == [Operand("inputs.limit", "5"), Operand("tasks.a.result.n", "3")]
    assert found.summary == "it was skipped: `when` is false: tasks.a.result.n > inputs.limit"


def test_what_a_secret_gave_is_not_told() -> None:
    run = world(task("a", when="secrets.key == 'x'"))
    assert [(each.name, each.value) for each in story(run, "a").operands] == [("secrets.key", "***")]


def test_a_skip_goes_back_to_its_root() -> None:
    run = world(group("g", task("x"), loop=each(1, 2)), task("b", "g"), task("c", "b"))
    run.fail("g[1].x")
    run.succeed("g[0].x")
    assert [link.task for link in story(run, "c").causes] == ["b", "g", "g[1]", "g[1].x"]
    assert story(run, "c").causes[-1] == Link("g[1].x", "failed", "boom: it went wrong")


def test_what_waits_for_a_slot_is_told_who_has_them() -> None:
    run = world(task("a", pool=("p",)), task("b", pool=("p",)), pools={"p": PoolSpec(limit=1)})
    waits = story(run, "b").waits
    assert [(wait.what, wait.name, wait.limit, wait.holders) for wait in waits] == [("pool", "p", 1, ["a"])]
    assert [(name, wait.name) for name, wait in explain_run(run.replayed()).waits] == [("b", "p")]


def test_what_waits_for_the_whole_run_s_limit_is_told_so() -> None:
    run = world(task("a"), task("b"), max_parallel=1)
    assert [(wait.name, wait.holders) for wait in story(run, "b").waits] == [("max_parallel", ["a"])]


def test_what_waits_for_its_upstream_is_told_which() -> None:
    run = world(task("a"), task("b", "a"), task("c", "b"))
    assert [(wait.what, wait.name) for wait in story(run, "c").waits] == [("upstream", "b")]
    assert [link.task for link in story(run, "c").causes] == ["b", "a"]


def test_a_retry_is_told_when_it_is_due() -> None:
    run = world(task("a", retry=Retry(max_attempts=3, delay=5.0, jitter="none")))
    run.fail("a")
    found = story(run, "a")
    assert found.summary == "it waits for attempt 2 after boom: it went wrong"
    assert found.next_attempt == run.now + 5
    assert [(wait.what, wait.due) for wait in found.waits] == [("time", run.now + 5)]


def test_a_degraded_task_tells_both() -> None:
    run = world(task("a", on_error=Degrade(degrade=1)))
    run.fail("a")
    assert story(run, "a").summary == "it failed (boom: it went wrong) and gave its `degrade` value instead"


def test_a_run_tells_what_failed_first_and_what_hangs_on_it() -> None:
    run = world(task("a"), task("b"), task("c", "b"), task("d", "c"))
    run.fail("b")
    run.pass_time(1.0)
    run.fail("a")
    found = explain_run(run.replayed())
    assert [link.task for link in found.first_failed] == ["b", "a"]
    assert (found.hanging, found.hangs) == (["c", "d"], 2)
    assert found.summary == "it failed because `b` did: boom: it went wrong"


def test_what_runs_at_the_end_of_a_run_or_a_call_is_told_too() -> None:
    inner = Workflow(name="inner", tasks=(task("a"),), finally_=(task("tidy"),), on_error=(task("tell"),))
    call = task("go", type="workflow", executor=None, options={"workflow": "c.yaml"})
    run = world(call, callees={"c.yaml": inner}, finally_=(task("close"),))
    run.fail("go.a")
    assert story(run, "go.on_error.tell").summary == "it runs, attempt 1, because `go` had failed"
    run.succeed("go.on_error.tell")
    assert story(run, "go.finally.tidy").summary == "it runs, attempt 1, because `go` had come to its end"
    run.fail("go.finally.tidy")
    assert story(run, "finally.close").summary == "it runs, attempt 1, because the run had come to its end"
    run.fail("finally.close")
    told = explain_run(run.replayed())
    assert [link.task for link in told.first_failed] == ["go.a", "go.finally.tidy", "finally.close"]


def test_a_call_whose_finally_failed_owes_it_to_that() -> None:
    inner = Workflow(name="inner", tasks=(task("a"),), finally_=(task("tidy"),))
    run = world(task("go", type="workflow", executor=None, options={"workflow": "c.yaml"}), callees={"c.yaml": inner})
    run.succeed("go.a")
    run.fail("go.finally.tidy")
    assert [link.task for link in story(run, "go").causes] == ["go.finally.tidy"]


def test_what_stands_beside_a_task_is_told_of() -> None:
    run = world(task("a", rollback=task("a")), task("b", "a", fallback=task("b")))
    run.succeed("a")
    run.fail("b")
    assert story(run, "b~fallback").summary == "it runs, attempt 1, because `b` had failed"
    run.fail("b~fallback")
    assert story(run, "a~rollback").summary == "it runs, attempt 1, because `a` had to be undone"


def test_a_paused_run_holds_what_is_ready() -> None:
    run = world(task("a"), task("b", "a"))
    run.handle(m.Pause())
    run.succeed("a")
    assert [wait.reason for wait in story(run, "b").waits] == ["the run is paused"]


def test_looking_changes_nothing() -> None:
    run = world(task("a"), group("g", task("x"), loop=each(1, 2)), task("c", "g"))
    run.fail("g[0].x")
    looked_at = run.replayed()
    before = looked_at.snapshot()
    explain_run(looked_at)
    for node in looked_at.graph.walk():
        found = find_instance(looked_at, node.path)
        if found is not None:
            explain_task(looked_at, found)
    assert looked_at.snapshot() == before


def test_what_waits_for_a_person_is_told_for_whom() -> None:
    ask = task("ask", type="approval", executor=None, options={"message": "ship it?", "who": ["ann"]})
    run = world(ask, task("ship", "ask"))
    found = story(run, "ask")
    assert found.summary.startswith("it waits for an answer")
    assert len(found.waits) == 1
    assert [link.task for link in story(run, "ship").causes] == ["ask"]


def test_a_run_names_the_failure_that_failed_it_and_marks_what_was_tolerated() -> None:
    run = world(task("tol", on_error="continue"), task("slow"), task("bad", "slow"))
    run.fail("tol")
    run.pass_time(1.0)
    assert explain_run(run.replayed()).summary == "it is running"
    run.succeed("slow")
    run.fail("bad")
    found = explain_run(run.replayed())
    assert found.summary == "it failed because `bad` did: boom: it went wrong"
    assert [(link.task, link.tolerated) for link in found.first_failed] == [("bad", False), ("tol", True)]
    assert story(run, "tol").summary.endswith("; that is tolerated, and what it belongs to goes on")
    assert "tolerated" not in story(run, "bad").summary


def test_what_failed_inside_something_that_was_tolerated_is_tolerated_too() -> None:
    some = each(1, 2, min_success=0.5)
    run = world(group("g", task("x"), on_error="continue"), task("l", loop=some), task("bad", "g l"))
    run.fail("g.x")
    run.pass_time(1.0)
    run.fail("l[0]")
    run.succeed("l[1]")
    run.fail("bad")
    found = explain_run(run.replayed())
    assert [(link.task, link.tolerated) for link in found.first_failed] == [
        ("bad", False),
        ("g.x", True),
        ("l[0]", True),
    ]


def test_outputs_that_failed_are_what_the_run_failed_by() -> None:
    run = world(task("tol", on_error="continue"), outputs={"x": "{{ tasks.tol.result.x }}"})
    run.fail("tol")
    assert explain_run(run.replayed()).summary.startswith("it failed: outputs-failed: ")


def test_what_could_not_be_rolled_back_is_told() -> None:
    run = world(task("b", rollback=task("undo")), task("c", "b"))
    run.succeed("b")
    run.fail("c")
    run.fail("b~rollback", "stuck", retryable=False)
    found = explain_run(run.replayed())
    assert found.summary == (
        "it failed because `c` did: boom: it went wrong; "
        "`b` could not be rolled back (rollback-failed) and is still in place"
    )
    assert found.not_rolled_back == [Link("b", "succeeded", "stuck: it went wrong")]


def test_a_decision_is_told_in_words() -> None:
    rules = (("result > 8", "fast"), ("result > 5", "normal"), ("result > 2", "slow"))
    run = world(
        task("score"), decision("route", *rules, after="score"),
        task("fast", "route"), task("normal", "route"), task("slow", "route"), task("then", "slow"),
    )  # fmt: skip
    run.succeed("score", b"7")
    found = story(run, "route")
    assert found.summary == "it decided: it took `normal`, because `result > 5` held (result = 7)"
    assert found.operands == [Operand("result", "7")]
    assert found.notes == ["not taken: `fast`, `slow`", "did not hold: `result > 8`"]
    taken = "`route` took `normal`, because `result > 5` held (result = 7)"
    assert story(run, "slow").summary == f"it was skipped: {taken}"
    goes_back = "it goes back to `route`: took `normal`, because `result > 5` held (result = 7)"
    assert story(run, "then").summary == f"it was skipped: `slow` was skipped; {goes_back}"
    assert story(run, "normal").summary == "it runs, attempt 1, because `route` chose it"


def test_a_decision_that_took_nothing_or_its_default_says_so() -> None:
    run = world(decision("none", ("1 > 2", "x")), decision("rest", ("1 > 2", "x"), default="y"), task("x"), task("y"))
    assert story(run, "none").summary == "it decided: it took no branch: no rule held"
    assert story(run, "rest").summary == "it decided: it took `y`, because no rule held"


def test_a_branch_is_told_which_of_two_decisions_chose_it() -> None:
    run = world(
        decision("r1", ("false", "x"), default="y"), decision("r2", ("true", "x")), task("x", "r1 r2"), task("y", "r1")
    )
    assert story(run, "x").summary == "it runs, attempt 1, because `r2` chose it"


def test_a_decision_by_a_model_is_told_by_what_it_answered() -> None:
    rules = [{"rule": "prediction == 'spam'", "action": "drop"}]
    options = {"model": "m", "input": "x", "conditions": rules, "default": "keep"}
    run = world(task("d", type="decision", executor=None, options=options), task("drop", "d"), task("keep", "d"))
    assert story(run, "d").operands == []
    run.succeed("d", b'{"prediction": "spam", "probability": 0.9}')
    found = story(run, "d")
    why = """because `prediction == 'spam'` held (prediction = "spam", probability = 0.9)"""
    assert found.summary == f"it decided: it took `drop`, {why}"
    assert [each.name for each in found.operands] == ["prediction", "probability"]


def test_a_decision_by_a_language_model_is_told_by_its_label() -> None:
    options = {"llm": "m", "prompt": "?", "branches": ["a", "b"], "min_confidence": 0.5, "fallback": "b"}
    run = world(task("d", type="decision", executor=None, options=options), task("a", "d"), task("b", "d"))
    run.succeed("d", b'{"label": "a", "confidence": 0.4}')
    assert story(run, "d").summary == (
        "it decided: it took `b`, because the model was only 0.4 sure of `a` (`confidence < 0.5`)"
    )
    run = world(task("d", type="decision", executor=None, options=options), task("a", "d"), task("b", "d"))
    run.succeed("d", b'{"label": "a", "confidence": 0.8}')
    assert story(run, "d").summary == "it decided: it took `a`, because the model answered `a`, 0.8 sure"


def test_a_task_that_waits_says_how_its_cause_stands() -> None:
    run = world(task("hog"), task("b", "hog"))
    assert story(run, "b").summary == "it has not begun; it goes back to `hog`, which is running"


def test_what_was_rolled_back_says_so() -> None:
    run = world(task("a", rollback=task("undo")), task("b", "a"))
    run.succeed("a")
    run.fail("b")
    run.succeed("a~rollback")
    assert story(run, "a").summary == "it ran because nothing comes before it; it succeeded and was rolled back"
    run = world(group("g", task("a", rollback=task("undo")), task("b", "a")), task("c", "g"))
    run.succeed("g.a")
    run.succeed("g.b")
    run.fail("c")
    run.succeed("g.a~rollback")
    assert story(run, "g.b").summary == "it ran because `a` succeeded (rolled back since)"


def test_an_operand_that_is_missing_is_told_so() -> None:
    run = world(task("a"), task("b", "a", when="tasks.a.result.nokey | default(false)"))
    run.succeed("a", b"{}")
    assert story(run, "b").operands == [Operand("tasks.a.result.nokey", "(there is no `nokey`)")]


def test_what_has_not_begun_and_is_not_in_memory_is_told_so() -> None:
    run = world(task("a"), task("l", "a", loop=each(1, 2)), group("g", task("x"), after="a"))
    for name, why in (("l[0]", "`l` has not begun"), ("g.x", "`g` has not begun")):
        found = explain_absent(run.replayed(), name)
        assert found is not None
        assert found.summary == f"it has not begun: {why}"
    assert [wait.name for wait in found.waits] == ["a"]
    assert explain_absent(run.replayed(), "l[2]") is None
    assert explain_absent(run.replayed(), "l[x]") is None
    assert explain_absent(run.replayed(), "nobody") is None
    run.succeed("a")
    run.succeed("l[0]")
    assert explain_absent(run.replayed(), "l[0]") is None


def test_a_loop_that_waits_for_a_slot_is_told_who_has_it() -> None:
    pools = {"p": PoolSpec(limit=1)}
    inside = group("g", task("x", pool=("p",)), loop=each(1, 2))
    run = world(task("hog", pool=("p",)), task("l", pool=("p",), loop=each(1, 2)), inside, pools=pools)
    for name in ("l", "g"):
        assert [(wait.name, wait.holders) for wait in story(run, name).waits] == [("p", ["hog"])]
    assert {name for name, wait in explain_run(run.replayed()).waits if wait.name == "p"} == {"l", "g"}


def test_what_was_stopped_because_its_group_ran_out_of_time_did_not_fail_it() -> None:
    run = world(group("g", task("x"), timeout=5.0), task("b", "g"))
    run.pass_time(6.0)
    run.stopped("g.x")
    assert [link.task for link in explain_run(run.replayed()).first_failed] == ["g"]
    assert [link.task for link in story(run, "b").causes] == ["g"]


def test_the_task_that_a_choice_did_not_take_says_which_it_took() -> None:
    options = {"choose": "x"}
    run = world(group("g", task("x"), task("y"), options=options))
    assert story(run, "g.x").summary == "it runs, attempt 1, because `g` chose it"
    assert story(run, "g.y").summary == "it was not chosen: `g` chose `x`"


def test_an_approval_makes_no_attempts_that_it_could_fail_before() -> None:
    run = world(task("ask", type="approval", executor=None, options={"message": "ship it?"}))
    run.answer("ask", approved=False)
    assert story(run, "ask").summary == "it failed: rejected: ann rejected it"


def test_what_runs_at_the_end_has_not_begun_before() -> None:
    run = world(task("a"), on_error=(task("tell"),), finally_=(task("close"),))
    for name, why in (("on_error.tell", "has not failed"), ("finally.close", "has not come to its end")):
        found = explain_absent(run.replayed(), name)
        assert found is not None
        assert found.summary == f"it has not begun: the run {why}"
    run.fail("a")
    run.succeed("on_error.tell")
    assert explain_absent(run.replayed(), "finally.close") is None
