"""Making versions of a registered library, and pointing its aliases at those that deserve them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flex_dspy.versioning.version import Version, describe, identity

MODEL_TYPE = "flex-library"
NEWEST, BEST = "newest", "best"


def register(client: Any, name: str, model: Any, run_id: str, version: Version) -> Any:
    """Make the registered version of a logged model.

    Args:
        client: The store's client.
        name: The registered name; made where it does not exist.
        model: The logged model.
        run_id: The version's own run.
        version: What it is a version of.

    Returns:
        MLflow's ``ModelVersion``.
    """
    _make_registered_model(client, name)
    return client.create_model_version(
        name,
        # Not ``model_uri``: MLflow looks that up in the process's own store, which need not be this one.
        source=model.artifact_location,
        run_id=run_id,
        tags={**_tags(version), "model_id": model.model_id},
        description=describe(version),
        model_id=model.model_id,
        await_creation_for=30,
    )


def _make_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, tags={"flex_dspy.type": MODEL_TYPE})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tags(version: Version) -> dict[str, str]:
    """What ``best`` is decided by, and what the version is."""
    tags = {"dataset": version.dataset, "dataset_digest": version.dataset_digest}
    if "accuracy" in version.metrics:
        tags["accuracy"] = str(float(version.metrics["accuracy"]))
    return identity(version) | tags


def set_aliases(client: Any, registered: Any) -> None:
    """Point ``newest`` and ``best`` at a registered version where it deserves them.

    Only a higher number can take an alias over, so that doing this again for an old version changes nothing.

    Args:
        client: The store's client.
        registered: The version.
    """
    name, number = registered.name, int(registered.version)
    newest = _holder(client, name, NEWEST)
    if newest is None or number > int(newest.version):
        client.set_registered_model_alias(name, NEWEST, str(number))
    best = _holder(client, name, BEST)
    if (best is None or number > int(best.version)) and _is_better(registered.tags, best.tags if best else None):
        client.set_registered_model_alias(name, BEST, str(number))


def _holder(client: Any, name: str, alias: str) -> Any | None:
    """The version that an alias points at: one row, where the registered model costs all its versions to read."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return None


def _is_better(tags: Mapping[str, str], held: Mapping[str, str] | None) -> bool:
    """Whether a version beats the holder of ``best``; in a tie the earlier, smaller library stays.

    Accuracies on different validation sets say nothing about each other: a new set begins a new contest.
    """
    if "accuracy" not in tags or held is None:
        return "accuracy" in tags
    # A set is its content: it may be named by another path, or once had no name.
    told = "dataset_digest" if tags.get("dataset_digest") and held.get("dataset_digest") else "dataset"
    if tags.get(told) != held.get(told):
        return True
    return float(tags["accuracy"]) > float(held.get("accuracy", "-inf"))
