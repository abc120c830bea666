"""What scripts do wrong, and what is wrong with how a task starts them."""

from __future__ import annotations

import pytest

from tests.errors.scene import Scene

SCRIPTS = {
    "exits.sh": "#!/bin/bash\necho 'no such table' >&2\nexit 7\n",
    "tells.sh": """#!/bin/bash
echo '{"error": {"type": "Gone", "message": "the table was dropped", "hint": "load it anew"}}' > "$AUTOGLM_OUTPUT"
exit 3
""",
    "mumbles.sh": '#!/bin/bash\necho \'{"error": {"retryable": "no"}}\' > "$AUTOGLM_OUTPUT"\nexit 3\n',
    "killed.sh": "#!/bin/bash\nkill -KILL $$\n",
    "words.sh": "#!/bin/bash\necho '{\"a\": 1,'\n",
    "answers.sh": '#!/bin/bash\necho "NaN" > "$AUTOGLM_OUTPUT"\n',
    "empty.sh": '#!/bin/bash\necho " " > "$AUTOGLM_OUTPUT"\n',
    "deep.sh": '#!/bin/bash\npython3 -c \'print("[" * 100000 + "]" * 100000)\' > $AUTOGLM_OUTPUT\n',
    "pipes.sh": '#!/bin/bash\nrm "$AUTOGLM_OUTPUT"; mkfifo "$AUTOGLM_OUTPUT"\n',
    "floods.sh": "#!/bin/bash\nhead -c 20000000 /dev/zero\n",
    "writes.sh": '#!/bin/bash\nhead -c 20000000 /dev/zero > "$AUTOGLM_OUTPUT"\n',
    "asks": "#!/no/such/interpreter\n",
    "fine.sh": "#!/bin/bash\n",
}

CASES = {
    "exits.sh": "script-exit",
    "tells.sh": "script-exit",
    "mumbles.sh": "script-exit",
    "killed.sh": "script-signal",
    "words.sh, output_format: json": "script-output",
    "answers.sh": "script-output",
    "pipes.sh": "script-output",
    "empty.sh": "script-output",
    "deep.sh": "script-output",
    "floods.sh": "output-too-large",
    "writes.sh": "output-too-large",
    "asks": "script-not-found",
    "fine.sh, interpreter: pyhton": "script-not-found",
    "plain": "script-not-executable",
    "fine.sh, interpreter: scripts/plain": "script-not-executable",
    "empty": "script-format",
    'fine.sh, args: ["{{ nul }}"]': "script-arguments",
    "fine.sh, args: [\"{{ 'x' * 200000 }}\"]": "script-arguments",
    "fine.sh, cwd: no/folder": "script-cwd-not-found",
    "fine.sh, interpreter: ./circle": "script-start",
    'fine.sh, args: "{{ 1 }}"': "option-value",
    'fine.sh, interpreter: "{{ 1 }}"': "option-value",
}


def project(scene: Scene) -> None:
    for name, text in SCRIPTS.items():
        scene.write(f"scripts/{name}", text)
    (scene.root / "circle").symlink_to("circle")
    scene.write("scripts/plain", "echo hello\n")
    scene.write("scripts/empty", "echo hello\n").chmod(0o755)


@pytest.mark.parametrize(("fields", "code"), CASES.items(), ids=[str(number) for number, _ in enumerate(CASES, 1)])
def test_a_script(scene: Scene, fields: str, code: str) -> None:
    project(scene)
    assert scene.run_task(f"script: scripts/{fields}", inputs={"nul": {"type": "string", "default": "\0"}}) == 1
    scene.shows(code)


def test_paths(scene: Scene) -> None:
    project(scene)
    scene.run_task("script: ../elsewhere.sh")
    scene.run_task("script: \"{{ '../elsewhere.sh' }}\"")
    scene.run_task("script: \"{{ 'scripts/gone.sh' }}\"")
    scene.shows("script-outside-root", "script-not-found")


def test_no_room_for_temporary_files(scene: Scene) -> None:
    project(scene)
    scene.patch.setattr("tempfile.tempdir", str(scene.root / "gone"))
    status = scene.run_task("script: scripts/fine.sh")
    scene.patch.undo()
    assert status == 1
    scene.shows("script-files")
