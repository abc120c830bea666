from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoglm.app.plugins import find_plugin, load_executors, load_stores, load_task_types
from autoglm.base.errors import UsageError


def test_built_ins_come_through_the_same_door() -> None:
    assert {"function", "script", "llm_generate"} <= load_task_types().keys()
    assert {"inline", "thread", "subprocess", "process"} <= load_executors().keys()
    assert {"memory", "sqlite"} <= load_stores().keys()
    assert load_task_types()["script"].distribution == "open-autoglm"


def test_a_plugin_is_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_package: Callable[..., None]
) -> None:
    install_package(
        tmp_path,
        "acme-tasks",
        "[autoglm.task_types]\nacme = acme_plugin_ok:Acme\n[console_scripts]\nacme = acme:main\n",
        acme_plugin_ok="class Acme: ...\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin = load_task_types()["acme"]
    assert plugin.distribution == "acme-tasks"
    assert "acme_plugin_ok" not in sys.modules
    assert plugin.load().__name__ == "Acme"


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("import no_such_module_at_all\n", "No module named 'no_such_module_at_all'"),
        ("def broken(:\n", "SyntaxError"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("class Other: ...\n", "AttributeError"),
        ("Acme = 3\n", "not a class or a function"),
    ],
)
def test_a_plugin_that_fails_names_its_package(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    install_package: Callable[..., None],
    module: str,
    says: str,
) -> None:
    install_package(tmp_path, "acme-broken", "[autoglm.stores]\nacme = acme_plugin_bad:Acme\n", acme_plugin_bad=module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_plugin_bad", raising=False)
    with pytest.raises(UsageError) as caught:
        load_stores()["acme"].load()
    sys.modules.pop("acme_plugin_bad", None)
    assert caught.value.code == "plugin-broken"
    assert caught.value.message.startswith("the store `acme` of the package acme-broken cannot be loaded: ")
    assert says in caught.value.message


def test_two_packages_with_one_name_are_both_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_package: Callable[..., None]
) -> None:
    install_package(tmp_path, "acme-one", "[autoglm.executors]\nmoon = acme_one:Moon\n")
    install_package(tmp_path, "acme-two", "[autoglm.executors]\nmoon = acme_two:Moon\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError) as caught:
        load_executors()["moon"].load()
    assert caught.value.code == "plugin-duplicate"
    assert "acme-one" in caught.value.message
    assert "acme-two" in caught.value.message


def test_a_package_found_twice_is_not_its_own_rival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_package: Callable[..., None]
) -> None:
    for folder in ("a", "b"):
        install_package(tmp_path / folder, "acme-same", "[autoglm.executors]\nsun = acme_same:Sun\n")
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    assert load_executors()["sun"].rivals == ()


def test_a_damaged_neighbour_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_package: Callable[..., None]
) -> None:
    install_package(tmp_path, "acme-damaged", "")
    (tmp_path / "acme_damaged-1.0.dist-info" / "entry_points.txt").write_bytes(b"[autoglm.stores]\n\xff")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "sqlite" in load_stores()


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_plugin(load_executors(), "tread", "executor")
    assert caught.value.code == "plugin-unknown"
    assert caught.value.hint == "did you mean `thread`?"
    with pytest.raises(UsageError, match="no store `xyz`") as caught:
        find_plugin(load_stores(), "xyz", "store")
    assert caught.value.hint == "installed are: memory, sqlite"


def test_looking_for_plugins_imports_none_of_them() -> None:
    code = (
        "import sys; from autoglm.app.plugins import load_task_types; load_task_types();"
        "print(sorted(m for m in sys.modules if m.startswith('autoglm.') and m.split('.')[1] in {'tasks', 'stores'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
