"""What each kind of model server takes and how it answers, as data.

Zhipu: https://docs.bigmodel.cn (error codes, parameters); OpenAI: https://platform.openai.com/docs/api-reference/chat;
Ollama: https://docs.ollama.com/openai; vLLM: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html;
llama.cpp: https://github.com/ggml-org/llama.cpp/tree/master/tools/server; DeepSeek: https://api-docs.deepseek.com;
Qwen: https://help.aliyun.com/zh/model-studio (OpenAI compatibility, error codes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Form(StrEnum):
    """The ways to ask for structured output, best first; the last one always works: say it in the prompt."""

    JSON_SCHEMA = "json_schema"
    OBJECT_SCHEMA = "json_object_schema"
    """``json_object`` with the schema beside it, as llama.cpp and the servers built on it take it."""
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
class SchemaRules:
    """What a kind of server does with a JSON Schema that it is given natively."""

    refuses: frozenset[str] = frozenset()
    """Keywords that make it refuse the call, or worse: such a schema is said in the prompt instead."""
    ignores: frozenset[str] = frozenset()
    """Keywords that it does not enforce: that is left to our own check."""
    anchored_patterns: bool = False
    """True where a ``pattern`` must begin with ``^`` and end with ``$``."""
    closes: bool = False
    """True where it has a strict mode, for closed objects whose every property is required."""
    strict_refuses: frozenset[str] = frozenset()
    """Keywords that its strict mode refuses: such a schema is sent without it."""


@dataclass(frozen=True, slots=True)
class Batching:
    """The batch API of a provider."""

    path: str
    """What each line of a batch names as its address."""
    max_calls: int = 50_000
    max_bytes: int = 100_000_000


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
    takes_only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The values that it takes for a parameter: another one is left out, and said so in the log."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest value of numeric parameters, where narrower than OpenAI's."""
    max_stop: int | None = None
    """How many stop words it takes."""
    error_codes: Mapping[str, Meaning] = field(default_factory=dict)
    """Codes in the body of an error, which tell more than the status."""
    error_phrases: tuple[tuple[str, Meaning], ...] = (
        ("maximum context length", Meaning.PROMPT_TOO_LONG),
        ("context window", Meaning.PROMPT_TOO_LONG),
        ("exceeds the available context size", Meaning.PROMPT_TOO_LONG),
    )
    """Words in the message of a rejected request (400, 413, 422) that tell more than its status and code."""
    refusals: frozenset[str] = frozenset({"content_filter"})
    """Values of ``finish_reason`` that mean the server withheld the answer."""
    broken_off: Mapping[str, Meaning] = field(default_factory=dict)
    """Values of ``finish_reason`` that mean the server gave up in the middle."""
    reasoning_at: tuple[str, ...] = ("reasoning_content", "reasoning")
    """Fields of a message that hold what the model thought; the first that is there counts."""
    reasoning_tokens_at: tuple[str, ...] = ("completion_tokens_details/reasoning_tokens",)
    """Where in ``usage`` the tokens of its thoughts are counted."""
    cached_tokens_at: tuple[str, ...] = ("prompt_tokens_details/cached_tokens",)
    """Where in ``usage`` the tokens are counted that came out of the provider's own cache."""
    schema_rules: SchemaRules = SchemaRules()
    image_addresses: bool = True
    """False where images must be sent themselves, because it fetches none."""
    keeps_streams: bool = True
    """False where the connection may end with a streamed answer, though nobody said so: then it is not used again."""
    batching: Batching | None = None
    max_parallel: int | None = None
    """Calls under way to begin with, where more at once are known to be refused; None for any number."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a kind of server is, and where its key comes from."""

    name: str
    profile: Profile
    addresses: tuple[tuple[str, str], ...]
    """(environment variable of the key, base address that such a key belongs to); the first set variable wins."""
    address_variables: tuple[str, ...] = ()
    """Environment variables that override the address."""
    adapter: str | None = None
    """The client library that must call it, where it does not speak the OpenAI wire."""
    needs_key: bool = True
    """False for servers that people run themselves."""

    @property
    def key_variables(self) -> tuple[str, ...]:
        return tuple(variable for variable, _ in self.addresses if variable)


_GRAMMAR_IGNORES = frozenset(
    {
        *("not", "if", "then", "else", "dependentSchemas", "dependentRequired", "uniqueItems", "contains"),
        *("multipleOf", "minProperties", "maxProperties", "propertyNames", "patternProperties"),
        *("unevaluatedProperties", "unevaluatedItems"),
    }
)
"""What the grammars of llama.cpp, and so of Ollama, leave out (its json-schema-to-grammar)."""

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
    schema_rules=SchemaRules(
        closes=True,
        strict_refuses=frozenset(
            {
                *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"),
                *("patternProperties", "propertyNames", "contains", "uniqueItems", "minProperties", "maxProperties"),
                *("unevaluatedProperties", "unevaluatedItems", "default"),
            }
        ),
    ),
    batching=Batching("/v1/chat/completions", max_bytes=200_000_000),
)

COMPATIBLE = Profile(
    "compatible", forms=(Form.JSON_OBJECT, Form.PROMPT), error_codes=OPENAI.error_codes, keeps_streams=False
)
"""Any other server that speaks the OpenAI wire: its native forms are unknown, so JSON mode is the most we ask for."""

ZHIPU = Profile(
    "zhipu",
    forms=(Form.JSON_OBJECT, Form.PROMPT),
    renames={"max_completion_tokens": "max_tokens"},
    drops=frozenset(
        {
            *("name", "frequency_penalty", "presence_penalty", "stream_options", "logit_bias", "n"),
            *("logprobs", "top_logprobs"),
        }
    ),
    takes_only={"tool_choice": ("auto",)},
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
    broken_off={"network_error": Meaning.SERVER_ERROR, "model_context_window_exceeded": Meaning.PROMPT_TOO_LONG},
    batching=Batching("/v4/chat/completions"),
    max_parallel=4,
)
"""A burst of ten calls on one key draws mostly refusals: so it begins with few at once."""

OLLAMA = Profile(
    "ollama",
    renames={"max_completion_tokens": "max_tokens"},
    drops=frozenset({"tool_choice", "logit_bias", "n", "logprobs", "top_logprobs"}),
    image_addresses=False,
    schema_rules=SchemaRules(ignores=_GRAMMAR_IGNORES, anchored_patterns=True),
)

VLLM = Profile(
    "vllm",
    renames={"max_completion_tokens": "max_tokens"},
    schema_rules=SchemaRules(
        refuses=frozenset(
            {
                *("multipleOf", "uniqueItems", "contains", "minContains", "maxContains"),
                *("patternProperties", "propertyNames", "not", "if", "then", "else"),
            }
        )
    ),
)

LLAMACPP = Profile(
    "llamacpp",
    forms=(Form.OBJECT_SCHEMA, Form.JSON_OBJECT, Form.PROMPT),
    renames={"max_completion_tokens": "max_tokens"},
    drops=frozenset({"n"}),
    error_codes={
        "exceed_context_size_error": Meaning.PROMPT_TOO_LONG,
        "unavailable_error": Meaning.OVERLOADED,
        "authentication_error": Meaning.UNAUTHORIZED,
    },
    schema_rules=SchemaRules(ignores=_GRAMMAR_IGNORES, anchored_patterns=True),
    keeps_streams=False,
)

DEEPSEEK = Profile(
    "deepseek",
    forms=(Form.JSON_OBJECT, Form.PROMPT),
    renames={"max_completion_tokens": "max_tokens"},
    drops=frozenset({"n", "logit_bias", "seed"}),
    error_codes={"invalid_request_error": Meaning.REJECTED, "authentication_error": Meaning.UNAUTHORIZED},
    broken_off={"insufficient_system_resource": Meaning.OVERLOADED},
    cached_tokens_at=("prompt_cache_hit_tokens", "prompt_tokens_details/cached_tokens"),
)

QWEN = Profile(
    "qwen",
    forms=(Form.JSON_OBJECT, Form.PROMPT),
    renames={"max_completion_tokens": "max_tokens"},
    drops=frozenset({"logit_bias", "frequency_penalty"}),
    ranges={"temperature": (0.0, 2.0)},
    error_codes={
        "Arrearage": Meaning.NO_CREDIT,
        "insufficient_quota": Meaning.NO_CREDIT,
        "AllocationQuota.FreeTierOnly": Meaning.NO_CREDIT,
        "InvalidApiKey": Meaning.UNAUTHORIZED,
        "invalid_api_key": Meaning.UNAUTHORIZED,
        "AccessDenied": Meaning.UNAUTHORIZED,
        "ModelNotFound": Meaning.NOT_FOUND,
        "model_not_found": Meaning.NOT_FOUND,
        "DataInspectionFailed": Meaning.CONTENT_REFUSED,
        "data_inspection_failed": Meaning.CONTENT_REFUSED,
        "Throttling": Meaning.RATE_LIMITED,
        "Throttling.RateQuota": Meaning.RATE_LIMITED,
        "Throttling.BurstRate": Meaning.RATE_LIMITED,
        "Throttling.AllocationQuota": Meaning.RATE_LIMITED,
        "limit_requests": Meaning.RATE_LIMITED,
        "limit_burst_rate": Meaning.RATE_LIMITED,
    },
    error_phrases=(("Range of input length", Meaning.PROMPT_TOO_LONG), *COMPATIBLE.error_phrases),
    batching=Batching("/v1/chat/completions", max_bytes=500_000_000),
)

ANTHROPIC = Profile(
    "anthropic",
    forms=(Form.PROMPT,),
    renames={"max_completion_tokens": "max_tokens"},
    drops=frozenset(
        {
            *("n", "seed", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "presence_penalty"),
            *("stream_options", "response_format"),
        }
    ),
    ranges={"temperature": (0.0, 1.0)},
    error_codes={
        "rate_limit_error": Meaning.RATE_LIMITED,
        "overloaded_error": Meaning.OVERLOADED,
        "authentication_error": Meaning.UNAUTHORIZED,
        "permission_error": Meaning.UNAUTHORIZED,
        "billing_error": Meaning.NO_CREDIT,
        "not_found_error": Meaning.NOT_FOUND,
        "request_too_large": Meaning.PROMPT_TOO_LONG,
        "api_error": Meaning.SERVER_ERROR,
    },
    error_phrases=(("prompt is too long", Meaning.PROMPT_TOO_LONG), ("credit balance", Meaning.NO_CREDIT)),
)
"""The messages protocol, as the adapter of that name puts it into the OpenAI form."""

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
        Provider(
            "llamacpp",
            LLAMACPP,
            addresses=(("LLAMACPP_API_KEY", "http://127.0.0.1:8080/v1/"),),
            address_variables=("LLAMACPP_BASE_URL",),
            needs_key=False,
        ),
        Provider(
            "deepseek",
            DEEPSEEK,
            addresses=(("DEEPSEEK_API_KEY", "https://api.deepseek.com/v1/"),),
            address_variables=("DEEPSEEK_BASE_URL",),
        ),
        Provider(
            "anthropic",
            ANTHROPIC,
            addresses=(("ANTHROPIC_API_KEY", "https://api.anthropic.com/"),),
            address_variables=("ANTHROPIC_BASE_URL",),
            adapter="anthropic",
        ),
        Provider(
            "qwen",
            QWEN,
            addresses=(("DASHSCOPE_API_KEY", "https://dashscope.aliyuncs.com/compatible-mode/v1/"),),
            address_variables=("DASHSCOPE_BASE_URL",),
        ),
    )
}
