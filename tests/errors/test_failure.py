"""What is said of what a file does when things fail: rollbacks, ``on_error``, ``finally``."""

from __future__ import annotations

from tests.errors.scene import Scene


def test_where_rollbacks_may_stand(scene: Scene) -> None:
    scene.write("tasks/some.py", "def take(): return 1\ndef give(result, other, more): return 1\n")
    scene.write(
        "flow.yaml",
        """
        tasks:
          - name: take
            rollback: {handler: give, loop: [1, 2], depends_on: take, with: {mroe: 1}}
          - name: again
            handler: take
            rollback: {handler: giev, with: {x: "{{ output }}"}}
          - name: finally
            handler: take
        finally:
          - name: last
            handler: take
            depends_on: again
            rollback: {script: "true"}
          - name: told
            script: "echo {{ error.message }} {{ tasks.agian.status }}"
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("rollback-field", "unknown-parameter", "unknown-function", "taken-name", "rollback-at-end")


def test_a_rollback_that_fails(scene: Scene) -> None:
    scene.write("tasks/some.py", "def take(): return 7\ndef fail(x): raise RuntimeError(f'no way back from {x}')\n")
    flow = """
        tasks:
          - name: take
            rollback: {handler: fail, retries: 0}
          - name: more
            handler: take
            rollback: {handler: fail, retries: 0}
            depends_on: take
          - name: use
            handler: fail
            depends_on: more
        """
    scene.run(flow)
    scene.shows("rollback-failed", "handler-raised")


def test_an_end_that_fails(scene: Scene) -> None:
    scene.write("tasks/some.py", "def a(): return 7\ndef fail(): raise RuntimeError('no broom')\n")
    scene.run_task("handler: a", **{"finally": [{"name": "tidy", "handler": "fail"}]})
    scene.shows("finally-failed")


def test_what_may_stand_in(scene: Scene) -> None:
    scene.write("tasks/some.py", "def a(): return 7\ndef one(x): return x\n")
    scene.write(
        "flow.yaml",
        """
        defaults: {on_error: {degrade: {task: a}}}
        tasks:
          - {name: a, on_error: {degrade: {task: b, why: 7}}}
          - {name: b, handler: a, on_error: {degrade: {value: {task: b, why: "{{ error.message }} {{ nobody }}"}}}}
          - {name: c, handler: a, on_error: {degrade: {handler: a, with: {x: 1}, loop: [1]}}}
          - {name: d, handler: a, on_error: {degrade: {handler: one, with: {x: "{{ error.code }} {{ erorr }}"}}}}
          - {name: e, handler: a, on_error: {degrade: {type: wait, for: 1s, depends_on: a}}}
        inputs: {}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.run_task("handler: a, on_error: {degrade: {tasks: [{name: b, handler: a}]}}")
    scene.run_task("handler: a, on_error: {degrade: {type: decision, branches: [a]}}")
    scene.shows("degrade-unclear", "unknown-name", "fallback-field", "unknown-parameter")


def test_which_task_may_stand_in(scene: Scene) -> None:
    scene.write("tasks/some.py", "def a(): return 7\n")
    scene.write(
        "flow.yaml",
        """
        models: {small: {model: ollama/x}}
        tasks:
          - {name: a, on_error: {degrade: {task: sapre}}}
          - {name: b, handler: a, on_error: {degrade: {task: b}}}
          - {name: c, handler: a, on_error: {degrade: {task: late}}}
          - {name: late, handler: a, depends_on: spare}
          - {name: d, handler: a, on_error: {degrade: {task: spare}}}
          - {name: spare, handler: a}
          - {name: g, handler: a, on_error: {degrade: {task: part}}}
          - {name: part, tasks: [{name: inner, handler: a}]}
          - {name: h, handler: a, on_error: {degrade: {task: lenient}}}
          - {name: lenient, handler: a, on_error: continue}
          - {name: e, handler: a, on_error: {degrade: {model: small}}}
          - {name: f, model: small, prompt: hello, on_error: {degrade: {model: smal}}}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("unknown-task", "fallback-task", "fallback-model", "unknown-model")


def test_names_in_retry_on_that_nothing_fails_with(scene: Scene) -> None:
    scene.write("tasks/some.py", "class OutOfStock(Exception): pass\ndef take(): raise OutOfStock\n")
    scene.write(
        "flow.yaml",
        """
        defaults: {retry: {max_attempts: 2, on: [timout]}}
        tasks:
          - {name: take, retry: {on: [OutOfStok, http_429, Busy]}}
          - {name: again, handler: take}
          - {name: more, handler: take}
          - {name: say, prompt: hello, model: ollama/qwen3, retry: {on: [Busy]}}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("retry-on-unknown")
