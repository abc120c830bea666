"""What goes wrong with runs as a whole, and with calling the command."""

from __future__ import annotations

from contextlib import closing

from autoglm import WorkflowBuilder
from autoglm.engine import messages as m
from autoglm.engine.machine import Run
from autoglm.graph.compile import compile_graph
from autoglm.spec.model import Task, Workflow
from autoglm.stores.protocol import Append, RunRow, RunUpdate
from autoglm.stores.sqlite import SqliteStore
from tests.errors.scene import Scene
from tests.runtime.house import CATALOG

HANDLERS = """
    import asyncio
    import os

    def one(): return 1
    def odd(n):
        if n % 2: raise ValueError(f"{n} is odd")
        return n
    def fails(): raise ValueError("no good")
    async def waits(): await asyncio.sleep(60)
    async def stops_the_loop(): asyncio.get_running_loop().stop()
    def leaves(): os._exit(9)
    async def cancels_all():
        for task in asyncio.all_tasks():
            task.cancel()
    """


def ready(scene: Scene, flow: str = "tasks: [{name: a, handler: one}]") -> None:
    scene.write("tasks/handlers.py", HANDLERS)
    scene.write("flow.yaml", flow)


# ----------------------------------------------------------------------------------------------------------- the call


def test_usage(scene: Scene) -> None:
    for arguments in (["run"], ["runn"], ["run", "flow.yaml", "--fast"], ["list", "--limit", "many"]):
        scene.autoglm(*arguments)
    scene.shows("usage")


def test_files_that_are_not_there(scene: Scene) -> None:
    ready(scene)
    for file in ("flwo.yaml", "tasks"):
        scene.autoglm("run", file)
    scene.shows("file-not-found")


def test_a_file_that_cannot_be_read(scene: Scene) -> None:
    ready(scene)
    scene.autoglm("run", "flow.yaml/flow.yaml")
    scene.shows("file-unreadable")


def test_inputs(scene: Scene) -> None:
    ready(
        scene,
        """
        inputs: {count: {type: integer}, size: {type: string, enum: [small, large]}, topic: {type: string}}
        tasks: [{name: a, handler: one, when: "inputs.count and inputs.size and inputs.topic"}]
        """,
    )
    scene.autoglm("run", "flow.yaml", "-q", "-i", "count=many", "-i", "size=middle", "-i", "topik=tides")
    scene.autoglm("run", "flow.yaml", "-q", "-i", "topic")
    scene.autoglm("run", "flow.yaml", "-q", "--inputs-file", "gone.yaml")
    scene.write("list.yaml", "[1, 2]")
    scene.autoglm("run", "flow.yaml", "-q", "--inputs-file", "list.yaml")
    scene.shows("bad-inputs", "inputs-file")


def test_ids_of_runs(scene: Scene) -> None:
    ready(scene)
    for run in ("abc-1", "abc-2"):
        scene.autoglm("run", "flow.yaml", "-q", "--run-id", run)
    scene.autoglm("run", "flow.yaml", "-q", "--run-id", "abc-1")
    scene.autoglm("run", "flow.yaml", "-q", "--run-id", "last")
    scene.autoglm("show", "r")
    scene.autoglm("show", "abc")
    scene.autoglm("show", "abc-1", "b")
    scene.autoglm("list", "--status", "succeded")
    scene.shows("run-exists", "run-id-invalid", "run-not-found", "run-ambiguous", "task-not-found", "unknown-status")


def test_the_last_run_of_none(scene: Scene) -> None:
    scene.autoglm("show", "last")
    scene.shows("run-not-found")


def test_runs_that_are_in_another_state(scene: Scene) -> None:
    ready(scene)
    scene.autoglm("run", "flow.yaml", "-q", "--run-id", "done")
    for command in ("resume", "retry", "cancel", "pause"):
        scene.autoglm(command, "done")
    scene.write("flow.yaml", "tasks: [{name: a, handler: leaves}]")
    scene.autoglm_apart("run", "flow.yaml", "-q", "--run-id", "killed")
    scene.autoglm("retry", "killed")
    scene.shows("run-ended", "run-not-driven", "run-not-ended")


def test_a_secret_input_on_resume(scene: Scene) -> None:
    ready(scene, "inputs: {token: {type: string, secret: true}}\ntasks: [{name: a, handler: leaves}]")
    scene.autoglm_apart("run", "flow.yaml", "-q", "--run-id", "r", "-i", "token=abc")
    scene.autoglm("resume", "r")
    scene.autoglm("resume", "r", "-i", "abc")
    scene.shows("secret-input-missing", "bad-inputs")


def test_init(scene: Scene) -> None:
    scene.write("there/config/workflow.yaml", "")
    scene.write("file", "")
    for arguments in (["there"], ["file"], ["new", "--name", "my flow"], ["file/below"]):
        scene.autoglm("init", *arguments)
    scene.shows("init-exists", "init-failed", "name-invalid")


def test_output_that_goes_nowhere(scene: Scene) -> None:
    ready(scene)
    scene.autoglm("graph", "flow.yaml", "--format", "svg", "--output", "no/folder/flow.svg")
    with open("/dev/full", "w") as full:
        scene.autoglm_apart("run", "flow.yaml", "--json", "--run-id", "r", stdout=full)
        scene.autoglm_apart("--version", stdout=full)
    scene.shows("output-file", "output-failed")


# ------------------------------------------------------------------------------------------------------------- failing


def test_parts_that_fail(scene: Scene) -> None:
    ready(scene)
    scene.run("tasks: [{name: g, tasks: [{name: a, handler: one}, {name: b, handler: fails, depends_on: a}]}]")
    scene.autoglm("show", "r1", "g")
    scene.autoglm("run", "flow.yaml", "--json", "--run-id", "told")
    scene.run("tasks: [{name: all, handler: odd, loop: {over: [2, 3, 4, 5], as: n, max_parallel: 1}}]")
    scene.autoglm("show", "r2", "all")
    scene.run("tasks: [{name: all, handler: odd, loop: {over: [2, 3, 4], as: n, min_success: 90%, max_parallel: 1}}]")
    scene.autoglm("show", "r3", "all")
    scene.shows("group-failed", "loop-failed", "task-failed", "handler-raised")


def test_loops_over_what_is_no_list(scene: Scene) -> None:
    ready(scene)
    scene.run_task("handler: odd, loop: {over: \"{{ {'a': 1} }}\", as: n}")
    scene.run_task('handler: odd, loop: {over: "{{ 3 }}", as: n}')
    scene.run_task('handler: odd, loop: {file: "{{ 3 }}", as: n}')
    scene.shows("loop-not-a-list")


def test_outputs_that_fail(scene: Scene) -> None:
    ready(scene)
    scene.run_task("handler: one", outputs={"half": "{{ tasks.a.result / 0 }}"})
    scene.shows("outputs-failed")


def test_templates_that_fail(scene: Scene) -> None:
    ready(scene)
    for template in (
        "{{ tasks.b.result / 0 }}",
        "{{ tasks.b.result + 'x' }}",
        "{{ 'x' * 10 ** 10 }}",
        "{{ vars.x.y }}",
        "{{ 1e308 * 10 }}",
    ):
        scene.run(
            "vars: {x: 1}\ntasks:\n  - {name: b, handler: one}\n"
            f'  - {{name: a, handler: odd, depends_on: b, with: {{n: "{template}"}}}}\n'
        )
    scene.shows("expression-failed", "expression-too-large", "unknown-field")


def test_a_function_that_stops_what_drives_it(scene: Scene) -> None:
    ready(scene, "tasks: [{name: a, handler: stops_the_loop}]")
    scene.autoglm_apart("run", "flow.yaml", "-q", "--run-id", "r")
    scene.write("flow.yaml", "tasks: [{name: a, handler: cancels_all}]")
    scene.autoglm_apart("run", "flow.yaml", "-q", "--run-id", "r2")
    scene.shows("run-broken-off")


# ------------------------------------------------------------------------------------------------------ faults of ours


def test_python(scene: Scene) -> None:
    flow = WorkflowBuilder("flow")
    flow.task("a", "one")
    with scene.refuses('WorkflowBuilder("flow").task("a") a second time'):
        flow.task("a", "one")
    scene.shows("duplicate-task")


def test_news_that_cannot_be(scene: Scene) -> None:
    workflow = Workflow(name="flow", tasks=(Task(name="a", type="function", options={"handler": "a"}),))
    run = Run(compile_graph(workflow, CATALOG), lambda blob: b"")
    run.handle([m.Create(m.RunCreated("r", "flow", m.Blob("0" * 64, 2)), b"{}"), m.Begin()], 1.0)
    with scene.refuses("an attempt of nobody succeeds"):
        run.apply(m.AttemptSucceeded("group.b", 1), 2.0)
    run.apply(m.AttemptSucceeded("a", 1), 2.0)
    with scene.refuses("an attempt succeeds twice"):
        run.apply(m.AttemptSucceeded("a", 1), 3.0)
    scene.shows("unknown-instance", "invalid-transition")


def test_a_bug_of_ours(scene: Scene) -> None:
    ready(scene)
    scene.autoglm("run", "flow.yaml", "-q", "--run-id", "r", quietly=True)
    with closing(SqliteStore(scene.root / ".autoglm" / "autoglm.db")) as store:  # as no version of ours would write it
        first = store.get_record("r", 1).payload
        store.create_run(RunRow(run_id="odd", workflow="flow", status="running"))
        for number in (1, 2):
            update = RunUpdate(status="running", updated_at=1.0)
            (refused,) = store.append([Append(run_id="odd", epoch=0, seq=number, payload=first, update=update)])
            assert refused is None
    scene.autoglm("resume", "odd")
    scene.shows("internal")
