"""The identity of a learning run, and the names of its models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import dspy

from flex_dspy.core.scoring import Metric
from flex_dspy.data.loading import digest
from flex_dspy.learning.settings import LearningSettings
from flex_dspy.search.retrieval import retrievers


def run_identity(
    settings: LearningSettings, metric: Metric, roles: Sequence[dspy.Module], trainset: Sequence[dspy.Example]
) -> str:
    """Short hash of exactly the settings that affect the learned library: 12 hexadecimal digits.

    Args:
        settings: The settings.
        metric: The metric. Only its name enters the hash.
        roles: Actor, critic, updater and verifier.
        trainset: The training examples.
    """
    actor, verifier = roles[0], roles[-1]
    parts = {
        "train": digest(trainset),
        "settings": [settings.epochs, settings.seed, settings.window, settings.study, settings.checkpoint_every],
        "rollouts": [settings.max_rounds, settings.max_rollouts],
        "metric": getattr(metric, "__qualname__", type(metric).__qualname__),
        "models": [_sampling(model) for role in roles for model in models_of(role)],
        "prompts": [_prompt(predictor) for role in roles for predictor in role.predictors()],
        "retrievers": [{**r.dump_state(), "library_hash": ""} for r in retrievers(actor)],
        "actor": [getattr(actor, name, "") for name in ("strategy", "experience", "max_iters")],
        **dict(_later_parts(settings, verifier)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _later_parts(settings: LearningSettings, verifier: dspy.Module) -> Iterator[tuple[str, Any]]:
    """Parts that enter the hash only if they differ from the default. So runs of earlier releases keep their id."""
    threshold = getattr(verifier, "threshold", 1.0)
    if threshold != 1.0:
        yield "threshold", threshold
    if settings.lessons_from != "all":
        yield "lessons_from", settings.lessons_from
    if settings.review:
        yield "review", True
    if settings.scope:
        yield "scope", settings.scope
    if settings.precedents:
        yield "precedents", True
    if not settings.reference:
        yield "reference", False


def models_of(program: dspy.Module) -> list[Any]:
    """The models that a program's predictors call."""
    models = (predictor.lm or dspy.settings.lm for predictor in program.predictors())
    return [model for model in models if model is not None]


def model_names(program: dspy.Module) -> str:
    """The names of the models that a program's predictors call, sorted, without repetition."""
    return ", ".join(sorted({str(model.model) for model in models_of(program)}))


def instructions_of(role: str, program: dspy.Module) -> Iterator[tuple[str, str]]:
    """Names and instructions of a role's predictors. The name is the role, such as ``actor``.

    If the role has several predictors, their names are added, as in ``critic.golden``.
    """
    named = program.named_predictors()
    for name, predictor in named:
        yield role if len(named) == 1 else f"{role}.{name}", predictor.signature.instructions


def _prompt(predictor: dspy.Predict) -> list[Any]:
    """The parts of a predictor that shape its prompt."""
    signature = predictor.signature
    return [signature.instructions, list(signature.fields), predictor.dump_state()["demos"]]


def _sampling(model: Any) -> list[Any]:
    """The settings of a model that shape its answers."""
    settings = getattr(model, "kwargs", {})
    return [str(model.model), settings.get("temperature"), settings.get("max_tokens")]
