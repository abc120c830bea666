from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import SpecError
from autoglm.config.settings import (
    OVERRIDABLE,
    ExecutorSettings,
    SecretsSettings,
    Settings,
    TaskDefaults,
    TelemetrySettings,
    load_settings,
)
from autoglm.spec.model import Durability, McpServer, ModelSpec, Retry

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def load(tmp_path: Path, text: str | bytes, **environ: str) -> Settings:
    path = tmp_path / "autoglm.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(path, environ)


def problems(tmp_path: Path, text: str | bytes, **environ: str) -> list[Diagnostic]:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text, **environ)
    return list(caught.value.diagnostics)


def test_without_a_file_everything_has_a_default() -> None:
    settings = load_settings(None, {})
    assert settings == Settings()
    assert settings.store == ".autoglm/autoglm.db"
    assert settings.durability is Durability.FULL
    assert settings.retention == 30 * 86400
    assert settings.secrets.file == ".env"


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing yet\n# store: memory", "\ufeff# mark\n"])
def test_a_file_without_settings_is_fine(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Settings()


def test_a_whole_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
models: {house: {base_url: "http://127.0.0.1:1/v1", api_key: "{{ secrets.KEY }}", timeout: 2m}}
env: [HOME]
config: {stage: NO, deep: {list: [1, null]}}
store: runs.db
durability: process
max_parallel: 3
executors: {thread: {limit: 2}, moon: {limit: 9}}
secrets: {file: null}
retention: 1w
defaults: {retry: {max_attempts: 4, delay: 2s}, timeout: 10m}
""",
    )
    assert settings.models["house"].timeout == 120
    assert settings.config == {"stage": "NO", "deep": {"list": [1, None]}}
    assert settings.executor_limits["thread"] == 2
    assert settings.executor_limits["moon"] == 9
    assert settings.retention == 7 * 86400
    assert settings.secrets.file is None
    assert settings.defaults.as_fields() == {"retry": {"max_attempts": 4, "delay": 2.0}, "timeout": 600.0}


def test_executor_limits_of_this_machine() -> None:
    limits = Settings().executor_limits
    assert limits["inline"] == 1000
    assert limits["thread"] == 64
    assert limits["subprocess"] >= 4
    assert limits["process"] >= 1


def test_unknown_names_get_the_nearest_at_their_place(tmp_path: Path) -> None:
    text = "modls: {}\nmodels:\n  a: {base_ur: x}\nexecutors:\n  thread: {limits: 1}\n"
    text += "defaults: {retry: {maxattempts: 1}}\n"
    found = problems(tmp_path, text)
    assert [(d.code, d.place.line, d.hint) for d in found if d.place] == [
        ("setting-unknown", 1, "did you mean `models`?"),
        ("setting-unknown", 3, "did you mean `base_url`?"),
        ("setting-invalid", 5, "see `executors` in docs/settings.md"),
        ("setting-unknown", 5, "did you mean `limit`?"),
        ("setting-unknown", 6, "did you mean `max_attempts`?"),
    ]
    assert found[1].message == "`base_ur` is not a setting of `models.a`"
    assert found[1].excerpt == "  a: {base_ur: x}"


def test_wrong_values_are_all_reported(tmp_path: Path) -> None:
    found = problems(tmp_path, "durability: fast\nmax_parallel: 0\nretention: soon\nenv: [A-B]\nstore: ''\n")
    assert [d.place.line for d in found if d.place] == [1, 2, 3, 4, 5]
    assert {d.code for d in found} == {"setting-invalid"}
    assert "'soon' is not a duration" in found[2].message


def test_a_key_that_is_written_out_is_refused_and_not_repeated(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "models:\n  house:\n    api_key: sk-12345678\n")
    assert found.code == "setting-literal-key"
    assert found.place is not None
    assert found.place.line == 3
    assert "sk-12345678" not in f"{found} {found.hint} {found.excerpt}"


@pytest.mark.parametrize("text", ["[1]", "just text", "a: [", "a: 1\na: 2\n", "\0", b"\xff", "a: " + "[" * 20_000])
def test_other_files_are_coded_errors(tmp_path: Path, text: str | bytes) -> None:
    assert all(d.code for d in problems(tmp_path, text))


def test_a_folder_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_settings(tmp_path, {})
    assert caught.value.code == "settings-unreadable"


def test_the_environment_overrides_scalars(tmp_path: Path) -> None:
    settings = load(tmp_path, "store: runs.db\nmax_parallel: 3\n", AUTOGLM_STORE="memory", AUTOGLM_MAX_PARALLEL="7")
    assert settings.store_plugin == "memory"
    assert settings.max_parallel == 7
    assert load_settings(None, {"AUTOGLM_RETENTION": "1d", "AUTOGLM_DURABILITY": ""}).retention == 86400


def test_a_wrong_override_names_the_variable(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "durability: full\n", AUTOGLM_DURABILITY="fast")
    assert found.code == "setting-invalid"
    assert "AUTOGLM_DURABILITY" in found.message
    with pytest.raises(SpecError, match="AUTOGLM_MAX_PARALLEL"):
        load_settings(None, {"AUTOGLM_MAX_PARALLEL": "many"})


@pytest.mark.parametrize(
    ("store", "plugin"),
    [("memory", "memory"), ("a/b.db", "sqlite"), ("memory.db", "sqlite"), ("postgres://host/db", "postgres")],
)
def test_the_store_plugin_follows_from_the_store(store: str, plugin: str) -> None:
    assert Settings(store=store).store_plugin == plugin


def test_every_setting_is_documented_with_an_example() -> None:
    text = DOCS.read_text()
    sections = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert sections.keys() == Settings.model_fields.keys()
    below: dict[str, tuple[type[BaseModel], ...]] = {
        "models": (ModelSpec,),
        "executors": (ExecutorSettings,),
        "mcp": (McpServer,),
        "secrets": (SecretsSettings,),
        "telemetry": (TelemetrySettings,),
        "defaults": (TaskDefaults, Retry),
    }
    for name, section in sections.items():
        assert f"```yaml\n{name}:" in section
        for model in below.get(name, ()):
            assert all(f"`{field}`" in section for field in model.model_fields), name
        assert (f"AUTOGLM_{name.upper()}" in section) == (name in OVERRIDABLE)


def test_the_examples_of_the_documentation_load(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(examples) == len(Settings.model_fields)
    load(tmp_path, "".join(examples))
