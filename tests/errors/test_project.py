"""What is wrong with a project: its settings, secrets, plugins and paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.errors.scene import Scene

FLOW = "tasks: [{name: a, handler: one}]"


def ready(scene: Scene, flow: str = FLOW) -> None:
    scene.write("tasks/one.py", "def one(value=1): return value\n")
    scene.write("flow.yaml", flow)


def test_settings(scene: Scene) -> None:
    ready(scene)
    scene.write(
        "autoglm.yaml",
        """
        durability: paranoid
        max_paralel: 3
        executors: {thread: {limits: 3}}
        retention: soon
        """,
    )
    scene.autoglm("validate", "flow.yaml")
    scene.write("autoglm.yaml", "executors: {cluster: {limit: 3}}\nmodels: {m: {provider: openai}}\n")
    scene.autoglm("validate", "flow.yaml")
    scene.write("autoglm.yaml", "models: {m: {provider: openai, api_key: sk-0123456789}}\n")
    scene.autoglm("validate", "flow.yaml")
    scene.write("autoglm.yaml", "- durability\n")
    scene.autoglm("validate", "flow.yaml")
    scene.write("autoglm.yaml", "")
    scene.patch.setenv("AUTOGLM_MAX_PARALLEL", "many")
    scene.autoglm("validate", "flow.yaml")
    scene.shows("setting-invalid", "setting-unknown", "setting-literal-key")


def test_settings_that_cannot_be_read(scene: Scene) -> None:
    ready(scene)
    (scene.root / "autoglm.yaml").write_bytes(b"durability: \xff\n")
    scene.autoglm("validate", "flow.yaml")
    scene.shows("settings-unreadable")


SECRETS: dict[str, bytes] = {
    "no name": b"KEY=1\nwhat is this\n",
    "open quote": b'KEY="1\n',
    "no text": b"KEY=\xff\n",
    "nul": b"KEY=a\0b\n",
    "too large": b"#" * 1_100_000,
}


@pytest.mark.parametrize("case", SECRETS)
def test_the_file_of_secrets(scene: Scene, case: str) -> None:
    ready(scene, "tasks: [{name: a, handler: one, with: {value: '{{ secrets.KEY }}'}}]")
    (scene.root / ".env").write_bytes(SECRETS[case])
    (scene.root / ".env").chmod(0o600)
    scene.autoglm("run", "flow.yaml", "-q", "--run-id", "r")
    scene.shows("dotenv-unreadable" if case in ("no text", "too large") else "dotenv-syntax")


def test_a_secret_that_is_not_there(scene: Scene) -> None:
    ready(scene, "tasks: [{name: a, handler: one, with: {value: '{{ secrets.KEY }}'}}]")
    scene.autoglm("run", "flow.yaml", "-q", "--run-id", "r")
    scene.shows("secret-missing")


def test_secrets_that_everybody_can_read(scene: Scene) -> None:
    ready(scene)
    scene.write(".env", "KEY=1\n").chmod(0o644)
    scene.autoglm("validate", "flow.yaml")
    scene.shows("secrets-readable")


PLUGINS = """
    from autoglm.base.errors import AutoglmError, SpecError, StoreError
    from autoglm.stores.memory import MemoryStore

    class Leaky(MemoryStore):
        def append(self, appends):
            raise RuntimeError("there is a hole in it")

    def leaky(address, *, durability):
        return Leaky()

    def full(address, *, durability):
        raise StoreError("the cellar is under water")

    def odd(address, *, durability):
        raise AutoglmError("the door is stuck")

    def tower(address, *, durability):
        return tower(address, durability=durability)

    def picky(address, *, durability):
        raise SpecError([])
    """


def install(scene: Scene, folder: Path, package: str, *entries: str) -> None:
    """Install a package of entry points of ours, each written ``GROUP NAME TARGET``, as pip would leave it."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    groups: dict[str, list[str]] = {}
    for entry in entries:
        group, name, target = entry.split()
        groups.setdefault(group, []).append(f"{name} = {target}")
    texts = ["\n".join([f"[autoglm.{group}]", *lines, ""]) for group, lines in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(texts))


def test_plugins(scene: Scene) -> None:
    ready(scene)
    site = scene.root.parent / "site"
    scene.write("../site/cellar.py", PLUGINS)
    install(
        scene,
        site,
        "cellar",
        "stores cellar cellar:full",
        "stores attic cellar:odd",
        "stores shed cellar:picky",
        "stores tower cellar:tower",
        "stores broken no_such_module:Store",
        "stores twice cellar:full",
        "stores leaky cellar:leaky",
    )
    install(scene, site, "rival", "stores twice rival:Store", "task_types odd cellar:full")
    scene.patch.syspath_prepend(str(site))
    scene.autoglm("validate", "flow.yaml")
    for store in ("broken", "twice", "celar", "cellar", "attic", "shed", "tower"):
        scene.autoglm("list", "--store", f"{store}://here")
    scene.autoglm("run", "flow.yaml", "-q", "--run-id", "r", "--store", "leaky://here")
    scene.shows(
        "store-failed", "plugin-broken", "plugin-duplicate", "plugin-unknown", "store", "error", "spec", "too-large"
    )


def test_a_task_type_with_a_fault_of_its_own(scene: Scene) -> None:
    site = scene.root.parent / "site"
    scene.write(
        "../site/faulty.py",
        """
        from autoglm.spec.catalog import TaskTypeInfo

        class Faulty:
            info = TaskTypeInfo("faulty", executor="inline", executors=("inline",))
            def check(self, task, catalog): return ()
            async def run(self, attempt): return attempt.options["gone"]
            async def close(self): pass
        """,
    )
    install(scene, site, "faulty", "task_types faulty faulty:Faulty")
    scene.patch.syspath_prepend(str(site))
    scene.run_task("type: faulty")
    scene.shows("task-type-failed")


FAULTY = """
    import asyncio

    from autoglm.executors.protocol import Call
    from autoglm.spec.catalog import OptionInfo, TaskTypeInfo
    from autoglm.tasks.protocol import Park

    class Faulty:
        info = TaskTypeInfo(
            "faulty", {"way": OptionInfo("way", {"type": "string"})}, executor="inline", executors=("inline", "thread")
        )

        def check(self, task, catalog): return ()

        async def run(self, attempt):
            match attempt.options["way"]:
                case "parks": raise Park(until=None, reason="for ever", memo={1, 2})
                case "gives a set": return await attempt.step("ask", work)
                case "gives too much": return await attempt.step("ask", too_much)
                case "steps aside":
                    return await attempt.execute(Call(lambda: asyncio.run(attempt.step("ask", work)), {}))

        async def close(self): pass

    async def work(): return {1, 2}

    async def too_much(): return "x" * 68_000_000
    """


def test_a_task_type_that_parks_and_steps_wrongly(scene: Scene) -> None:
    site = scene.root.parent / "site"
    scene.write("../site/wrongly.py", FAULTY)
    install(scene, site, "wrongly", "task_types faulty wrongly:Faulty")
    scene.patch.syspath_prepend(str(site))
    for way in ("parks", "gives a set", "gives too much", "steps aside, executor: thread"):
        scene.run_task(f"type: faulty, way: {way}")
    scene.shows("not-json", "output-too-large", "wrong-executor")


def test_paths_that_cannot_be(scene: Scene) -> None:
    scene.autoglm("validate", "fl\0ow.yaml")
    scene.autoglm("validate", "~nobody-of-this-name/flow.yaml")
    scene.autoglm("list", "--store", "runs\0.db")
    gone = scene.root / "gone"
    gone.mkdir()
    scene.patch.chdir(gone)
    gone.rmdir()
    scene.autoglm("list")
    scene.shows("project-path")
