"""Packs functions for workers. Programs, metrics and models are sent; keys, ledgers and limits are not.

This module uses cloudpickle, as Dask does. It replaces four kinds of objects:

    a ledger                 by a ``WorkerLedger``, whose charges come back with the result
    limits                   by limits that wait at the scheduler, for all processes together
    an offline expert        by the worker's own, with a single process, because there are many workers
    a retriever's library    by an empty one, because within a call each retriever reads the call's snapshot

A model whose pickled form would contain its key is refused.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import io
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle
import dspy

from flex_dspy.cluster.shared_limits import SharedLimits
from flex_dspy.cluster.worker_ledger import WorkerLedger
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.secrets import is_secret_name, url_secrets
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.limits import Limits
from flex_dspy.models.lm import LanguageModel, secrets_of
from flex_dspy.models.spending import Ledger
from flex_dspy.offline.engine import AsyncOfflineEngine
from flex_dspy.search.retrieval import ExperienceRetriever

# Settings of DSPy that belong to the process or to the running call.
_LOCAL_SETTINGS = frozenset(
    {"branch_idx", "callbacks", "caller_modules", "caller_predict", "flex_dspy", "send_stream", "stream_listeners"}
    | {"trace", "usage_tracker"}
)
_SHORTEST_SECRET = 8  # characters; shorter ones, such as ``none``, occur in many texts


class Keys:
    """Makes the keys that name a driver's ledgers and limits on workers and on the scheduler.

    Args:
        owner: Id of the driver's client.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._keys: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def of(self, thing: Ledger | Limits) -> str:
        """The key of a ledger or of limits."""
        return self._keys.setdefault(thing, f"{self._owner}/{secrets.token_hex(8)}")


@dataclass(frozen=True)
class Packed:
    """A function, packed for workers.

    Attributes:
        digest: Its name among the workers.
        content: The function and DSPy's settings, pickled.
        ledgers: The ledgers that it charges, by key.
        limits: The limits that it waits for, by key.
        models: The language models that it asks.
    """

    digest: str
    content: bytes
    ledgers: Mapping[str, Ledger]
    limits: Mapping[str, Limits]
    models: tuple[dspy.LM, ...]


class _Packer(cloudpickle.Pickler):
    """Replaces the objects that must not be sent; see the module."""

    def __init__(self, file: io.BytesIO, keys: Keys) -> None:
        super().__init__(file)
        self.keys = keys
        self.ledgers: dict[str, Ledger] = {}
        self.limits: dict[str, Limits] = {}
        self.models: dict[int, dspy.LM] = {}

    def reducer_override(self, obj: Any) -> Any:
        """The replacement of an object; cloudpickle's own reduction if it is not replaced."""
        if isinstance(obj, Ledger):
            key = self.keys.of(obj)
            self.ledgers[key] = obj
            return WorkerLedger, (key, obj.budget_usd, obj.budget_tokens, obj.prices)
        if isinstance(obj, Limits):
            key = self.keys.of(obj)
            self.limits[key] = obj
            return SharedLimits, (key, obj.bounds)
        if isinstance(obj, AsyncOfflineEngine):
            return expert_engine, (obj.expert,)
        if isinstance(obj, ExperienceRetriever):
            return copyreg.__newobj__, (type(obj),), {**vars(obj), "source": ExperienceLibrary()}  # type: ignore[attr-defined]
        if isinstance(obj, dspy.LM):
            refuse_key(obj)
            refuse_batches(obj)
            self.models[id(obj)] = obj
        return super().reducer_override(obj)


@functools.cache
def expert_engine(expert: str) -> AsyncOfflineEngine:
    """The engine of an offline expert on a worker. All functions on the worker share its single process.

    Args:
        expert: Name of the expert.
    """
    return AsyncOfflineEngine(1, expert)


def pack(function: Any, keys: Keys) -> Packed:
    """Pack a function together with the current DSPy settings.

    Args:
        function: The function.
        keys: Keys of the driver's ledgers and limits.

    Raises:
        ConfigurationError: If a model in it holds a key, or something in it cannot be pickled.
    """
    settings = {name: value for name, value in dspy.settings.copy().items() if name not in _LOCAL_SETTINGS}
    file = io.BytesIO()
    packer = _Packer(file, keys)
    try:
        packer.dump((function, settings))
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{type(function).__name__} cannot be sent to a worker: {type(error).__name__}: {error}. A program, a "
            "metric and their settings must be picklable: make open files, locks and connections where they are used"
        ) from error
    content, models = file.getvalue(), tuple(packer.models.values())
    _check_no_secret(content, models)
    return Packed(hashlib.sha256(content).hexdigest(), content, packer.ledgers, packer.limits, models)


def unpack(content: bytes) -> tuple[Any, dict[str, Any]]:
    """A function and DSPy's settings, unpacked on a worker.

    It unpickles bytes that the driver packed. Dask unpickles the driver's functions in the same way.
    """
    function, settings = cloudpickle.loads(content)
    return function, settings


def refuse_key(model: dspy.LM) -> None:
    """Refuse a model whose pickled form would contain a key.

    Raises:
        ConfigurationError: If it would contain a key.
    """
    if found := sorted(set(_secret_settings(model))):
        raise ConfigurationError(
            f"{model.model} holds a secret ({', '.join(found)}), and keys are not sent to workers: set the key in the "
            "environment of the workers (API_KEY, or the provider's own variable) and leave it out here, or make the "
            "model by flex_dspy.language_model"
        )


def refuse_batches(model: dspy.LM) -> None:
    """Refuse a model that is asked in batches.

    Each worker would send batches of its own, and no run could resume them.

    Raises:
        ConfigurationError: If the model is asked in batches.
    """
    if getattr(model, "batches", None) is not None:
        raise ConfigurationError(
            f"{model.model} is asked in batches, which one process sends: leave out batch (--batch), or the cluster"
        )


def _secret_settings(model: dspy.LM) -> Iterator[str]:
    """Names of the model's settings that hold secrets and that would be pickled with it."""
    leaves_key = isinstance(model, LanguageModel)
    for name, value in _flat(model.kwargs):
        if value and is_secret_name(name.rpartition(".")[2], value) and not (leaves_key and name == "api_key"):
            yield name
        if isinstance(value, str) and not leaves_key and url_secrets(value):
            yield name


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _check_no_secret(content: bytes, models: tuple[dspy.LM, ...]) -> None:
    """Refuse bytes that contain a key of one of the models at any position."""
    for model in models:
        for secret in secrets_of(model):
            if len(secret) >= _SHORTEST_SECRET and secret.encode() in content:
                raise ConfigurationError(
                    f"the program or the metric holds the key of {model.model}, and keys are not sent to workers: read "
                    "it from the environment where it is used"
                )
