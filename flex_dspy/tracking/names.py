"""Names of runs and of logged models, which show how they differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flex_dspy.learning.version import Version
from flex_dspy.tracking.version import short_score

_MOST_MODEL = 30  # characters of a model's name in the name of a run


def run_name(params: Mapping[str, Any]) -> str:
    """The name of a learning run, such as ``465ex study seed0 chemist 1f0c2a3b4d5e uspto50k``.

    MLflow's tables cut names after about 15 characters, so the parts that differ most come first. The task comes last,
    because the experiment's name holds it too.

    Args:
        params: The run's parameters, as in ``RunStarted``. Missing parameters are left out.
    """
    if not params.get("run"):
        return ""
    model = str(params.get("actor") or "").rpartition("/")[2][:_MOST_MODEL]
    examples = params.get("train_examples")
    way = ("study" if params["study"] else "attempts") if "study" in params else ""
    seed = f"seed{params['seed']}" if "seed" in params else ""
    parts = (f"{examples}ex" if examples else "", way, seed, model, params["run"], params.get("task"))
    return " ".join(str(part) for part in parts if part)[:250]


def model_name(version: Version, registered_name: str) -> str:
    """The name of a version's logged model, such as ``uspto50k-465ex-acc79_6-n93-2d97d1``.

    MLflow allows no dots and no percent signs in it.

    Args:
        version: The version.
        registered_name: Used instead of the task if the library has none.
    """
    parts = [version.library.task or registered_name, f"{version.step}ex"]
    if "accuracy" in version.metrics:
        parts += [short_score(version), f"n{version.metrics.get('n', 0):.0f}"]
        errors = round(version.metrics.get("errors", 0))
        parts += [f"{errors}err"] if errors else []
    return re.sub(r"[^\w-]", "-", "-".join([*parts, version.library.hash[:6]]))
