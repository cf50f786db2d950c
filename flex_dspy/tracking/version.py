"""Texts about a version for MLflow's lists, tags and pages."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from flex_dspy.core.scoring import ACCURACY, measure_name
from flex_dspy.evaluation.answer_errors import errors_text
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.learning.version import Version
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.parameters import printable_params

SCORE = ("accuracy", "accuracy_low", "accuracy_high")
EMPTY = "empty"  # the size of the empty library, in words
ROLES = ("actor", "verifier", "critic", "updater")


def identity(version: Version) -> dict[str, str]:
    """The identity of a version, as tags of its registration."""
    library = version.library
    return {
        "step": str(version.step),
        "parent": library.parent or "none",
        "hash": library.hash,
    }


def columns(version: Version, run: Mapping[str, Any], parent: str | None = None) -> dict[str, str]:
    """A version's parameters, which are columns of MLflow's models list.

    Args:
        version: The version.
        run: The parameters of its run, which name the models of the roles.
        parent: The registered number of the version that it was made from, if it is known.
    """
    return printable_params({
        **identity(version),
        "task": version.library.task or "none",
        "parent": _parent(version.library, parent),
        "size": _size(version.library),
        f"{version.score} with interval": accuracy_text(version.metrics, version.score) or "not measured",
        **({} if version.score == ACCURACY else {"score": version.score}),
        "cost": f"${version.metrics['spend_usd']:,.4f}" if "spend_usd" in version.metrics else "none",
        **{f"lm {role}": run[role] for role in ROLES if run.get(role)},
        **{name: run[name] for name in ("reference",) if name in run},
        "dataset": version.dataset or "none",
        "dataset_digest": version.dataset_digest or "none",
        "code": code_version(),
    })  # fmt: skip


def describe(version: Version) -> str:
    """One line about a version: score with interval and sample size, entries, examples, parent.

    For example ``79.6% (70.3 to 86.5, n = 93) · 33 entries · 465 examples · no parent``.
    """
    measured, library = version.metrics, version.library
    parts = [_score_with_bounds(version)] if "accuracy" in measured else []
    parts += [_count(len(library), "entry", "entries"), _count(version.step, "example", "examples")]
    if "baseline_accuracy" in measured:
        parts.append(f"{named_score_text(version.score, measured['baseline_accuracy'])} without a library")
    parts.append(f"parent {library.parent[:12]}" if library.parent else "no parent")
    return " · ".join(parts)


def _score_with_bounds(version: Version) -> str:
    measured = version.metrics
    score = [measured[name] for name in SCORE if name in measured]
    mean, *bounds = (named_score_text(version.score, number, *score) for number in score)
    name = "" if version.score == ACCURACY else f"{version.score} "
    about = [" to ".join(bound.removesuffix("%") for bound in bounds)] if len(bounds) == 2 else []
    about += [f"n = {measured['n']:,.0f}"] if "n" in measured else []
    return f"{name}{mean}" + (f" ({', '.join(about)})" if about else "") + errors_text(measured)


def short_score(version: Version) -> str:
    """A mean score for a name in MLflow, which allows no dots: ``acc79_6``, ``Spearman0_674``."""
    text = named_score_text(version.score, *(version.metrics[name] for name in SCORE if name in version.metrics))
    name = "acc" if version.score == ACCURACY else re.sub(r"\W", "", version.score)
    return name + re.sub(r"[.]", "_", text.removesuffix("%"))


def metric_name(name: str, score: str) -> str:
    """A measurement's name in MLflow: the mean score under its own name, such as ``Spearman_low``."""
    return measure_name(name, re.sub(r"\W", "", score))


def rounded(number: float) -> float:
    """A number with six significant digits, because MLflow's pages show all digits."""
    return number if not math.isfinite(number) or number == round(number) else float(f"{number:.6g}")


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _parent(library: ExperienceLibrary, number: str | None) -> str:
    if library.parent is None:
        return "none"
    return f"version {number} ({library.parent[:12]})" if number else library.parent[:12]


def _size(library: ExperienceLibrary) -> str:
    return ", ".join(f"{count:,} {zone}" for zone, count in library.sizes().items() if count) or EMPTY


def accuracy_text(metrics: Mapping[str, float], name: str = ACCURACY) -> str:
    """A mean score with its interval, sample size and errors; "" if it was not measured.

    Args:
        metrics: The measurements.
        name: The score's name.
    """
    if not all(name in metrics for name in (*SCORE, "n")):
        return ""
    score = [metrics[name] for name in SCORE]
    mean, low, high = (named_score_text(name, number, *score) for number in score)
    return f"{mean} [{low}, {high}], n = {metrics['n']:,.0f}{errors_text(metrics)}"


@functools.cache
def code_version() -> str:
    """The package's version, and its commit if it runs from a checkout."""
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
