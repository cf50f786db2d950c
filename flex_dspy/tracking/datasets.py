"""Sets of examples as MLflow is told of them: name, digest, source and size, never the content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from flex_dspy.core.secrets import redact_url
from flex_dspy.tracking.parameters import MAX_NAME

# MLflow's limit of a digest, in characters.
_MAX_DIGEST = 36
VALIDATION_MARK = "(validation) "


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A set of examples: name, digest, source and size.

    Attributes:
        name: What people call it.
        digest: Digest of its content: accuracies are compared only where it is the same.
        source: Where it came from: a split's name, a file or a hub id; empty where that is unknown.
        size: Number of examples; 0 where it is unknown.
    """

    name: str
    digest: str
    source: str = ""
    size: int = 0

    @classmethod
    def of(cls, source: str, digest: str, size: int, *, task: str) -> DatasetInfo:
        """The set that a source gave.

        Args:
            source: A split's name, a file or a hub id, as the user named it.
            digest: Digest of the examples.
            size: Their number.
            task: Says whose split a bare name is.
        """
        named = Path(source).name if Path(source).exists() else source
        bare = named == source and not any(mark in source for mark in "/.@:")
        return cls(f"{task} {source}" if bare else redact_url(named), digest, source, size)

    def as_validation(self) -> Self:
        """The set under a name that MLflow's models list puts first: it orders the columns of data sets by name."""
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
    """A source as MLflow writes it: its kind, and the parts of its link."""
    if Path(source).exists():
        return "local", {"uri": source}
    address, _, split = source.partition("@")
    path, _, config = address.partition(":")
    if path.count("/") == 1 and "." not in path.split("/")[0]:
        return "hf", {"path": path, "config_name": config or None, "split": split or None}
    return "code", {"tags": {"name": source}}
