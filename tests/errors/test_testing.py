"""What `autoglm test` says: what is wrong with a test file, and what is not as it was expected."""

from __future__ import annotations

from autoglm.testing import failing
from tests.errors.scene import Scene
from tests.errors.test_project import install

FLOW = """
    inputs:
      count: {type: integer, default: 3}
      who: {type: string}
    tasks:
      - name: fetch
        script: fetch.sh
      - name: route
        conditions:
          - {rule: "tasks.fetch.result.size > 3", action: large}
        default: small
      - {name: large, script: fetch.sh}
      - {name: small, script: fetch.sh}
      - name: each
        depends_on: fetch
        loop: {over: "{{ range(inputs.count) }}", as: number}
        tasks:
          - {name: ship, script: fetch.sh, with: {number: "{{ number }}", who: "{{ inputs.who }}"}}
"""


def project(scene: Scene, test: str) -> None:
    scene.write("flow.yaml", FLOW)
    scene.write("fetch.sh", "#!/bin/sh\necho 1\n")
    scene.write("tests/flow.test.yaml", test)


def test_a_file_that_is_wrong_by_itself(scene: Scene) -> None:
    project(
        scene,
        """
        mock: {}
        offline: yes
        start: tomorrow
        cases:
          - name: twice
            timeout: -1
            mocks:
              fetch: 3
              route: {}
              large: {value: 1, error: http_503}
              small: {error: {code: 5, retryable: no, klass: x}, per: item}
              each: {sequence: []}
              ship: {sequence: [5, {}, {value: "{{ 1 + }}"}], per: year}
          - name: twice
            expect:
              status: done
              state: succeeded
              outputs: 1
              outputs_include: 1
              path: {a: b}
              skipped: [5]
              tasks: {a: finished, b: [], c: {attempts: many, results: 3}}
              check: ["1 +", 4]
          - {}
          - 5
        """,
    )
    assert scene.autoglm("test") == 2
    scene.shows("test-without-workflow", "duplicate-case", "mock-outcome")


def test_a_file_without_cases(scene: Scene) -> None:
    project(scene, "workflow: flow.yaml\ncase: []\n")
    assert scene.autoglm("test") == 2
    scene.write("tests/flow.test.yaml", "- workflow: flow.yaml\n")
    assert scene.autoglm("test") == 2
    scene.shows("test-without-cases")


def test_a_file_that_does_not_fit_its_workflow(scene: Scene) -> None:
    project(
        scene,
        """
        workflow: flow.yaml
        inputs: {cuont: 1}
        cases:
          - name: nothing fits
            inputs: {count: three}
            mocks:
              fetsh: {value: 1}
              ship: {value: 1}
              each: {value: 1}
              route: {value: 1}
              each.ship: {sequence: [{value: "{{ items }}"}, {value: "{{ arguments.who }} {{ number }}"}]}
              fetch: {value: "{{ item }}"}
            expect:
              path: [fetch, [rout, large], each.shop]
              order: [fetsh, fetch]
              skipped: [smal]
              tasks:
                each[3].shipp: failed
                fetch: {branches: [large]}
                route: {branches: [zonk, smal]}
              check: [output.x == 1, tasks.fatch.status == "failed"]
        """,
    )
    assert scene.autoglm("test") == 2
    scene.shows(
        "bad-inputs", "unknown-task", "mock-not-work", "expect-not-a-decision", "expect-unknown-branch", "unknown-name"
    )


def test_answers_and_signals_that_nobody_waits_for(scene: Scene) -> None:
    flow = """
        tasks:
          - {name: ask, type: approval, message: "Well?", who: ann}
          - {name: go, type: wait, signal: started, depends_on: ask}
          - {name: work, script: work.sh, depends_on: go}
        """
    scene.write("flow.yaml", flow)
    scene.write("work.sh", "exit 0\n")
    scene.write(
        "tests/flow.test.yaml",
        """
        workflow: flow.yaml
        cases:
          - name: said wrongly
            answers: {ask: yes, go: {by: ann}, work: {answer: perhaps, who: ann}}
            signals: {started: 5}
        """,
    )
    assert scene.autoglm("test") == 2
    scene.write(
        "tests/flow.test.yaml",
        """
        workflow: flow.yaml
        cases:
          - name: said to nobody
            answers: {aks: approve, work: reject}
            signals: {begun: {after: 2h}}
            mocks: {ask: {value: 1}}
        """,
    )
    assert scene.autoglm("test") == 2
    scene.write(
        "tests/flow.test.yaml",
        """
        workflow: flow.yaml
        cases:
          - name: nobody answers
          - name: somebody answers who may not
            answers: {ask: approve}
          - name: nobody starts it
            answers: {ask: {answer: approve, by: ann}}
          - name: all is said
            answers: {ask: {answer: approve, by: ann, after: 3d}}
            signals: {started: {after: 4h}}
            expect: {check: run.seconds >= 76 * 3600}
        """,
    )
    assert scene.autoglm("test") == 1
    scene.shows("answer-not-asked", "signal-not-awaited")


def test_a_workflow_that_is_not_there_or_wrong(scene: Scene) -> None:
    project(scene, "workflow: config/flow.yaml\ncases: {a: {}}\n")
    assert scene.autoglm("test") == 2
    scene.write("flow.yaml", "tasks: [{name: a}]\n")
    scene.write("tests/flow.test.yaml", "workflow: flow.yaml\ncases: {a: {}}\n")
    assert scene.autoglm("test") == 2
    scene.shows("test-workflow", "unknown-function")


def test_nothing_to_test(scene: Scene) -> None:
    assert scene.autoglm("test") == 2
    assert scene.autoglm("test", "nowhere") == 2
    scene.write("notes.txt", "")
    assert scene.autoglm("test", "notes.txt") == 2
    project(scene, "workflow: flow.yaml\ncases: {a: {inputs: {who: me}}}\n")
    assert scene.autoglm("test", "-k", "b") == 2
    scene.shows("no-tests", "test-path")


def test_python_tests_that_pytest_cannot_run(scene: Scene) -> None:
    scene.write("pytest.ini", "[pytest]\naddopts = --no-such-option\n")
    scene.write("tests/test_a.py", "")
    scene.autoglm("test", quietly=True)  # what pytest says in its own words is not ours
    assert scene.autoglm_apart("test", "-k", "a", before="exec 3>&2 2>&1") == 2
    scene.shows("pytest-failed")


def test_expectations_that_are_not_met(scene: Scene) -> None:
    project(
        scene,
        """
        workflow: flow.yaml
        inputs: {who: me}
        mocks:
          fetch: {value: {size: 5, name: "x"}}
          large: {value: [1, 2]}
          small: {value: null}
          each.ship: {value: "{{ number * 2 }}"}
        cases:
          - name: everything is otherwise
            expect:
              path: [large, route, small, fetch]
              order: [each, fetch]
              skipped: [large]
              outputs: {a: 1}
              tasks:
                fetch: {attempts: 2, calls: 0, result: {size: 5}, error: boom}
                route: {branches: [small]}
                small: {reason: "too small"}
                each[1].ship: {status: failed, result: 3}
                each[99]: succeeded
                each[99].ship: {result: 3}
                large: {result_includes: [1, 3]}
              check:
                - tasks.fetch.result.size > 9 and inputs.who == "you"
                - tasks.fetch.result.sise > 9
          - name: it fails where it should not
            mocks: {fetch: {error: {code: http_503, message: the store is closed}}}
          - name: it fails otherwise
            mocks: {fetch: {error: {message: the store is closed}}}
            expect: {error: http_503}
          - name: it does not fail
            expect: {status: failed}
          - name: its mocks say too little
            mocks:
              each.ship: {sequence: [{value: 1}, {value: 2}], per: item}
              large: {value: "{{ arguments.size }}"}
        """,
    )
    assert scene.autoglm("test") == 1
    scene.shows("test-failed", "mock-exhausted", "mock-error")


def test_mocks_that_fail_without_a_word(scene: Scene) -> None:
    scene.write("fetch.sh", "#!/bin/sh\n")
    scene.write("flow.yaml", "tasks: [{name: a, script: fetch.sh}, {name: b, script: fetch.sh}]\n")
    scene.write(
        "tests/flow.test.yaml",
        """
        workflow: flow.yaml
        cases:
          - {name: by a code, mocks: {a: {error: http_503}, b: {error: {code: http_404}}}}
        """,
    )
    assert scene.autoglm("test") == 1
    with scene.refuses("a mock of a Python test fails"):
        raise failing("http_503")
    scene.shows("test-failed")


def test_a_mocked_model_that_answers_what_no_model_may(scene: Scene) -> None:
    scene.write(
        "flow.yaml",
        """
        tasks:
          - {name: route, llm: AutoGLM-Chat, prompt: which?, branches: {one: a, two: b}}
          - {name: a, script: a.sh}
          - {name: b, script: a.sh}
    """,
    )
    scene.write("a.sh", "#!/bin/sh\n")
    scene.write(
        "tests/flow.test.yaml",
        """
        workflow: flow.yaml
        mocks: {a: {value: 1}, b: {value: 1}, route: {value: {label: three, confidence: 1}}}
        cases: {it answers: {}}
        """,
    )
    assert scene.autoglm("test") == 1
    scene.shows("decision-unsure")


def test_a_model_that_nobody_mocked(scene: Scene) -> None:
    scene.write("flow.yaml", "tasks: [{name: ask, prompt: hello}]\n")
    scene.write("tests/flow.test.yaml", "workflow: flow.yaml\ncases: {a model is asked: {}}\n")
    assert scene.autoglm("test") == 1
    scene.shows("model-not-mocked")


def test_too_little_is_covered(scene: Scene) -> None:
    project(
        scene,
        """
        workflow: flow.yaml
        cases:
          - name: the large way
            inputs: {who: me, count: 0}
            mocks: {fetch: {value: {size: 5}}}
        """,
    )
    assert scene.autoglm("test", "--coverage-min", "90") == 1
    scene.shows()


def test_a_case_that_takes_too_long(scene: Scene) -> None:
    scene.write("flow.yaml", "tasks: [{name: wait, script: wait.sh}]\n")
    scene.write("wait.sh", "#!/bin/sh\nexec sleep 60\n")
    scene.write("tests/flow.test.yaml", "workflow: flow.yaml\ncases: {it never ends: {timeout: 0.3}}\n")
    assert scene.autoglm("test") == 1
    scene.shows("test-failed")


def test_a_function_that_stops_what_drives_the_tests(scene: Scene) -> None:
    scene.write("tasks/h.py", "import asyncio\n\nasync def stops(): asyncio.get_running_loop().stop()\n")
    scene.write("flow.yaml", "tasks: [{name: stops}]\n")
    scene.write("tests/flow.test.yaml", "workflow: flow.yaml\ncases: {it stops: {}}\n")
    assert scene.autoglm_apart("test") == 1
    scene.shows("run-broken-off")


def test_a_run_that_cannot_be_made(scene: Scene) -> None:
    site = scene.root.parent / "site"
    scene.write(
        "../site/shaky.py",
        """
        from autoglm import AutoglmError
        from autoglm.spec.catalog import TaskTypeInfo

        class Shaky:
            info = TaskTypeInfo("shaky", executor="shaky", executors=("shaky",))
            def check(self, task, catalog): return ()
            async def run(self, attempt): return 1
            async def close(self): pass

        def executor(**settings): raise AutoglmError("the ground is not even", code="shaky")
        """,
    )
    install(scene, site, "shaky", "task_types shaky shaky:Shaky", "executors shaky shaky:executor")
    scene.patch.syspath_prepend(str(site))
    scene.write("flow.yaml", "tasks: [{name: a, type: shaky}]\n")
    scene.write("tests/flow.test.yaml", "workflow: flow.yaml\ncases: {it stands: {}}\n")
    assert scene.autoglm("test") == 1
    scene.shows("test-failed")


def test_a_python_test_whose_run_or_mock_is_wrong(scene: Scene) -> None:
    from autoglm.testing import run_workflow

    project(scene, "")
    scene.write("wait.sh", "#!/bin/sh\nexec sleep 60\n")
    with scene.refuses("a mock of a task that is not there"):
        run_workflow("flow.yaml", {"who": "me"}, {"fetsh": 1})
    with scene.refuses("a mock of a group"):
        run_workflow("flow.yaml", {"who": "me"}, {"each": 1})
    scene.write("wait.yaml", "tasks: [{name: wait, script: wait.sh}]\n")
    with scene.refuses("a run that takes too long"):
        run_workflow("wait.yaml", timeout=0.3)
    scene.shows("unknown-task", "mock-not-work", "test-broken-off")
