"""``llm_generate``: one chat call; its result is the text, or with ``output_schema`` the validated value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from autoglm.base.diagnostics import Diagnostic
from autoglm.base.errors import TaskError
from autoglm.spec.catalog import Catalog, OptionInfo, TaskTypeInfo
from autoglm.spec.model import Task
from autoglm.tasks.caller import Caller
from autoglm.tasks.conversation import ROLES, build_messages, check_conversation
from autoglm.tasks.images import image_addresses
from autoglm.tasks.ladder import CORRECTIONS, Question, ask, ask_for_value, together
from autoglm.tasks.llm_task import LlmTask, StreamLog
from autoglm.tasks.model_options import MODEL_OPTIONS, ModelOptions, Problem, read_options
from autoglm.tasks.protocol import Attempt

if TYPE_CHECKING:
    from autoglm.llm.chat import Choice, Completion, Message
    from autoglm.llm.models import Endpoint

_MESSAGES: Final[Mapping[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"role": {"enum": list(ROLES)}, "content": {}},
        "required": ["role", "content"],
    },
}

PROMPT_OPTIONS: Final = (
    OptionInfo("prompt", {"description": "the user's message; what is not text is sent as JSON"}),
    OptionInfo(
        "prompt_template", {"type": "string", "description": "like prompt, with the task's `with` as variables"}
    ),
    OptionInfo(
        "prompt_file",
        {"type": "string", "description": "a file such as `prompts/ask.md` that holds the prompt, and may hold more"},
        templated=False,
    ),
    OptionInfo("system", {"type": "string", "description": "the system message"}),
    OptionInfo("messages", _MESSAGES),
)

_OPTIONS: Final = (
    *MODEL_OPTIONS,
    *PROMPT_OPTIONS,
    OptionInfo(
        "images",
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "description": "images that go with the prompt: paths below the project, or web addresses",
        },
    ),
    OptionInfo("n", {"type": "integer", "minimum": 1, "description": "how many answers; the result is a list then"}),
    OptionInfo("stream", {"type": "boolean", "description": "log the answer line by line while it comes"}),
)


class _Options(ModelOptions, kw_only=True):
    prompt: Any = None
    prompt_template: Any = None
    prompt_file: str | None = None
    system: str | None = None
    messages: list[dict[str, Any]] | None = None
    images: str | list[str] | None = None
    n: int | None = None
    stream: bool = False


class LlmGenerateTask(LlmTask):
    """Asks a model, once or for several answers."""

    info = TaskTypeInfo(
        name="llm_generate",
        options={option.name: option for option in _OPTIONS},
        signature_keys=("prompt", "prompt_template", "prompt_file"),
        executor="inline",
        executors=("inline",),
        caches=True,
        description="ask a language model; the result is its text, or a value that fits `output_schema`",
    )

    def check(self, task: Task, catalog: Catalog) -> Iterable[Problem]:
        """Yield what is wrong with the options, as far as they are no templates."""
        yield from super().check(task, catalog)
        yield from check_conversation(task.name, task.options)
        images = task.options.get("images")
        for at, image in enumerate(images if isinstance(images, list) else [images]):
            if isinstance(image, str) and _is_missing(image, catalog):
                path = ("images", at) if isinstance(images, list) else ("images",)
                hint = "its path is relative to the project's root"
                yield path, Diagnostic("missing-file", f"the image `{image}` does not exist", hint=hint)

    async def answer(self, caller: Caller, attempt: Attempt) -> Any:
        """Return the answer: text, or the value that fits ``output_schema``; with ``n``, a list of them."""
        options = read_options(_Options, attempt.options)
        log = StreamLog(attempt.log) if options.stream else None
        prompt = options.prompt if options.prompt is not None else options.prompt_template
        question = Question(
            () if options.images else build_messages(options.system, options.messages or [], prompt),
            options.call_parameters(),
            attempt.output_schema,
            corrections=CORRECTIONS if options.corrections is None else options.corrections,
            on_text=None if log is None else log.take,
            prepare=_with_images(caller, attempt, options, prompt) if options.images else None,
        )
        try:
            if options.n is not None:
                return await _several(caller, attempt, options, question, options.n)
            return await _one(caller, attempt, options, question)
        finally:
            if log is not None:
                log.end()


async def _one(caller: Caller, attempt: Attempt, options: _Options, question: Question) -> Any:
    if question.schema is not None:
        value, _ = await ask_for_value(caller, attempt, options.models, question)
        attempt.output_schema = None  # each answer has been held against it, and a list of them must not be
        return value
    return _answer_text(attempt, await ask(caller, attempt, options.models, question))


async def _several(caller: Caller, attempt: Attempt, options: _Options, question: Question, count: int) -> list[Any]:
    """Return ``count`` answers: in one call where the server gives several, and in as many as it takes elsewhere."""
    texts: list[Any] = []
    if question.schema is None:
        first = replace(question, parameters={**question.parameters, "n": count}, is_part=True)
        completion = await ask(caller, attempt, options.models, first)
        answers: list[Completion | Choice] = [completion, *completion.more]
        texts = [_answer_text(attempt, each) for each in answers[:count]]
    further = [
        replace(question, name=f"answer-{at + 1}", is_part=True, parameters=_reseeded(question.parameters, at))
        for at in range(len(texts), count)
    ]
    return texts + await together(_one(caller, attempt, options, each) for each in further)


def _reseeded(parameters: Mapping[str, Any], at: int) -> Mapping[str, Any]:
    """Return the parameters of a further call: with one seed for all, all answers would be the same."""
    seed = parameters.get("seed")
    return {**parameters, "seed": seed + at} if isinstance(seed, int) else parameters


def _with_images(
    caller: Caller, attempt: Attempt, options: _Options, prompt: Any
) -> Callable[[Endpoint], Awaitable[list[Message]]]:
    """Return what gives the messages with their images, for each model in the form that its server takes."""
    images = [options.images] if isinstance(options.images, str) else options.images or []
    ready: dict[bool, list[Message]] = {}

    async def prepare(endpoint: Endpoint) -> list[Message]:
        form = endpoint.profile.image_addresses
        if form not in ready:
            found = await image_addresses(images, attempt.root, endpoint, None if attempt.offline else caller.wire)
            ready[form] = [*build_messages(options.system, options.messages or [], prompt, found)]
        return ready[form]

    return prepare


def _is_missing(image: str, catalog: Catalog) -> bool:
    if catalog.files is None or "{{" in image or image.startswith(("data:", "http://", "https://", "/")):
        return False
    clean = "/".join(part for part in image.split("/") if part not in ("", "."))
    return ".." not in clean.split("/") and clean not in catalog.files


def _answer_text(attempt: Attempt, answer: Completion | Choice) -> str:
    cut = answer.finish_reason == "length"
    if not answer.text.strip():
        raise TaskError(
            "the model answered with no text" + (": all of `max_tokens` went before it began" if cut else ""),
            code="answer-empty",
            hint="allow more `max_tokens`; reasoning uses them too" if cut else "retry, or reword the prompt",
            details={"finish_reason": answer.finish_reason},
        )
    if cut:
        attempt.log("log", "warning: the answer was cut off at `max_tokens`")
    return answer.text
