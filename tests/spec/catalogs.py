"""A catalog like that of a small project, for tests that need one and no installation."""

from __future__ import annotations

from autoglm.spec.catalog import Catalog, FunctionInfo, OptionInfo, TaskTypeInfo


def _type(name: str, *signature: str, **options: dict[str, object]) -> TaskTypeInfo:
    infos = {key: OptionInfo(key, schema, required=key == "script") for key, schema in options.items()}
    executors = ("subprocess",) if name == "script" else ("inline", "thread")
    return TaskTypeInfo(name, infos, signature, executors[0], executors)


def _function(name: str, *parameters: str, accepts_any: bool = False) -> FunctionInfo:
    return FunctionInfo(name, f"tasks/{name}.py:1", parameters, parameters, accepts_any)


TEXT = {"type": "string"}
CATALOG = Catalog(
    task_types={
        info.name: info
        for info in (
            _type("function", "handler", handler=TEXT),
            _type("script", "script", script=TEXT, args={"type": "array"}, output_format={"enum": ["text", "json"]}),
            _type(
                "llm_generate",
                "prompt",
                "prompt_template",
                model=TEXT,
                prompt=TEXT,
                prompt_template=TEXT,
                temperature={"type": "number"},
            ),
        )
    },
    functions={
        info.name: info
        for info in (
            _function("fetch", "url"),
            _function("clean", "text", "limit"),
            _function("user", "name", "state"),
            _function("anything", accepts_any=True),
        )
    },
)
