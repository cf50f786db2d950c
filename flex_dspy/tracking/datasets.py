"""Descriptions of example sets for MLflow: name, digest, source and size, never the content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from flex_dspy.core.secrets import redact_url
from flex_dspy.tracking.parameters import MAX_NAME

# MLflow's limit for a digest, in characters.
_MAX_DIGEST = 36
VALIDATION_MARK = "(validation) "


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A set of examples: name, digest, source and size.

    Attributes:
        name: The set's name for people.
        digest: Digest of its content; accuracies are compared only if it is the same.
        source: The origin: a split's name, a file or a hub id; empty if it is unknown.
        size: Number of examples; 0 if it is unknown.
    """

    name: str
    digest: str
    source: str = ""
    size: int = 0

    @classmethod
    def of(cls, source: str, digest: str, size: int, *, task: str) -> DatasetInfo:
        """Describe the set that was read from a source.

        Args:
            source: A split's name, a file or a hub id, as the user named it.
            digest: Digest of the examples.
            size: Number of examples.
            task: The task that is put before the bare name of a split.
        """
        named = Path(source).name if Path(source).exists() else source
        bare = named == source and not any(mark in source for mark in "/.@:")
        return cls(f"{task} {source}" if bare else redact_url(named), digest, source, size)

    def as_validation(self) -> Self:
        """The set with a name that comes first in MLflow's models list, whose columns are sorted by data set name."""
        return replace(self, name=f"{VALIDATION_MARK}{self.name}")

    def entity(self) -> Any:
        """The set as MLflow's own ``Dataset``."""
        from mlflow.entities import Dataset

        kind, source = _kind(redact_url(self.source or self.name))
        profile = json.dumps({"num_rows": self.size}) if self.size else None
        return Dataset(
            self.name[:MAX_NAME], self.digest[:_MAX_DIGEST] or "unknown", kind, json.dumps(source), None, profile
        )

    def input(self, context: str) -> Any:
        """The set as an input of a run.

        Args:
            context: Its use: ``training``, ``validation`` or ``evaluation``.
        """
        from mlflow.entities import DatasetInput, InputTag

        return DatasetInput(self.entity(), [InputTag("mlflow.data.context", context)])


def _kind(source: str) -> tuple[str, Mapping[str, Any]]:
    """A source in MLflow's form: its kind, and the parts of its link."""
    if Path(source).exists():
        return "local", {"uri": source}
    address, _, split = source.partition("@")
    path, _, config = address.partition(":")
    if path.count("/") == 1 and "." not in path.split("/")[0]:
        return "hf", {"path": path, "config_name": config or None, "split": split or None}
    return "code", {"tags": {"name": source}}
