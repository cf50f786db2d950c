"""What every test stands on: nothing from the user's settings, nothing left behind, no network."""

from __future__ import annotations

import copy
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.llm_server import LLMServer

if TYPE_CHECKING:
    import dspy

# Before dspy is imported: it reads these only then.
_CACHE = tempfile.mkdtemp(prefix="flex-dspy-tests-")
os.environ["DSPY_CACHEDIR"] = _CACHE
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

_SETTINGS = ("API_KEY", "BASE_URL", "OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: none of them is left to one process when the others have nothing to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_unconfigure() -> None:
    """Remove the cache folder."""
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*_SETTINGS, *(name for name in os.environ if name.startswith("MLFLOW_"))]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _own_dspy_settings() -> Iterator[None]:
    """Each test starts with DSPy's default settings and an empty cache in memory."""
    _reset_dspy()
    yield
    _reset_dspy()


def _reset_dspy() -> None:
    if "dspy" not in sys.modules:  # importing it takes seconds, and some tests do not need it
        return
    import dspy
    from dspy.dsp.utils.settings import DEFAULT_CONFIG

    dspy.configure(**copy.deepcopy(DEFAULT_CONFIG))
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)


@pytest.fixture
def llm_server() -> Iterator[LLMServer]:
    """A running server; set its ``script``."""
    with LLMServer() as server:
        yield server


@pytest.fixture
def lm(llm_server: LLMServer) -> dspy.LM:
    """The server's model, configured: no cache, no retries."""
    import dspy

    model = dspy.LM("openai/test", api_base=llm_server.url, api_key="test-key", cache=False, num_retries=0)
    dspy.configure(lm=model)
    return model


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for the whole session: making its tables takes ten seconds, at its first use."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
