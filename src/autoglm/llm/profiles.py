"""What each kind of model server takes and how it answers, as data.

Zhipu: https://docs.bigmodel.cn (error codes, parameters); OpenAI: https://platform.openai.com/docs/api-reference/chat;
Ollama: https://docs.ollama.com/openai; vLLM: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Form(StrEnum):
    """The ways to ask for structured output, best first; the last one always works: say it in the prompt."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    PROMPT = "prompt"


class Meaning(StrEnum):
    """What a server's refusal means, whatever status and wording it came with."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    NO_CREDIT = "no_credit"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    PROMPT_TOO_LONG = "prompt_too_long"
    CONTENT_REFUSED = "content_refused"
    REJECTED = "rejected"
    SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class Profile:
    """How one kind of server speaks the OpenAI wire."""

    name: str
    forms: tuple[Form, ...] = (Form.JSON_SCHEMA, Form.JSON_OBJECT, Form.PROMPT)
    """What it does for structured output, best first."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Our parameter names to its own, where they differ."""
    drops: frozenset[str] = frozenset()
    """Parameters it does not know: left out of the request, and said so in the log."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest value of numeric parameters, where narrower than OpenAI's."""
    max_stop: int | None = None
    """How many stop words it takes."""
    error_codes: Mapping[str, Meaning] = field(default_factory=dict)
    """Codes in the body of an error, which tell more than the status."""
    refusals: frozenset[str] = frozenset({"content_filter"})
    """Values of ``finish_reason`` that mean the server withheld the answer."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a kind of server is, and where its key comes from."""

    name: str
    profile: Profile
    addresses: tuple[tuple[str, str], ...]
    """(environment variable of the key, base address that such a key belongs to); the first set variable wins."""
    address_variables: tuple[str, ...] = ()
    """Environment variables that override the address."""
    needs_key: bool = True
    """False for servers that people run themselves."""

    @property
    def key_variables(self) -> tuple[str, ...]:
        return tuple(variable for variable, _ in self.addresses if variable)


OPENAI = Profile(
    "openai",
    renames={"max_tokens": "max_completion_tokens"},
    error_codes={
        "insufficient_quota": Meaning.NO_CREDIT,
        "invalid_api_key": Meaning.UNAUTHORIZED,
        "model_not_found": Meaning.NOT_FOUND,
        "context_length_exceeded": Meaning.PROMPT_TOO_LONG,
        "content_policy_violation": Meaning.CONTENT_REFUSED,
    },
)

COMPATIBLE = Profile("compatible", forms=(Form.JSON_OBJECT, Form.PROMPT), error_codes=OPENAI.error_codes)
"""Any other server that speaks the OpenAI wire: its native forms are unknown, so JSON mode is the most we ask for."""

ZHIPU = Profile(
    "zhipu",
    forms=(Form.JSON_OBJECT, Form.PROMPT),
    renames={"max_completion_tokens": "max_tokens"},
    drops=frozenset({"name", "frequency_penalty", "presence_penalty", "stream_options", "logit_bias", "n"}),
    ranges={"temperature": (0.0, 1.0), "top_p": (0.0, 1.0)},
    max_stop=1,
    error_codes={
        "1000": Meaning.UNAUTHORIZED,
        "1001": Meaning.UNAUTHORIZED,
        "1002": Meaning.UNAUTHORIZED,
        "1003": Meaning.UNAUTHORIZED,
        "1004": Meaning.UNAUTHORIZED,
        "1113": Meaning.NO_CREDIT,
        "1211": Meaning.NOT_FOUND,
        "1261": Meaning.PROMPT_TOO_LONG,
        "1301": Meaning.CONTENT_REFUSED,
        "1302": Meaning.RATE_LIMITED,
        "1303": Meaning.RATE_LIMITED,
        "1305": Meaning.OVERLOADED,
    },
    refusals=frozenset({"content_filter", "sensitive"}),
)

OLLAMA = Profile(
    "ollama",
    renames={"max_completion_tokens": "max_tokens"},
    drops=frozenset({"tool_choice", "logit_bias", "n", "logprobs", "top_logprobs"}),
)

VLLM = Profile("vllm", renames={"max_completion_tokens": "max_tokens"})

PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "zhipu",
            ZHIPU,
            addresses=(
                ("ZHIPUAI_API_KEY", "https://open.bigmodel.cn/api/paas/v4/"),
                ("ZAI_API_KEY", "https://api.z.ai/api/paas/v4/"),
            ),
            address_variables=("ZHIPUAI_BASE_URL", "ZAI_BASE_URL"),
        ),
        Provider(
            "openai",
            OPENAI,
            addresses=(("OPENAI_API_KEY", "https://api.openai.com/v1/"),),
            address_variables=("OPENAI_BASE_URL",),
        ),
        Provider(
            "ollama",
            OLLAMA,
            addresses=(("", "http://127.0.0.1:11434/v1/"),),
            address_variables=("OLLAMA_HOST",),
            needs_key=False,
        ),
        Provider(
            "vllm",
            VLLM,
            addresses=(("VLLM_API_KEY", "http://127.0.0.1:8000/v1/"),),
            address_variables=("VLLM_BASE_URL",),
            needs_key=False,
        ),
    )
}
