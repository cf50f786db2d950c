"""A version in words: for MLflow's lists, tags and pages."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from flex_dspy.evaluation.answer_errors import errors_text
from flex_dspy.evaluation.intervals import score_text
from flex_dspy.learning.version import Version
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.parameters import printable_params

SCORE = ("accuracy", "accuracy_low", "accuracy_high")
ROLES = ("actor", "verifier", "critic", "updater")


def identity(version: Version) -> dict[str, str]:
    """The identity of a version: tags of its registration."""
    library = version.library
    return {
        "hash": library.hash,
        "parent": library.parent or "none",
        "task": library.task or "none",
        "step": str(version.step),
    }


def columns(version: Version, run: Mapping[str, Any], parent: str | None = None) -> dict[str, str]:
    """A version's parameters: columns of the models list.

    Args:
        version: The version.
        run: The parameters of its run, for the models of the roles.
        parent: The registered number of the version that it was made from, if it is known.
    """
    return printable_params({
        **identity(version),
        "parent": _parent(version.library, parent),
        "size": _size(version.library),
        "accuracy with interval": accuracy_text(version.metrics) or "not measured",
        "cost": f"${version.metrics['spend_usd']:,.4f}" if "spend_usd" in version.metrics else "none",
        **{f"lm {role}": run[role] for role in ROLES if run.get(role)},
        **{name: run[name] for name in ("reference",) if name in run},
        "dataset": version.dataset or "none",
        "dataset_digest": version.dataset_digest or "none",
        "code": code_version(),
    })  # fmt: skip


def describe(version: Version) -> str:
    """One line about a version: size, accuracy with interval and sample size, parent."""
    measured, library = version.metrics, version.library
    entries = "entry" if len(library) == 1 else "entries"
    parts = [f"{len(library):,} {entries} from {version.step:,} examples"]
    if "accuracy" in measured:
        score = [measured[name] for name in SCORE if name in measured]
        mean, *bounds = (score_text(number, *score) for number in score)
        accuracy = f"accuracy {mean}" + (f" [{', '.join(bounds)}]" if len(bounds) == 2 else "")
        on = f" on {measured['n']:,.0f} problems" if "n" in measured else ""
        parts.append(accuracy + on + errors_text(measured))
    if "baseline_accuracy" in measured:
        parts.append(f"{score_text(measured['baseline_accuracy'])} without a library")
    parts.append(f"parent {library.parent[:12]}" if library.parent else "no parent")
    return "; ".join(parts)


def _parent(library: ExperienceLibrary, number: str | None) -> str:
    if library.parent is None:
        return "none"
    return f"version {number} ({library.parent[:12]})" if number else library.parent[:12]


def _size(library: ExperienceLibrary) -> str:
    return ", ".join(f"{count:,} {zone}" for zone, count in library.sizes().items() if count) or "empty"


def accuracy_text(metrics: Mapping[str, float]) -> str:
    """An accuracy with its interval, sample size and errors; "" where it was not measured."""
    if not all(name in metrics for name in (*SCORE, "n")):
        return ""
    score = [metrics[name] for name in SCORE]
    mean, low, high = (score_text(number, *score) for number in score)
    return f"{mean} [{low}, {high}], n = {metrics['n']:,.0f}{errors_text(metrics)}"


@functools.cache
def code_version() -> str:
    """The package's version, and its commit where it runs from a checkout."""
    root = Path(__file__).parents[2]
    commit = None
    if (root / ".git").exists():
        from mlflow.utils.git_utils import get_git_commit

        commit = get_git_commit(str(root))
    try:
        number = metadata.version("flex-dspy")
    except metadata.PackageNotFoundError:
        number = "not installed"
    return f"{number} ({commit[:12]})" if commit else number
