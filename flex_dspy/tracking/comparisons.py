"""Links the runs of comparisons in MLflow with the versions that they compared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flex_dspy.tracking.logged import find_model
from flex_dspy.tracking.parameters import mlflow_name
from flex_dspy.tracking.registration import versions_of
from flex_dspy.tracking.version import rounded

if TYPE_CHECKING:
    from flex_dspy.evaluation.differences import Side

logger = logging.getLogger(__name__)

COMPARED_IN = "compared in"  # the tag of a registered version that names the newest comparison's run


def link_versions(client: Any, experiment_id: str, run_id: str, sides: Sequence[Side]) -> list[str]:
    """Link a comparison's run with the versions that it compared, in both directions.

    The versions become inputs of the run, with their accuracies. Their pages then show these accuracies with a link to
    the run. The registered versions get a tag with the run's id.

    Args:
        client: The store's client.
        experiment_id: The experiment that holds the versions and the run.
        run_id: The comparison's run.
        sides: The compared sides; sides that the store does not know are left out.

    Returns:
        Ids of the linked models.
    """
    from mlflow.entities import LoggedModelInput

    found = [(side, find_model(client, experiment_id, side.library)) for side in sides if side.library]
    known = [(side, model) for side, model in found if model is not None]
    ids = list(dict.fromkeys(model.model_id for _, model in known))
    if ids:
        client.log_inputs(run_id, None, [LoggedModelInput(each) for each in ids])
    for side, model in known:
        name, value = mlflow_name(f"compared/{side.name}"), rounded(side.evaluation.accuracy)
        client.log_metric(run_id, name, value, model_id=model.model_id)
        _tag_versions(client, model, run_id)
    return ids


def _tag_versions(client: Any, model: Any, run_id: str) -> None:
    name = model.tags.get("registered name") or f"flex-{model.params.get('task', '')}"
    for version in versions_of(client, name):
        if version.tags.get("model_id") == model.model_id:
            client.set_model_version_tag(name, str(version.version), COMPARED_IN, run_id)
