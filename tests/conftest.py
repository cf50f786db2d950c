"""What every test stands on: nothing from the user's settings, nothing left behind, no network."""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.connections import close_connections
from tests.llm_server import LLMServer

if TYPE_CHECKING:
    import dspy

    from flex_dspy.offline.worker_process import Worker

# Without bytecode each process compiles thousands of modules again, which takes most of a run. Where it must not
# be written beside the sources, it goes into pytest's cache: for the test processes, and for all that they start.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Before dspy is imported: it reads these only then.
_CACHE = tempfile.mkdtemp(prefix="flex-dspy-tests-")
os.environ["DSPY_CACHEDIR"] = _CACHE
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

_SETTINGS = ("API_KEY", "BASE_URL", "DASK_SCHEDULER_ADDRESS", "OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: none of them is left to one process when the others have nothing to do.

    Of two processes each starts with its half of the tests. Those that import MLflow, which takes seconds, are at the
    start of the first half, and those that import litellm at the start of the second.
    """
    items.sort(key=lambda item: (not item.get_closest_marker("slow"), "mlflow_uri" not in item.fixturenames))
    litellm = [item for item in items if "litellm" in item.name]
    others = [item for item in items if "litellm" not in item.name]
    half = len(items) // 2
    items[:] = [*others[:half], *litellm, *others[half:]]


_fsync = os.fsync


def pytest_configure() -> None:
    """Let no commit wait for the disk, and no event loop begin by chance: some tests simulate a loss of power."""
    os.fsync = lambda file: os.fstat(file if isinstance(file, int) else file.fileno()) and None
    # litellm asks for an event loop outside of one. Without this line it gets a new one, which nobody closes.
    asyncio.set_event_loop(None)


def pytest_unconfigure() -> None:
    """Remove the cache folder."""
    os.fsync = _fsync
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


@pytest.fixture(autouse=True)
def _litellm_is_closed(request: pytest.FixtureRequest) -> Iterator[None]:
    """litellm leaves its connections open, beyond their event loop, where nothing can close them properly."""
    yield
    litellm = sys.modules.get("litellm")
    if litellm is not None and ("litellm" in request.node.name or litellm.in_memory_llm_clients_cache.cache_dict):
        close_connections()
        litellm.in_memory_llm_clients_cache.flush_cache()


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


@pytest.fixture(scope="module")
def no_figures() -> Iterator[None]:
    """Learning curves are empty files, and runs in MLflow have no charts of all curves.

    To draw one takes a fifth of a second, and these tests look at none.
    """

    def touch(points: object, path: Path, **options: object) -> Path:
        path.touch()
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flex_dspy.learning.records.learning_curve", touch)
        patch.setattr("flex_dspy.tracking.model_page.learning_curve", touch)
        patch.setattr("flex_dspy.tracking.tracker.log_curves", lambda client, run_id, rows: None)
        yield


@pytest.fixture(scope="session")
def _chemists() -> Iterator[Iterator[Worker]]:
    from flex_dspy.offline.worker_process import Worker

    class SharedWorker(Worker):
        def close(self) -> None:
            """Go on: other tests ask it too."""

    workers = [SharedWorker("chemist") for _ in range(2)]
    yield itertools.cycle(workers)
    for worker in workers:
        Worker.close(worker)


@pytest.fixture(scope="module")
def shared_chemists(_chemists: Iterator[Worker]) -> Iterator[None]:
    """The offline chemist of each run has the same two worker processes: to start them takes a second a run.

    They answer the same, whatever they were asked before; ``test_engine.py`` checks how they start and end.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flex_dspy.offline.engine.count_cores", lambda: 2)
        patch.setattr("flex_dspy.offline.engine.Worker", lambda expert: next(_chemists))
        yield


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One MLflow store for the whole session. Its tables take seconds: they are made once for all processes."""
    base = tmp_path_factory.getbasetemp()
    template = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mlflow-template.db"
    with FileLock(f"{template}.lock"):
        if not template.exists():
            _make_tables(template.with_suffix(".part"))
            template.with_suffix(".part").rename(template)
    uri = f"sqlite:///{shutil.copy(template, tmp_path_factory.mktemp('mlflow') / 'mlflow.db')}"
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "connect", _wait_for_no_disk)
    yield uri
    event.remove(Engine, "connect", _wait_for_no_disk)


def _wait_for_no_disk(connection: object, record: object) -> None:
    """SQLite syncs by itself, about twenty times a version: no test of MLflow simulates a loss of power."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def _make_tables(path: Path) -> None:
    from flex_dspy.tracking.mlflow_store import prepare

    prepare()
    from mlflow.store.db.utils import _safe_initialize_tables, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(f"sqlite:///{path}")
    _safe_initialize_tables(engine)
    engine.dispose()
