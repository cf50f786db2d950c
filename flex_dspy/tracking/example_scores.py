"""Reads the score of each validation example of a version, from its records or from its page in MLflow."""

from __future__ import annotations

import csv
import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from flex_dspy.evaluation.records import Record
from flex_dspy.tracking.model_page import EXAMPLES_TABLE

logger = logging.getLogger(__name__)


def scores_of(records: Iterable[Record]) -> dict[str, float]:
    """The mean score of each example, by its id."""
    return _means((record.example_id, record.score) for record in records)


def read_scores(client: Any, uri: str, model_id: str | None) -> Mapping[str, float]:
    """The mean score of each example from a logged model's page; empty if the page has none.

    Args:
        client: The store's client.
        uri: The store's address.
        model_id: MLflow's id of the model; None for none.
    """
    from mlflow.artifacts import download_artifacts

    if model_id is None:
        return {}
    try:
        model = client.get_logged_model(model_id)
        with tempfile.TemporaryDirectory() as folder:
            source = f"{model.artifact_location}/{EXAMPLES_TABLE}"
            path = download_artifacts(source, dst_path=folder, tracking_uri=uri)
            with Path(path).open(encoding="utf-8", newline="") as file:
                return _means((row["example"], float(row["score"])) for row in csv.DictReader(file))
    except Exception as error:  # the version has no examples, or its files are gone
        logger.debug("the examples of model %s cannot be read: %s", model_id, type(error).__name__)
        return {}


def _means(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    scores = defaultdict(list)
    for example, score in pairs:
        scores[example].append(score)
    return {example: fmean(each) for example, each in scores.items()}
