"""Registers validation sets as MLflow's evaluation data sets, with problems and references."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_jsonable_python

from flex_dspy.core.secrets import error_text
from flex_dspy.evaluation.records import Record

logger = logging.getLogger(__name__)
MOST_EXAMPLES = 5_000
_DIGEST = "flex_dspy.digest"


def register_set(client: Any, uri: str, experiment_id: str, name: str, digest: str, records: Sequence[Record]) -> None:
    """Make an evaluation data set from a validation set, unless the experiment has one with the same content.

    Some stores, such as plain files, do not support evaluation data sets. This is not an error.

    Args:
        client: The store's client.
        uri: The store's address.
        experiment_id: The experiment whose page lists it.
        name: The validation set's name.
        digest: Digest of its content.
        records: The records of a version that was measured on it.
    """
    examples = [record for record in records[:MOST_EXAMPLES] if record.sample == 0 and record.inputs]
    named = f"{name} {digest[:8]}"
    try:
        if not examples or client.search_datasets([experiment_id], f"name = '{named}'", max_results=1):
            return
        made = client.create_dataset(named, experiment_id, {_DIGEST: digest})
        _store(uri).upsert_dataset_records(made.dataset_id, [_as_dict(record) for record in examples])
    except Exception as error:  # it must not prevent the logging of the version
        logger.debug("MLflow did not take the validation set: %s", error_text(error))


def _store(uri: str) -> Any:
    """The store itself, because MLflow's ``merge_records`` writes into the process's store, which may be another."""
    from mlflow.tracking._tracking_service.utils import _get_store

    return _get_store(uri)


def _as_dict(record: Record) -> dict[str, Any]:
    inputs, labels = (to_jsonable_python(dict(part), fallback=str) for part in (record.inputs, record.labels))
    source: dict[str, Any] = {"source_type": "HUMAN" if labels else "CODE", "source_data": {}}
    return {"inputs": inputs, "expectations": labels, "tags": {"example": record.example_id}, "source": source}
