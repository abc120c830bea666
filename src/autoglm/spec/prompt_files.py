"""Prompts in files of their own: Markdown with front matter, read with the workflow and part of it from then on.

``prompt_file: prompts/ask.md``, or ``prompt: prompts/ask.md``, stands for the fields between the file's ``---`` lines,
and for the text below them as ``prompt_template``. What the task says itself comes before what the file says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from autoglm.base.diagnostics import Diagnostic, did_you_mean
from autoglm.base.errors import AutoglmError, SpecError
from autoglm.spec.document import read_document
from autoglm.spec.model import Path
from autoglm.spec.tree import shorten
from autoglm.spec.values import Values, is_template

ReadFile = Callable[[str], str]

_FILE: Final = re.compile(r"[\w./-]+\.md")
_FENCE: Final = re.compile(r"---[ \t]*(?:\n|$)")
_END: Final = re.compile(r"^---[ \t]*(?:\n|\Z)", re.MULTILINE)
_ABOUT: Final = frozenset({"name", "description", "version"})
"""What a prompt may say about itself; it changes nothing."""
_NOT_THERE: Final = frozenset({"prompt", "prompt_template", "prompt_file", "messages"})


def prompt_file_of(options: Mapping[str, Any]) -> str | None:
    """Return the key that names a prompt's file, or None: ``prompt_file``, or ``prompt`` when it looks like one."""
    if "prompt_file" in options:
        return "prompt_file"
    prompt = options.get("prompt")
    return "prompt" if isinstance(prompt, str) and _FILE.fullmatch(prompt) else None


def expand_prompt(
    values: Values,
    read_file: ReadFile,
    options: dict[str, Any],
    known: Mapping[str, Any],
    fields: dict[str, Any],
    path: Path,
) -> None:
    """Put what a task's prompt file says into its ``options``, and ``output_schema`` into its ``fields``."""
    key = prompt_file_of(options)
    if key is None:
        return
    where = (*path, key)
    name = values.filled_text(options[key], path, key)
    if name is None or is_template(name):
        if name is not None:
            hint = "write the file's name; what differs from run to run goes into its templates"
            values.error(
                "prompt-file", "the name of a prompt's file must be known before anything runs", where, hint=hint
            )
        options.pop(key, None)
        return
    twice = next((each for each in ("prompt", "prompt_template") if each in options and each != key), None)
    if twice is not None:
        message = f"`{key}` and `{twice}` are two ways to say the same: keep one"
        values.error("prompt-twice", message, (*path, twice), key=True)
    try:
        text = read_file(name).replace("\r\n", "\n")
        said, body = _front_matter(text, name)
    except SpecError as error:
        values.diagnostics.extend(error.diagnostics)
        said, body = {}, "-"
    except (OSError, ValueError, AutoglmError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = getattr(error, "hint", None) or "its path is relative to the project's root"
        values.error("prompt-file", f"the prompt's file `{shorten(name)}` cannot be read: {reason}", where, hint=hint)
        said, body = {}, "-"
    if not body.strip() and "messages" not in options:
        hint = "write the prompt below the second `---` line"
        values.error("prompt-empty", f"the prompt's file `{shorten(name)}` holds no prompt", where, hint=hint)
        body = "-"
    options.pop("prompt", None)
    options["prompt_file"] = name
    options.setdefault("prompt_template", body.strip("\n"))
    _take(values, name, said, options, known, fields)


def expand_arms(
    values: Values, read_file: ReadFile, options: dict[str, Any], known: Mapping[str, Any], path: Path
) -> None:
    """Put what the prompt files of a split's arms say into these arms."""
    model = options.get("model")
    arms = model.get("split") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(arms, dict):
        return
    read = dict(arms)
    for name, arm in arms.items():
        if isinstance(arm, dict) and prompt_file_of(arm) is not None:
            place: Path = (*path, "model", "split", name)
            own, fields = dict(arm), dict[str, Any]()
            expand_prompt(values, read_file, own, known, fields, place)
            if "output_schema" in fields:
                message = "the arms of a split share one `output_schema`, and the file of this one brings its own"
                values.error("model-split-invalid", message, place, hint="write `output_schema` at the task")
            read[name] = own
    options["model"] = {**model, "split": read}


def _take(
    values: Values,
    name: str,
    said: dict[str, Any],
    options: dict[str, Any],
    known: Mapping[str, Any],
    fields: dict[str, Any],
) -> None:
    allowed = [*(each for each in known if each not in _NOT_THERE), "output_schema", *sorted(_ABOUT)]
    for key, value in said.items():
        if key == "output_schema" and isinstance(value, dict):
            if fields.get("output_schema") is None:
                fields["output_schema"] = value
        elif key in _ABOUT:
            continue
        elif key in known and key not in _NOT_THERE:
            options.setdefault(key, value)
        else:
            guess = did_you_mean(key, allowed)
            hint = f"did you mean `{guess}`?" if guess and guess != key else f"its fields are: {', '.join(allowed)}"
            message = f"`{shorten(key)}` is no field of a prompt's file"
            if key == "output_schema":
                message, hint = "`output_schema` must be a mapping", "write a JSON Schema"
            values.diagnostics.append(Diagnostic("prompt-file", f"{name}: {message}", hint=hint))


def _front_matter(text: str, name: str) -> tuple[dict[str, Any], str]:
    """Return the fields of a prompt's file, and the text below them. Raises SpecError with places in the file."""
    begun = _FENCE.match(text)
    if begun is None:
        return {}, text
    ended = _END.search(text, begun.end())
    if ended is None:
        raise AutoglmError("its front matter has no second `---` line", hint="write `---` above and below the fields")
    written = text[begun.end() : ended.start()]
    if not written.strip():
        return {}, text[ended.end() :]
    document = read_document(f"\n{written}", name)  # the line break keeps the lines' numbers as they are in the file
    if not isinstance(document.data, dict):
        raise AutoglmError("its front matter is no mapping", hint="write fields, such as `model: ollama/qwen3`")
    return document.data, text[ended.end() :]
