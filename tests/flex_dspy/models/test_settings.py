"""Settings of a model: checked, shown, and written down without secrets."""

import inspect
import json
import subprocess
import sys

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.models.limits import Limits
from flex_dspy.models.lm import LanguageModel, language_model
from flex_dspy.models.settings import ModelSettings

ADDRESS = "https://bob:hunter2@host:8000/v1?api_key=abc"


def test_a_model_by_its_settings(monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    lm = language_model(settings=ModelSettings(name="openai/gpt-4o", temperature=0, retries=2, max_tokens=10))
    assert isinstance(lm, LanguageModel)
    assert (lm.model, lm.retries, lm.kwargs["temperature"], lm.kwargs["max_tokens"]) == ("openai/gpt-4o", 2, 0, 10)


def test_names_go_before_settings():
    settings = ModelSettings(name="openai/gpt-4o", temperature=0.5, retries=2)
    lm = language_model("openai/gpt-4o-mini", settings=settings, temperature=0)
    assert (lm.model, lm.retries, lm.kwargs["temperature"]) == ("openai/gpt-4o-mini", 2, 0)


def test_limits_are_the_models_own_unless_it_is_given_some():
    settings = ModelSettings(name="openai/gpt-4o", requests_per_minute=60, tokens_per_minute=1000, max_concurrency=4)
    bounds = {"requests_per_minute": 60, "tokens_per_minute": 1000, "concurrency": 4}
    assert language_model(settings=settings).limits.bounds == bounds
    shared = Limits(requests_per_minute=5)
    assert language_model(settings=settings, limits=shared).limits is shared


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 0}, "there is no setting 'temprature'"),
        ({"api_key": "k"}, "set the environment variable API_KEY"),
        ({"temperature": -1}, "temperature must be at least 0, got -1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"requests_per_minute": 0}, "requests_per_minute must be greater than 0"),
        ({"api_base": "host:8000"}, "the server's address must begin with http:// or https://"),
    ],
)
def test_settings_that_cannot_work(options, said):
    with pytest.raises(ConfigurationError, match=said):
        language_model("openai/gpt-4o", **options)


def test_an_address_that_is_refused_is_not_repeated():
    with pytest.raises(ConfigurationError) as caught:
        ModelSettings(api_base="bob:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_the_login_is_used_and_never_written():
    settings = ModelSettings(name="openai/test", api_base=ADDRESS)
    assert settings.api_base == ADDRESS
    assert json.loads(settings.model_dump_json())["api_base"] == "https://host:8000/v1"
    assert not any(secret in f"{settings!r} {settings}" for secret in ("hunter2", "abc"))
    assert "api_key" not in ModelSettings.model_fields


def test_every_setting_is_shown_and_explained():
    shown = inspect.signature(language_model).parameters
    assert {"name", "expert", "limits", "batches", "settings", *ModelSettings.model_fields} == set(shown)
    assert all(field.description for field in ModelSettings.model_fields.values())


def test_nothing_heavy_is_imported():
    code = "import sys, flex_dspy.models.settings; print({'dspy', 'mlflow', 'litellm', 'numpy'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
