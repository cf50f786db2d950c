"""Language models by name."""

import json

import dspy
import pytest

from flex_dspy.errors import ConfigurationError
from flex_dspy.lm import is_offline, language_model
from tests.llm_server import LLMServer


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = lambda role, inputs, messages: {"answer": "42"}
    return llm_server


def asked(lm: dspy.LM) -> str:
    with dspy.context(lm=lm):
        return dspy.Predict("question -> answer")(question="6*7?").answer


@pytest.mark.parametrize("name", ["offline", "offline/", "offline/chemist"])
def test_the_tasks_offline_expert(name):
    lm = language_model(name, expert="chemist")
    assert lm.model == "offline/chemist"
    assert is_offline(lm)
    assert lm.cache is False


@pytest.mark.parametrize(
    ("name", "expert", "message"),
    [
        ("offline", None, "no offline expert for this task yet"),
        ("offline/alchemist", "chemist", "no offline expert 'alchemist'"),
        ("offline", "alchemist", "no offline expert 'alchemist'"),
    ],
)
def test_an_expert_that_does_not_exist(name, expert, message):
    with pytest.raises(ConfigurationError, match=f"{message}.*--lm openai/"):
        language_model(name, expert=expert)


@pytest.mark.parametrize("name", ["", "openai/"])
def test_what_is_no_model_string(name):
    with pytest.raises(ConfigurationError, match="no model string"):
        language_model(name)


def test_key_and_address_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("API_KEY", "from-the-environment")
    monkeypatch.setenv("BASE_URL", server.url)
    lm = language_model("openai/some-model", temperature=0.5, max_tokens=100)
    assert not is_offline(lm)
    assert asked(lm) == "42"
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer from-the-environment"
    assert request.body["model"] == "some-model"
    assert request.body["temperature"] == 0.5
    assert 100 in (request.body.get("max_tokens"), request.body.get("max_completion_tokens"))


def test_a_given_address_goes_before_the_environments(server, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    monkeypatch.setenv("BASE_URL", "http://127.0.0.1:9/v1")
    assert asked(language_model("openai/some-model", api_base=server.url)) == "42"


def test_settings_that_are_not_given_are_not_sent(server, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    asked(language_model("openai/some-model", api_base=server.url))
    assert not {"temperature", "max_tokens", "max_completion_tokens"} & set(server.requests[0].body)


def test_the_key_is_in_no_saved_program(server, monkeypatch, tmp_path):
    monkeypatch.setenv("API_KEY", "very-secret")
    program = dspy.Predict("question -> answer")
    program.set_lm(language_model("openai/some-model", api_base=server.url))
    program.save(tmp_path / "program.json")
    saved = (tmp_path / "program.json").read_text()
    assert json.loads(saved)["lm"]["model"] == "openai/some-model"
    assert "very-secret" not in saved
