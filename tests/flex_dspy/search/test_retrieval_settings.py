"""One model holds the settings of a retriever: names, defaults and checks."""

import inspect
import subprocess
import sys

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.settings import RetrievalSettings


def test_a_retriever_takes_the_model_or_its_fields() -> None:
    settings = RetrievalSettings(k=3, views=("lexical",), quotas={"warning": 2})
    by_model, by_name = ExperienceRetriever(settings=settings), ExperienceRetriever(k=3, views=["lexical"])
    assert ExperienceRetriever(settings=settings, quotas=None).dump_state() == by_name.dump_state()
    assert (by_model.k, by_model.views, by_model.quotas) == (3, ["lexical"], {"warning": 2})


def test_the_settings_follow_the_attributes() -> None:
    retriever = ExperienceRetriever(k=3)
    retriever.k = 5
    assert retriever.settings.k == 5
    assert ExperienceRetriever(settings=retriever.settings).dump_state() == retriever.dump_state()


def test_numbers_keep_their_kind() -> None:
    assert ExperienceRetriever(diversity=1, zone_weights={"golden": 2}).dump_state() | {"library_hash": ""} == {
        **{"k": 8, "views": ["structural", "lexical"], "depth": 50, "token_budget": 4_000, "exclude_self": True},
        **{"zone_weights": {"golden": 2, "mixed": 0.9, "warning": 0.8}, "diversity": 1, "library_hash": ""},
    }


def test_doubles_are_one_and_levels_have_their_order() -> None:
    settings = RetrievalSettings(views=["lexical", "structural", "lexical"], levels=["trajectory", "method"])
    assert (settings.views, settings.levels) == (("lexical", "structural"), ("method", "trajectory"))


def test_every_fault_is_named() -> None:
    with pytest.raises(ConfigurationError, match="k must be at least 1, got 0; diversity must be at most 1, got 2"):
        RetrievalSettings(k=0, diversity=2)


def test_the_signature_shows_the_settings() -> None:
    assert inspect.signature(ExperienceRetriever).parameters["token_budget"].default == 4_000


def test_the_settings_need_nothing_heavy() -> None:
    heavy = {"dspy", "mlflow", "rdkit", "numpy", "pandas"}
    code = f"import sys, flex_dspy.search.settings; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
