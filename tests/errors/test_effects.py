"""Fields that say nothing about a task of its type."""

from __future__ import annotations

from tests.errors.scene import Scene


def test_fields_without_an_effect(scene: Scene) -> None:
    scene.write("tasks/some.py", "def ship(): return 1\ndef stay(): return 1\n")
    scene.write("other.yaml", "inputs: {n: {type: integer, default: 1}}\ntasks: [{name: ship}]\n")
    scene.write(
        "flow.yaml",
        """
        defaults: {priority: 3, env: {A: b}}
        pools: {few: {limit: 1}}
        tasks:
          - name: route
            conditions: [{rule: run.offline, action: ship}]
            default: stay
            loop: [1, 2]
            result: "{{ output.branches }}"
            on_error: {degrade: stay}
            retries: 2
            with: {limit: 3}
          - name: ship
          - name: stay
          - name: pack
            pool: few
            priority: 5
            output_schema: {type: object}
            with: {size: 3}
            tasks: [{name: inside, handler: ship}]
          - name: call
            workflow: other.yaml
            env: {REGION: north}
            effects: guarded
          - name: ask
            type: approval
            message: good?
            output_schema: {type: object}
            timeout: 5m
          - name: say
            prompt: hello
            model: AutoGLM-Chat
            env: {REGION: north}
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.shows("field-without-effect")
