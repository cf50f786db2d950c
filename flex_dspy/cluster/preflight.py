"""Checks before the first call that the workers can do the work of this process.

Results are byte-identical only if the packages that affect them have the same versions. Another version of RDKit can
give other canonical SMILES, and another version of DSPy other prompts.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata

import dspy
from distributed import Client

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.models.lm import is_offline
from flex_dspy.models.providers import is_native, key_variables

_PACKAGES = ("flex-dspy", "dspy", "rdkit")


def versions() -> dict[str, str]:
    """The versions of all packages that affect results, by name. The function also runs on workers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def check_workers(client: Client) -> None:
    """Refuse a cluster that has no workers, or other package versions than this process.

    Raises:
        ConfigurationError: If the cluster is refused; the message names each difference.
    """
    there: Mapping[str, object] = client.run(versions, on_error="return")
    if not there:
        raise ConfigurationError("the cluster has no workers: start some with dask-worker, or use local:N")
    here = versions()
    problems = []
    for worker, found in there.items():
        if not isinstance(found, dict):
            problems.append(f"{worker} cannot import flex_dspy.cluster: {found}")
            continue
        problems += [
            f"{worker} has {name} {found.get(name)}, this process {version}"
            for name, version in here.items()
            if found.get(name) != version
        ]
    if problems:
        raise ConfigurationError("the workers differ from this process: " + "; ".join(problems))


def check_models(client: Client, models: Sequence[dspy.LM]) -> None:
    """Refuse workers that lack an API key which this process has in its environment.

    Raises:
        ConfigurationError: If a worker lacks a key; the message names the variables and never a value.
    """
    needed = {names for model in models if (names := _variables(model))}
    if not needed:
        return
    for worker, missing in client.run(missing_keys, sorted(needed)).items():
        if missing:
            wanted = "; ".join(" or ".join(names) for names in missing)
            raise ConfigurationError(f"worker {worker} has no key: set {wanted} in its environment")


def missing_keys(needed: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The groups in which no variable is set. The function runs on workers."""
    return [names for names in needed if not any(os.environ.get(name) for name in names)]


def _variables(model: dspy.LM) -> tuple[str, ...]:
    """The environment variables that may hold a model's key; empty if none of them is set here."""
    if is_offline(model):
        return ()
    names = ("API_KEY", *(key_variables(model) if is_native(str(model.model)) else ()))
    return names if any(os.environ.get(name) for name in names) else ()
