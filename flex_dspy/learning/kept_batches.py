"""Keeps the batches of a run in a file beside its library."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import dspy

from flex_dspy.learning.run_identity import models_of
from flex_dspy.libraries.paths import beside
from flex_dspy.models.batches import Batches


def keep_batches(roles: Iterable[dspy.Module], library: Path | None) -> None:
    """Keep the batches of a run's models in a file, so that a run that was killed can continue them.

    Args:
        roles: The programs of the run.
        library: The library's file; None keeps no batches.

    Raises:
        RunError: If the file of an earlier start is damaged.
    """
    if library is None:
        return
    for model in (model for role in roles for model in models_of(role)):
        if isinstance(batches := getattr(model, "batches", None), Batches):
            batches.keep_in(beside(library, "batches.jsonl"))
