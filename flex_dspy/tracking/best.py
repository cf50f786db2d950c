"""Describes which registered version is the best, and whether it is from this run."""

from __future__ import annotations

from collections.abc import Sequence

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.answer_errors import MAX_ERRORS
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.tracking.registration import BEST, is_comparable
from flex_dspy.tracking.registry import RegisteredVersion, list_versions


def best_text(name: str, run_id: str, tracking_uri: str | None = None, max_errors: float = MAX_ERRORS) -> str:
    """A text that says which version ``NAME@best`` is, and which version of this run is its best.

    Args:
        name: The registered name.
        run_id: MLflow's id of this run.
        tracking_uri: The tracking store; None for MLflow's own choice.
        max_errors: Largest share of errors in [0, 1] with which a version can be ``best``.
    """
    try:
        versions = list_versions(name, tracking_uri)
    except ConfigurationError as error:
        return f"{name}: the versions cannot be read. {error}"
    best = next((version for version in versions if BEST in version.aliases), None)
    own = [version for version in versions if version.tags.get("learning_run") == run_id]
    if best is None:
        return f"{name}@newest; no version is best, as none was measured with few enough errors"
    if best in own:
        return f"{name}@{BEST} is {_version_name(best)}, from this run"
    return f"{name}@{BEST} is {_version_name(best)}, from another run; {_best_of(own, max_errors)}"


def _best_of(own: Sequence[RegisteredVersion], max_errors: float) -> str:
    measured = [version for version in own if is_comparable(version.tags, max_errors)]
    if not measured:
        return "no version of this run was measured with few enough errors"
    best = max(measured, key=lambda version: (float(version.tags["accuracy"]), -version.number))
    return f"this run's best is {_version_name(best)}"


def _version_name(version: RegisteredVersion) -> str:
    if "accuracy" not in version.tags:
        return f"version {version.number}"
    score = version.tags.get("score", ACCURACY)
    text = named_score_text(score, float(version.tags["accuracy"]))
    return f"version {version.number} ({text if score == ACCURACY else f'{score} {text}'})"
