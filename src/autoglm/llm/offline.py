"""The rehearsal stand-in behind ``--offline``: no model, no network, no cost.

It answers from the prompt alone, the same every time, so that a graph can be tried from end to end. It never stands in
unasked, and it says what it is: text begins with :data:`MARK`, and the usage of a call carries ``offline``.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoglm.base import jsonvalue
from autoglm.base.errors import TaskError
from autoglm.base.schemas import Schema, problems
from autoglm.llm.chat import Completion, Usage
from autoglm.llm.embeddings import EmbeddingRequest, Embeddings
from autoglm.llm.sampling import CannotSample, Sampler

if TYPE_CHECKING:
    from autoglm.llm.chat import Message

MARK = "[offline rehearsal]"
_TRIES = 12
_DIMENSIONS = 64
_MOST_LINES = 50

_COUNTED = re.compile(
    r"(?<![\w.])(\d{1,3}|two|three|four|five|six|seven|eight|nine|ten|[两三四五六七八九十])\s*(?:[个条道句行]|"
    r"(?:[\w-]+\s+){0,3}(?:questions?|items?|lines?|ideas?|titles?|points?|examples?|names?|queries|sentences?|keywords?))",
    re.IGNORECASE,
)
_NUMBERS = {
    word: number
    for words in (["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], "两三四五六七八九十")
    for number, word in enumerate(words, 2)
}
_QUESTION = re.compile(r"\b(?:questions?|queries)\b|问题|提问", re.IGNORECASE)
_LIST = re.compile(
    r"\b(?:list|lines|items|ideas|titles|points|examples|keywords|names|sentences)\b|列出|列表", re.IGNORECASE
)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[^\W\d_][\w'-]{3,}|[\u4e00-\u9fff]{2,6}")
_STOP_WORDS = frozenset(
    re.findall(
        r"\S+",
        """about above after again also answer answers because been before below between both could does each every
        following from generate give given have here into item items itself json just language line lines list make
        more most must need none only other over please prompt question questions queries return schema search section
        sentence sentences should some such text than that that's their them then there these they this those through
        title under using very want were what when where which while will with without word words would write your
        three four five seven eight nine""",
    )
)
_NOISE = re.compile(
    "请|生成|问题|列出|根据|关于|回答|以下|提出|一个|中文|每行|[两三四五六七八九十][个条句行]|[个条句行]"
)
"""What Chinese prompts are made of besides their topic."""

_QUESTION_FORMS = (
    "What is {0}?",
    "How does {0} relate to {1}?",
    "Why does {0} matter for {1}?",
    "When should one use {0} instead of {1}?",
    "Which problems does {0} solve?",
    "Who first described {0}, and how?",
    "Where does {0} meet {1} in practice?",
)
_QUESTION_FORMS_ZH = ("什么是{0}?", "{0}与{1}有什么关系?", "为什么{0}很重要?", "如何使用{0}?", "{0}能解决哪些问题?")
_STATEMENT_FORMS = (
    "{0} stands beside {1}",
    "Notes on {0} and {1}",
    "A first look at {0}",
    "From {0} to {1}",
    "What to know about {0}",
)
_STATEMENT_FORMS_ZH = ("关于{0}与{1}", "初识{0}", "从{0}到{1}", "{0}要点")
_FORMS: dict[tuple[bool, bool], Sequence[str]] = {
    (True, False): _QUESTION_FORMS,
    (True, True): _QUESTION_FORMS_ZH,
    (False, False): _STATEMENT_FORMS,
    (False, True): _STATEMENT_FORMS_ZH,
}
"""By (asks for questions, is Chinese)."""


def rehearse(
    model: str, messages: Sequence[Message], schema: Schema | None = None, *, seed: int | None = None
) -> Completion:
    """Return a stand-in answer; equal arguments give equal answers.

    With ``schema``, the text is JSON that fits it. Raises TaskError ``offline-unsupported-schema`` when no fitting
    value is found, and ``output-schema-invalid``.
    """
    key = jsonvalue.canonical([model, _spoken(messages), schema, seed])
    chance = random.Random(hashlib.sha256(key).digest())  # noqa: S311 - to vary the answers, not to protect anything
    prompt = _last_prompt(messages)
    topics = salient_words(prompt) or ["the topic"]
    if schema is None:
        text = f"{MARK}{_text(prompt, topics, chance)}"
    else:
        text = jsonvalue.encode(_fitting(schema, topics, chance)).decode()
    return Completion(text, finish_reason="stop", model=model)


def rehearse_embeddings(model: str, request: EmbeddingRequest) -> Embeddings:
    """Return stand-in vectors: of unit length, the same for equal texts, and closer for texts that share words.

    They have as many dimensions as the request asks for, else 64 (feature hashing of the words, Weinberger 2009).
    """
    asked = request.parameters.get("dimensions")
    size = asked if isinstance(asked, int) and 0 < asked <= 65_536 else _DIMENSIONS
    return Embeddings([_vector(text, size) for text in request.texts], Usage(reported=False), model)


def _vector(text: str, size: int) -> list[float]:
    vector = [0.0] * size
    words = re.findall(r"\w+", text.casefold()) or [text]
    for word in words:
        digest = hashlib.sha256(word.encode(errors="replace")).digest()
        vector[int.from_bytes(digest[:4]) % size] += 1.0 if digest[4] % 2 else -1.0
    length = sum(each * each for each in vector) ** 0.5
    if not length:  # words that cancel each other out
        vector[0], length = 1.0, 1.0
    return [each / length for each in vector]


def salient_words(text: str, limit: int = 12) -> list[str]:
    """Return the words a text is about: its frequent ones that are not everyday words, in order of appearance."""
    words = [word for word in _WORD.findall(_NOISE.sub(" ", text[:100_000])) if word.casefold() not in _STOP_WORDS]
    counts = Counter(word.casefold() for word in words)
    frequent = {word for word, _ in counts.most_common(limit)}
    shown: dict[str, str] = {}
    for word in words:
        if word.casefold() in frequent:
            shown.setdefault(word.casefold(), word)
    return list(shown.values())


def _spoken(messages: Sequence[Message]) -> list[list[str]]:
    return [[str(message.get("role")), _content(message)] for message in messages]


def _content(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        content = "\n".join(part for part in parts if isinstance(part, str))
    # A lone surrogate would be refused by a real server's wire; here it must not stop the hash.
    return str(content or "").encode(errors="replace").decode()


def _last_prompt(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return _content(message)
    return _content(messages[-1]) if messages else ""


def _text(prompt: str, topics: list[str], chance: random.Random) -> str:
    chinese = bool(_CHINESE.search(prompt))
    counted = _COUNTED.search(prompt)
    asks = bool(_QUESTION.search(prompt))
    forms = _FORMS[asks, chinese]
    if not (counted or asks or _LIST.search(prompt)):
        sentences = "; ".join(_lines(2, forms, topics, chance))
        return f" {sentences}."
    number = counted.group(1).lower() if counted else "3"
    count = _NUMBERS.get(number) or int(number)
    lines = _lines(min(max(count, 1), _MOST_LINES), forms, topics, chance)
    return "".join(f"\n{at}. {line}" for at, line in enumerate(lines, 1))


def _lines(count: int, forms: Sequence[str], topics: list[str], chance: random.Random) -> list[str]:
    """Return ``count`` lines, different as long as forms and topics allow."""
    pairs = [(form, at) for at in range(len(topics)) for form in forms]
    chance.shuffle(pairs)
    lines = []
    for at in range(count):
        form, topic = pairs[at % len(pairs)]
        line = form.format(topics[topic], topics[(topic + 1 + at // len(pairs)) % len(topics)])
        lines.append(line[0].upper() + line[1:])
    return lines


def _fitting(schema: Schema, topics: list[str], chance: random.Random) -> Any:
    """Return a value that fits ``schema``: made from it, then checked like any model's answer."""
    problems(None, schema)  # first of all, is it a schema?
    reason = "no value that was tried fits it"
    for _ in range(_TRIES):
        try:
            value = Sampler(schema, topics, chance).sample()
        except CannotSample as error:
            reason = str(error)
            continue
        wrong = problems(value, schema)
        if not wrong:
            return value
        reason = f"at `{wrong[0][0]}`: {wrong[0][1]}"
    raise TaskError(
        f"the offline rehearsal finds no value for the `output_schema`: {reason}",
        code="offline-unsupported-schema",
        retryable=False,
        hint="simplify the schema (patterns, `not`, `if`), or run without `--offline`",
    )
