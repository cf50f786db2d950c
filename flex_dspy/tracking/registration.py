"""Registers versions of a library, and sets the aliases ``newest`` and ``best``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.answer_errors import MAX_ERRORS, error_share
from flex_dspy.learning.version import Version
from flex_dspy.tracking.guide import registry_note
from flex_dspy.tracking.mlflow_store import pages
from flex_dspy.tracking.promotion import Promote, Scores, is_better
from flex_dspy.tracking.unlogged import RunNotes
from flex_dspy.tracking.version import describe, identity

MODEL_TYPE = "flex-library"
NEWEST, BEST = "newest", "best"


def register(client: Any, name: str, model: Any, run_id: str, version: Version) -> Any:
    """Register a logged model as a version.

    Args:
        client: The store's client.
        name: The registered name, which exists.
        model: The logged model.
        run_id: The version's own run.
        version: The version.

    Returns:
        MLflow's ``ModelVersion``.
    """
    return client.create_model_version(
        name,
        # Not ``model_uri``, because MLflow looks that up in the process's own store, which may be another store.
        source=model.artifact_location,
        run_id=run_id,
        tags={**_tags(version), "model_id": model.model_id, "learning_run": model.source_run_id},
        description=describe(version),
        model_id=model.model_id,
        await_creation_for=30,
    )


def make_registered_model(client: Any, name: str) -> None:
    """Make a registered name unless it exists.

    Args:
        client: The store's client.
        name: The registered name.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, {"flex_dspy.type": MODEL_TYPE}, registry_note(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tags(version: Version) -> dict[str, str]:
    """Tags that identify the version and decide about ``best``. MLflow keeps their order, so hashes come last."""
    tags = {}
    if "accuracy" in version.metrics:
        tags["accuracy"] = f"{float(version.metrics['accuracy']):.6g}"
        tags["errors"] = f"{version.metrics.get('errors', 0):.0f}"
        if version.metrics.get("errors"):
            tags["error_share"] = f"{error_share(version.metrics):.4f}"
    if version.score != ACCURACY:
        tags["score"] = version.score
    named = identity(version)
    tags["step"] = named.pop("step")
    measured = {"dataset": version.dataset, "dataset_digest": version.dataset_digest}
    return tags | {name: value for name, value in measured.items() if value} | named


def update(client: Any, registered: Any, version: Version) -> Any:
    """Replace the measurements in the tags and the description of a registered version.

    Returns:
        MLflow's ``ModelVersion``, as it is now.
    """
    name, number = registered.name, str(registered.version)
    tags = _tags(version)
    if "error_share" in registered.tags and "error_share" not in tags:
        client.delete_model_version_tag(name, number, "error_share")
    for key, value in tags.items():
        if registered.tags.get(key) != value:
            client.set_model_version_tag(name, number, key, value)
    client.update_model_version(name, number, describe(version))
    return client.get_model_version(name, number)


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule for the best version; see ``flex_dspy.tracking.promotion``.

    Attributes:
        promote: When ``best`` moves.
        max_errors: Largest share of errors in [0, 1] with which a version can be ``best``.
    """

    promote: Promote = "best"
    max_errors: float = MAX_ERRORS


ReadScores = Callable[[Any], Scores]  # the score of each example of a registered version; empty if not known


def set_aliases(client: Any, registered: Any, rule: Rule, scores: ReadScores) -> None:
    """Point ``newest`` and ``best`` at a registered version if the rule allows it.

    An alias moves only to a higher number, so that a repeated call for an old version changes nothing.

    Args:
        client: The store's client.
        registered: The version.
        rule: The rule for the best version.
        scores: Function that reads the scores of a version.
    """
    name, number = registered.name, int(registered.version)
    newest = _holder(client, name, NEWEST)
    if newest is None or number > int(newest.version):
        client.set_registered_model_alias(name, NEWEST, str(number))
    if rule.promote == "never" or not is_comparable(registered.tags, rule.max_errors):
        return
    best = _holder(client, name, BEST)
    if best is None or (number > int(best.version) and _is_better(registered, best, rule, scores)):
        client.set_registered_model_alias(name, BEST, str(number))


def choose_best(client: Any, registered: Any, rule: Rule) -> None:
    """Choose the version for ``best`` again, after a version was measured again.

    Args:
        client: The store's client.
        registered: The version that was measured again. If the present ``best`` was measured on another validation set,
            nothing changes.
        rule: The rule for the best version. With ``significant``, the present ``best`` stays if it can still be best.
    """
    name = registered.name
    holder = _holder(client, name, BEST)
    if rule.promote == "never" or (holder is not None and not _same_set(registered.tags, holder.tags)):
        return
    if rule.promote == "significant" and holder is not None and is_comparable(holder.tags, rule.max_errors):
        return
    rivals = [each for each in versions_of(client, name) if is_comparable(each.tags, rule.max_errors)]
    rivals = [each for each in rivals if _same_set(registered.tags, each.tags)]
    if rivals:
        best = max(rivals, key=lambda each: (float(each.tags["accuracy"]), -int(each.version)))
        client.set_registered_model_alias(name, BEST, str(best.version))
    elif holder is not None:
        client.delete_registered_model_alias(name, BEST)


def find_empty(client: Any, notes: RunNotes, version: Version) -> Any | None:
    """The registered version of the empty library of the same task and model, measured without errors; or None.

    Args:
        client: The store's client.
        notes: The run's names and parameters.
        version: The version of the empty library.
    """
    for found in versions_of(client, notes.registered_name):
        if found.tags.get("hash") == version.library.hash and found.tags.get("model_id"):
            model = client.get_logged_model(found.tags["model_id"])
            if model.params.get("lm actor", "") == notes.params.get("actor", "") and found.tags.get("errors") == "0":
                return found
    return None


def versions_of(client: Any, name: str) -> list[Any]:
    """All versions of a registered name, with their tags."""
    return list(pages(client.search_model_versions, f"name = '{name}'"))


def is_comparable(tags: Mapping[str, str], max_errors: float) -> bool:
    """Whether a version was measured with few enough errors."""
    return "accuracy" in tags and float(tags.get("error_share", 0)) <= max_errors


def _same_set(tags: Mapping[str, str], held: Mapping[str, str]) -> bool:
    """Whether two versions were measured on the same examples.

    Only the content counts: the same set may have another path as its name, or no name in older versions.
    """
    told = "dataset_digest" if tags.get("dataset_digest") and held.get("dataset_digest") else "dataset"
    return tags.get(told) == held.get(told)


def _holder(client: Any, name: str, alias: str) -> Any | None:
    """The version that an alias points to. This reads one row; the registered model would read all its versions."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return None


def _is_better(new: Any, held: Any, rule: Rule, scores: ReadScores) -> bool:
    """Whether a version is better than the present ``best``; in a tie the earlier, smaller library stays."""
    is_same_set = _same_set(new.tags, held.tags)
    if is_same_set and (rule.promote != "significant" or _score(new) <= _score(held)):
        return _score(new) > _score(held)  # this needs no file
    verdict = is_better(scores(new), scores(held), rule.promote)
    if verdict is not None:
        return verdict
    if is_same_set:
        return False  # without records nothing shows that the difference is not chance
    # Their examples are not known, or they share none. The new set then begins a new contest.
    return rule.promote == "best"


def _score(registered: Any) -> float:
    return float(registered.tags.get("accuracy", "-inf"))
