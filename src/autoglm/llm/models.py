"""From the name of a model to where it is and how it is called.

1. A name is looked up in the file's ``models``, then the project's, then the built-in ones.
2. A name that none of them declares may be ``provider/model``: ``zhipu/…``, ``openai/…``, ``ollama/…`` and
   whatever else :data:`~autoglm.llm.profiles.PROVIDERS` lists.
3. A declaration with a ``base_url`` or a ``provider`` sends its ``model`` as written. One with neither is laid over
   what its ``model`` names (a name of 1 or 2), or over the same name in a farther table.
4. A key from the environment goes only to the provider's own address, or to one that the environment itself names. A
   ``base_url`` that a file gives gets the ``api_key`` that the file gives, so that no file can draw a key to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from autoglm.base.diagnostics import did_you_mean
from autoglm.base.errors import TaskError
from autoglm.llm.profiles import COMPATIBLE, PROVIDERS, Profile, Provider
from autoglm.spec.model import ModelLimits, ModelSpec

if TYPE_CHECKING:
    from autoglm.base.redaction import Secret

DEFAULT_MODEL = "AutoGLM-Chat"

BUILT_IN: Mapping[str, ModelSpec] = {
    "AutoGLM-Base": ModelSpec.model_construct(provider="zhipu", model="glm-4.5-air"),
    "AutoGLM-Chat": ModelSpec.model_construct(provider="zhipu", model="glm-4.7"),
}
_BUILT_IN_MODEL_VARIABLES = {"AutoGLM-Base": "AUTOGLM_BASE_MODEL", "AutoGLM-Chat": "AUTOGLM_CHAT_MODEL"}
_BUILT_IN_ADDRESS_VARIABLE = "AUTOGLM_BASE_URL"
_OLLAMA_PORT = 11434


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one address, ready to be called."""

    name: str
    """As the workflow file calls it."""
    model: str
    """As the server calls it."""
    base_url: str
    """Ends with ``/``."""
    profile: Profile
    api_key: Secret | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    max_parallel: int | None = None
    limits: ModelLimits | None = None
    timeout: float | None = None
    """Seconds for a whole call; None leaves it to the client."""
    connect_timeout: float | None = None
    first_token_timeout: float | None = None
    """Seconds a stream may be silent, before its first token and between two."""
    proxy: str | None = field(default=None, repr=False)
    """The proxy of this model; None leaves it to the environment."""
    context_tokens: int | None = None
    """How long prompt and answer may be together, where it is declared."""
    adapter: str | None = None
    """Which client calls it; None is our own."""
    key_variables: tuple[str, ...] = ()
    """Where its key would come from, for what we say when it is refused."""

    @property
    def address(self) -> str:
        """The base address as it may be shown: without credentials or query."""
        return shown_address(self.base_url)


def resolve_model(
    name: str,
    file_models: Mapping[str, ModelSpec],
    project_models: Mapping[str, ModelSpec],
    environment: Mapping[str, str],
) -> Endpoint:
    """Return where ``name`` is and how to call it.

    ``environment`` is where keys and addresses are looked up. Raises TaskError ``unknown-model``,
    ``model-key-missing``, ``model-address-invalid`` or ``model-declared-in-circle``; none of them is retryable.
    """
    declared = _declared(name, (file_models, project_models, BUILT_IN))
    spec, provider, model = declared.spec, _provider(name, declared), declared.model
    if spec.base_url is not None:
        base_url, api_key = _address(spec.base_url, f"the `base_url` of the model `{name}`"), _secret(spec.api_key)
        if provider is None and spec.adapter is not None:
            provider = PROVIDERS[spec.adapter.value]  # who names a library means the protocol it speaks
        profile = provider.profile if provider else _profile_at(base_url)
    elif provider is not None:
        base_url, api_key = _at_provider(name, declared, provider, environment)
        profile = provider.profile
    else:
        raise _unknown(name, name, (file_models, project_models, BUILT_IN))
    if declared.built_in:
        model = _lookup(environment, _BUILT_IN_MODEL_VARIABLES[declared.built_in]) or model
    return Endpoint(
        name,
        model,
        base_url,
        profile,
        api_key,
        headers=spec.headers,
        parameters=spec.parameters,
        max_parallel=spec.max_parallel or profile.max_parallel,
        limits=spec.limits,
        timeout=spec.timeout,
        connect_timeout=spec.connect_timeout,
        first_token_timeout=spec.first_token_timeout,
        proxy=_address(spec.proxy, f"the `proxy` of the model `{name}`").rstrip("/") if spec.proxy else None,
        context_tokens=spec.context_tokens,
        adapter=spec.adapter or (provider.adapter if provider else None),
        key_variables=provider.key_variables if provider else (),
    )


def stand_in(name: str) -> Endpoint:
    """Return the endpoint of a model that is rehearsed and never called."""
    return Endpoint(name, name, "offline:", COMPATIBLE)


def known_model(
    name: str, file_models: Mapping[str, ModelSpec], project_models: Mapping[str, ModelSpec] | None = None
) -> bool:
    """Tell whether ``name`` refers to a model, as far as can be told without the environment."""
    if name in file_models or name in (project_models or {}) or name in BUILT_IN:
        return True
    provider, slash, model = name.partition("/")
    return bool(slash and model and provider in PROVIDERS)


def suggest_model(
    name: str, file_models: Mapping[str, ModelSpec], project_models: Mapping[str, ModelSpec] | None = None
) -> str:
    """Return the hint for a name that refers to no model."""
    declared = {*BUILT_IN, *(project_models or ()), *file_models}
    provider, slash, model = name.partition("/")
    if slash and (close := did_you_mean(provider, PROVIDERS)):
        return f"did you mean `{close}/{model or 'MODEL'}`?"
    if close := did_you_mean(name, declared):
        return f"did you mean `{close}`?"
    known = ", ".join(f"`{each}`" for each in sorted(declared)[:8])
    prefixes = ", ".join(f"`{each}/…`" for each in PROVIDERS)
    return f"declare it under `models:`, or use one of {known}, or write {prefixes}"


def shown_address(url: str) -> str:
    """Return ``url`` without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True, slots=True)
class _Declared:
    """What the declarations that a name leads through say together."""

    spec: ModelSpec
    """Nearer declarations laid over farther ones; ``model`` is the server's name for it."""
    model: str
    built_in: str | None = None
    """The built-in name that it ends at."""


def _declared(name: str, tables: Sequence[Mapping[str, ModelSpec]]) -> _Declared:
    """Follow ``name`` through ``tables``, nearest first, to a declaration that says where the model is.

    One that does not say it is laid over what its ``model`` names, or over the same name in a farther table.
    """
    merged: ModelSpec | None = None
    asked, level, seen = name, 0, [name]
    while True:
        level = next((at for at in range(level, len(tables)) if asked in tables[at]), len(tables))
        if level == len(tables):
            prefix, _, model = asked.partition("/")
            if prefix in PROVIDERS and model:
                place = ModelSpec(provider=prefix)
                return _Declared(_overlay(merged, place) if merged else place, model)
            raise _unknown(name, asked, tables)
        spec = tables[level][asked]
        merged = _overlay(merged, spec) if merged else spec
        if spec.base_url is not None or spec.provider is not None:
            return _Declared(merged, spec.model or asked, asked if spec == BUILT_IN.get(asked) else None)
        if spec.model is None or spec.model == asked:
            level += 1
            continue
        asked, level = spec.model, 0
        if asked in seen:
            raise TaskError(
                f"the model `{name}` is declared in a circle: {' → '.join((*seen, asked))}",
                code="model-declared-in-circle",
                retryable=False,
                hint="let one of them name a `provider` or a `base_url`",
            )
        seen.append(asked)


_OVERLAID = (
    "max_parallel",
    "limits",
    "timeout",
    "connect_timeout",
    "first_token_timeout",
    "proxy",
    "context_tokens",
    "adapter",
)


def _nearer(near: ModelSpec, far: ModelSpec, name: str) -> Any:
    value = getattr(near, name)
    return getattr(far, name) if value is None else value


def _overlay(near: ModelSpec, far: ModelSpec) -> ModelSpec:
    return ModelSpec(
        provider=far.provider,
        base_url=far.base_url,
        api_key=near.api_key or far.api_key,
        headers={**far.headers, **near.headers},
        parameters={**far.parameters, **near.parameters},
        **{name: _nearer(near, far, name) for name in _OVERLAID},
    )


def _unknown(name: str, asked: str, tables: Sequence[Mapping[str, ModelSpec]]) -> TaskError:
    via = f", which `{name}` stands for," if asked != name else ""
    if any(asked in table for table in tables):
        message = f"the declaration of the model `{asked}`{via} does not say where it is"
        hint = "give it a `base_url`, a `provider`, or a `model` such as `ollama/qwen3`"
    else:
        message = f"the model `{asked}`{via} does not exist"
        hint = suggest_model(asked, *tables[:2])
    return TaskError(message, code="unknown-model", retryable=False, hint=hint)


def _provider(name: str, declared: _Declared) -> Provider | None:
    provider = declared.spec.provider
    if provider is None or provider == COMPATIBLE.name or provider in PROVIDERS:
        return PROVIDERS.get(provider or "")
    close = did_you_mean(provider, PROVIDERS)
    raise TaskError(
        f"the model `{name}` names the provider `{provider}`, which does not exist",
        code="unknown-model",
        retryable=False,
        hint=f"did you mean `{close}`?" if close else "leave `provider` out and give the server's `base_url`",
    )


def _at_provider(
    name: str, declared: _Declared, provider: Provider, environment: Mapping[str, str]
) -> tuple[str, Secret | None]:
    """Return the provider's address and key; what the environment says about the address wins."""
    found, base_url = _key_of(provider, environment)
    api_key = _secret(declared.spec.api_key) or found
    variables = provider.address_variables
    if declared.built_in:
        variables = (_BUILT_IN_ADDRESS_VARIABLE, *variables)
    for variable in variables:
        if address := _lookup(environment, variable):
            return _ollama_address(address) if variable == "OLLAMA_HOST" else _address(address, variable), api_key
    if api_key is None and provider.needs_key:
        wanted = " or ".join(provider.key_variables)
        raise TaskError(
            f"there is no key for the model `{name}`: {wanted} is not set",
            code="model-key-missing",
            retryable=False,
            hint=f"set {wanted}; or point `{name}` at another endpoint under `models:`, for instance "
            "`model: ollama/qwen3`; or rehearse without any model: `--offline`",
        )
    return base_url, api_key


def _key_of(provider: Provider, environment: Mapping[str, str]) -> tuple[Secret | None, str]:
    """Return the key that the environment holds for ``provider``, and the address that such a key belongs to."""
    for variable, base_url in provider.addresses:
        if variable and (key := _lookup(environment, variable)):
            return _secret(key), base_url
    return None, provider.addresses[0][1]


def _lookup(environment: Mapping[str, str], variable: str) -> str | None:
    """Return the variable without surrounding space (keys pasted into files end in newlines), None when empty."""
    return environment.get(variable, "").strip() or None


def _secret(key: str | None) -> Secret | None:
    from autoglm.base.redaction import Secret

    stripped = key.strip() if key else ""
    return Secret(stripped) if stripped else None


@lru_cache(maxsize=256)
def _profile_at(base_url: str) -> Profile:
    """Return the profile of the provider whose own address this is, else that of any compatible server."""
    host = urlsplit(base_url).hostname
    for provider in PROVIDERS.values():
        if provider.needs_key and any(urlsplit(address).hostname == host for _, address in provider.addresses):
            return provider.profile
    return COMPATIBLE


@lru_cache(maxsize=256)
def _address(url: str, origin: str) -> str:
    """Return ``url`` with a closing slash, checked. ``origin`` says where it was written."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or any(character.isspace() for character in text):
        shown = text if len(text) <= 80 and "@" not in text else "what it holds"
        raise TaskError(
            f"{origin} is not a web address: {shown!r}",
            code="model-address-invalid",
            retryable=False,
            hint="write it like http://127.0.0.1:8000/v1",
        )
    parts = urlsplit(text)
    path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _ollama_address(host: str) -> str:
    """Return the OpenAI-compatible address behind ``OLLAMA_HOST``: ``0.0.0.0``, ``box:11434``, ``http://box/``.

    A server that listens on every interface is called on the loopback one.
    """
    text = host if "://" in host else f"http://{host}"
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80 if "://" in host else _OLLAMA_PORT)
        name = parts.hostname or "127.0.0.1"
    except ValueError:
        return _address(host, "OLLAMA_HOST")
    if name in ("0.0.0.0", "::"):  # noqa: S104 - what people set for the server; a client cannot call it
        name = "127.0.0.1"
    shown = f"[{name}]" if ":" in name else name
    path = parts.path.rstrip("/").removesuffix("/v1")
    return _address(f"{parts.scheme}://{shown}:{port}{path}/v1", "OLLAMA_HOST")
