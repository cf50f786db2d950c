"""Making versions of a registered library, and pointing its aliases at those that deserve them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flex_dspy.evaluation.answer_errors import MAX_ERRORS, error_share
from flex_dspy.learning.version import Version
from flex_dspy.tracking.mlflow_store import pages
from flex_dspy.tracking.version import describe, identity

MODEL_TYPE = "flex-library"
NEWEST, BEST = "newest", "best"


def register(client: Any, name: str, model: Any, run_id: str, version: Version) -> Any:
    """Make the registered version of a logged model.

    Args:
        client: The store's client.
        name: The registered name; made where it does not exist.
        model: The logged model.
        run_id: The version's own run.
        version: The version.

    Returns:
        MLflow's ``ModelVersion``.
    """
    _make_registered_model(client, name)
    return client.create_model_version(
        name,
        # Not ``model_uri``: MLflow looks that up in the process's own store, which need not be this one.
        source=model.artifact_location,
        run_id=run_id,
        tags={**_tags(version), "model_id": model.model_id, "learning_run": model.source_run_id},
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
    """Tags that identify the version, and decide on ``best``."""
    tags = {"dataset": version.dataset, "dataset_digest": version.dataset_digest}
    if "accuracy" in version.metrics:
        tags["accuracy"] = str(float(version.metrics["accuracy"]))
        tags["errors"] = f"{version.metrics.get('errors', 0):.0f}"
        tags["error_share"] = f"{error_share(version.metrics):.4f}"
    return identity(version) | tags


def update(client: Any, registered: Any, version: Version) -> Any:
    """Replace the measurements in the tags and the description of a registered version.

    Returns:
        MLflow's ``ModelVersion``, as it is now.
    """
    name, number = registered.name, str(registered.version)
    for key, value in _tags(version).items():
        if registered.tags.get(key) != value:
            client.set_model_version_tag(name, number, key, value)
    client.update_model_version(name, number, describe(version))
    return client.get_model_version(name, number)


def set_aliases(client: Any, registered: Any, max_errors: float = MAX_ERRORS) -> None:
    """Point ``newest`` and ``best`` at a registered version where it deserves them.

    Only a higher number can take an alias over, so that doing this again for an old version changes nothing.

    Args:
        client: The store's client.
        registered: The version.
        max_errors: Share of errors from which on a version cannot be ``best``.
    """
    name, number = registered.name, int(registered.version)
    newest = _holder(client, name, NEWEST)
    if newest is None or number > int(newest.version):
        client.set_registered_model_alias(name, NEWEST, str(number))
    best = _holder(client, name, BEST)
    if not is_comparable(registered.tags, max_errors):
        return
    if (best is None or number > int(best.version)) and _is_better(registered.tags, best.tags if best else None):
        client.set_registered_model_alias(name, BEST, str(number))


def choose_best(client: Any, registered: Any, max_errors: float = MAX_ERRORS) -> None:
    """Point ``best`` at the version that deserves it, after one was measured again.

    Args:
        client: The store's client.
        registered: The version that was measured again. Where ``best`` is held in a contest on another validation set,
            nothing changes.
        max_errors: Share of errors from which on a version cannot be ``best``.
    """
    name = registered.name
    holder = _holder(client, name, BEST)
    if holder is not None and not _same_set(registered.tags, holder.tags):
        return
    rivals = [each for each in versions_of(client, name) if is_comparable(each.tags, max_errors)]
    rivals = [each for each in rivals if _same_set(registered.tags, each.tags)]
    if rivals:
        best = max(rivals, key=lambda each: (float(each.tags["accuracy"]), -int(each.version)))
        client.set_registered_model_alias(name, BEST, str(best.version))
    elif holder is not None:
        client.delete_registered_model_alias(name, BEST)


def versions_of(client: Any, name: str) -> list[Any]:
    """All versions of a registered name, with their tags."""
    return list(pages(client.search_model_versions, f"name = '{name}'"))


def is_comparable(tags: Mapping[str, str], max_errors: float) -> bool:
    """Whether a version was measured, with few enough errors."""
    return "accuracy" in tags and float(tags.get("error_share", 0)) <= max_errors


def _same_set(tags: Mapping[str, str], held: Mapping[str, str]) -> bool:
    """Whether two versions were measured on the same examples.

    A set is its content: it may be named by another path, or once had no name.
    """
    told = "dataset_digest" if tags.get("dataset_digest") and held.get("dataset_digest") else "dataset"
    return tags.get(told) == held.get(told)


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
    if not _same_set(tags, held):
        return True
    return float(tags["accuracy"]) > float(held.get("accuracy", "-inf"))
