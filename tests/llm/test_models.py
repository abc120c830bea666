"""Names of models: where they lead, which key goes along, and what is said when they lead nowhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autoglm.base.errors import TaskError
from autoglm.llm.models import BUILT_IN, known_model, resolve_model, suggest_model
from autoglm.spec.model import ModelSpec

KEY = {"ZHIPUAI_API_KEY": "zhipu-key-000"}


def failure(*args) -> TaskError:
    with pytest.raises(TaskError) as caught:
        resolve_model(*args)
    assert not caught.value.retryable
    return caught.value


class TestBuiltIn:
    @pytest.mark.parametrize("name", sorted(BUILT_IN))
    def test_they_are_zhipus(self, name):
        endpoint = resolve_model(name, {}, {}, KEY)
        assert endpoint.base_url == "https://open.bigmodel.cn/api/paas/v4/"
        assert endpoint.api_key == "zhipu-key-000"
        assert endpoint.model == BUILT_IN[name].model
        assert endpoint.profile.name == "zhipu"

    def test_a_zai_key_leads_to_the_other_address(self):
        endpoint = resolve_model("AutoGLM-Chat", {}, {}, {"ZAI_API_KEY": "z"})
        assert endpoint.base_url == "https://api.z.ai/api/paas/v4/"

    @pytest.mark.parametrize("variable", ["AUTOGLM_BASE_URL", "ZHIPUAI_BASE_URL"])
    def test_the_environment_moves_them(self, variable):
        endpoint = resolve_model("AutoGLM-Base", {}, {}, {**KEY, variable: "http://gateway:8000/v1"})
        assert endpoint.base_url == "http://gateway:8000/v1/"
        assert endpoint.api_key == "zhipu-key-000"

    def test_elsewhere_no_key_is_needed(self):
        assert resolve_model("AutoGLM-Base", {}, {}, {"AUTOGLM_BASE_URL": "http://127.0.0.1:1/v1"}).api_key is None

    def test_the_environment_chooses_the_model_behind_the_name(self):
        assert resolve_model("AutoGLM-Chat", {}, {}, {**KEY, "AUTOGLM_CHAT_MODEL": "glm-5"}).model == "glm-5"

    def test_without_a_key_the_three_ways_out_are_named(self):
        error = failure("AutoGLM-Chat", {}, {}, {"ZHIPUAI_API_KEY": "  "})
        assert error.code == "model-key-missing"
        assert "ZHIPUAI_API_KEY or ZAI_API_KEY" in error.message
        assert "ZHIPUAI_API_KEY" in error.hint
        assert "ollama/" in error.hint
        assert "`models:`" in error.hint
        assert "--offline" in error.hint

    def test_a_catalog_that_lists_them_changes_nothing(self):
        environment = {**KEY, "AUTOGLM_BASE_URL": "http://here/v1"}
        assert resolve_model("AutoGLM-Chat", {}, BUILT_IN, environment).base_url == "http://here/v1/"


class TestPrefixes:
    def test_openai(self):
        endpoint = resolve_model("openai/gpt-x", {}, {}, {"OPENAI_API_KEY": "sk\n"})
        assert (endpoint.model, endpoint.base_url) == ("gpt-x", "https://api.openai.com/v1/")
        assert endpoint.api_key == "sk"
        moved = resolve_model("openai/gpt-x", {}, {}, {"OPENAI_BASE_URL": "http://box/v1"})
        assert moved.base_url == "http://box/v1/"

    @pytest.mark.parametrize(
        ("host", "address"),
        [
            (None, "http://127.0.0.1:11434/v1/"),
            ("0.0.0.0", "http://127.0.0.1:11434/v1/"),
            ("box:1234", "http://box:1234/v1/"),
            (":1234", "http://127.0.0.1:1234/v1/"),
            ("https://ollama.example.org", "https://ollama.example.org:443/v1/"),
            ("http://box:5/v1/", "http://box:5/v1/"),
            ("http://[::1]:5", "http://[::1]:5/v1/"),
        ],
    )
    def test_ollama_hosts(self, host, address):
        endpoint = resolve_model("ollama/qwen3:8b", {}, {}, {"OLLAMA_HOST": host} if host else {})
        assert (endpoint.model, endpoint.base_url, endpoint.api_key) == ("qwen3:8b", address, None)

    def test_vllm_names_may_hold_slashes(self):
        endpoint = resolve_model("vllm/Qwen/Qwen3-8B", {}, {}, {"VLLM_API_KEY": "k"})
        assert (endpoint.model, endpoint.api_key) == ("Qwen/Qwen3-8B", "k")

    @pytest.mark.parametrize("host", ["box:no", "http://box:99999", "http://["])
    def test_a_broken_host_is_named(self, host):
        assert failure("ollama/x", {}, {}, {"OLLAMA_HOST": host}).code == "model-address-invalid"


class TestDeclared:
    def test_the_file_comes_before_the_project(self):
        near, far = ModelSpec(base_url="http://near/v1"), ModelSpec(base_url="http://far/v1")
        assert resolve_model("m", {"m": near}, {"m": far}, {}).base_url == "http://near/v1/"
        assert resolve_model("m", {}, {"m": far}, {}).base_url == "http://far/v1/"

    def test_everything_it_says_arrives(self):
        spec = ModelSpec(
            base_url="http://box/v1?version=2",
            api_key="the-secret",
            headers={"X-Team": "a"},
            parameters={"temperature": 0.1},
            max_parallel=4,
            timeout="30s",
        )
        endpoint = resolve_model("mine", {"mine": spec}, {}, {})
        assert endpoint.model == "mine"
        assert endpoint.base_url == "http://box/v1/?version=2"
        assert endpoint.api_key == "the-secret"
        assert endpoint.headers == {"X-Team": "a"}
        assert endpoint.parameters == {"temperature": 0.1}
        assert (endpoint.max_parallel, endpoint.timeout) == (4, 30.0)
        assert "the-secret" not in repr(endpoint)

    def test_an_alias_is_laid_over_what_it_names(self):
        models = {
            "careful": ModelSpec(model="fast", parameters={"temperature": 0}, api_key="mine"),
            "fast": ModelSpec(model="AutoGLM-Chat", parameters={"temperature": 1, "top_p": 0.5}, timeout=9),
        }
        endpoint = resolve_model("careful", models, {}, {})
        assert endpoint.model == BUILT_IN["AutoGLM-Chat"].model
        assert endpoint.parameters == {"temperature": 0, "top_p": 0.5}
        assert (endpoint.api_key, endpoint.timeout) == ("mine", 9)

    def test_a_declaration_without_a_place_refines_the_same_name_farther_out(self):
        endpoint = resolve_model("AutoGLM-Chat", {"AutoGLM-Chat": ModelSpec(parameters={"seed": 1})}, {}, KEY)
        assert endpoint.parameters == {"seed": 1}
        assert endpoint.base_url.startswith("https://open.bigmodel.cn")

    def test_no_file_draws_a_key_to_its_own_address(self):
        for provider in (None, "zhipu", "openai"):
            spec = ModelSpec(provider=provider, base_url="https://elsewhere.example/v1")
            assert resolve_model("m", {"m": spec}, {}, {**KEY, "OPENAI_API_KEY": "sk"}).api_key is None

    def test_a_known_address_gets_its_profile(self):
        spec = ModelSpec(base_url="https://open.bigmodel.cn/api/paas/v4", api_key="k")
        assert resolve_model("m", {"m": spec}, {}, {}).profile.name == "zhipu"
        assert resolve_model("m", {"m": ModelSpec(base_url="http://x")}, {}, {}).profile.name == "compatible"

    def test_a_circle(self):
        models = {"a": ModelSpec(model="b"), "b": ModelSpec(model="a")}
        error = failure("a", models, {}, {})
        assert error.code == "model-declared-in-circle"
        assert "a → b → a" in error.message

    @pytest.mark.parametrize("spec", [ModelSpec(), ModelSpec(model="m"), ModelSpec(provider="compatible")])
    def test_one_that_says_no_place(self, spec):
        error = failure("m", {"m": spec}, {}, {})
        assert error.code == "unknown-model"
        assert "does not say where it is" in error.message

    @pytest.mark.parametrize(
        "url", ["box:8000/v1", "ftp://box", "http://", "http://a b", "", "http://box:0", "http://[", "http://a\nb"]
    )
    def test_an_address_that_is_none(self, url):
        assert failure("m", {"m": ModelSpec(base_url=url)}, {}, {}).code == "model-address-invalid"

    def test_a_login_in_an_address_is_not_shown(self):
        endpoint = resolve_model("m", {"m": ModelSpec(base_url="http://me:pass-word@box/v1?token=abc")}, {}, {})
        assert endpoint.address == "http://box/v1/"
        error = failure("m", {"m": ModelSpec(base_url="ftp://me:pass-word@box")}, {}, {})
        assert "pass-word" not in error.message

    def test_an_unknown_provider(self):
        error = failure("m", {"m": ModelSpec(provider="olama", model="x")}, {}, {})
        assert (error.code, error.hint) == ("unknown-model", "did you mean `ollama`?")


class TestUnknown:
    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("AutoGLM-Chta", "did you mean `AutoGLM-Chat`?"),
            ("autoglm-chat", "did you mean `AutoGLM-Chat`?"),
            ("olama/qwen3", "did you mean `ollama/qwen3`?"),
            ("fsat", "did you mean `fast`?"),
        ],
    )
    def test_a_near_miss(self, name, hint):
        models = {"fast": ModelSpec(base_url="http://x")}
        assert not known_model(name, models)
        assert suggest_model(name, models) == hint
        error = failure(name, models, {}, {})
        assert (error.code, error.hint) == ("unknown-model", hint)

    def test_a_far_miss_lists_what_there_is(self):
        hint = suggest_model("zzzzzz", {})
        assert "`AutoGLM-Base`" in hint
        assert "`ollama/…`" in hint

    @pytest.mark.parametrize("name", ["", "/", "openai/", "/x", "nobody/x"])
    def test_odd_names(self, name):
        assert not known_model(name, {})
        assert failure(name, {}, {}, {}).code == "unknown-model"

    def test_known_ones(self):
        assert known_model("AutoGLM-Base", {})
        assert known_model("openai/x", {})
        assert known_model("p", {}, {"p": ModelSpec(base_url="http://x")})


def test_naming_models_loads_no_http_client():
    code = (
        "import sys, autoglm.tasks.llm_generate; print({'aiohttp', 'jsonschema', 'urllib.request'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TestFurtherFields:
    def test_they_reach_the_endpoint_and_a_nearer_declaration_wins(self):
        far = ModelSpec(base_url="http://x/v1", connect_timeout=1, first_token_timeout=2, proxy="http://p:1", timeout=9)
        near = ModelSpec(model="far", first_token_timeout=3, context_tokens=4000, adapter="openai")
        got = resolve_model("near", {"near": near, "far": far}, {}, {})
        assert (got.connect_timeout, got.first_token_timeout, got.timeout) == (1, 3, 9)
        assert (got.proxy, got.context_tokens, got.adapter) == ("http://p:1", 4000, "openai")

    def test_a_proxy_that_is_no_address(self):
        with pytest.raises(TaskError) as caught:
            resolve_model("m", {"m": ModelSpec(base_url="http://x", proxy="over there")}, {}, {})
        assert caught.value.code == "model-address-invalid"
        assert "`proxy`" in caught.value.message

    def test_a_provider_that_bears_little_begins_with_little(self):
        key = {"ZHIPUAI_API_KEY": "k" * 12}
        assert resolve_model("zhipu/glm-4.7", {}, {}, key).max_parallel == 4
        many = ModelSpec(model="zhipu/glm-4.7", max_parallel=32)
        assert resolve_model("many", {"many": many}, {}, key).max_parallel == 32
        assert resolve_model("ollama/x", {}, {}, {}).max_parallel is None

    @pytest.mark.parametrize(
        ("name", "variable", "address"),
        [
            ("deepseek/deepseek-chat", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1/"),
            ("qwen/qwen3-max", "DASHSCOPE_API_KEY", "https://dashscope.aliyuncs.com/compatible-mode/v1/"),
        ],
    )
    def test_further_providers(self, name, variable, address):
        got = resolve_model(name, {}, {}, {variable: "k" * 12})
        assert (got.base_url, got.profile.name) == (address, name.partition("/")[0])
        assert resolve_model("llamacpp/tiny", {}, {}, {}).base_url == "http://127.0.0.1:8080/v1/"
