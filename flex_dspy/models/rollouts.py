"""Independent samples: the same question is asked again, without an answer from DSPy's cache.

DSPy caches answers. Each sample needs its own ``rollout_id`` of the model, which is part of the cache's key and never
sent. Ids are numbered so that no two samples share an id::

    rollout + ROUND * round

Rollout 0 in round 0 has no id: it is the plain request.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar, cast

import dspy

from flex_dspy.models.lm import is_offline

Program = TypeVar("Program", bound=dspy.Module)

ROUND = 10_000  # larger than any number of rollouts


def sample(lm: dspy.BaseLM, rollout: int) -> dspy.BaseLM:
    """Return a copy of the model that gives another sample.

    Args:
        lm: A model. An offline expert has only one answer, and is returned unchanged.
        rollout: Number of the sample; 0 is the model itself.

    Returns:
        A copy at the model's own temperature, or at 1.0 if the temperature is 0 or not set.
    """
    if not rollout or is_offline(lm):
        return lm
    return lm.copy(rollout_id=rollout, temperature=lm.kwargs.get("temperature") or 1.0)


def variant(program: dspy.Module, rollout: int) -> dspy.Module:
    """Return a copy of the program that gives another sample.

    Args:
        program: Any program; parts that an optimizer froze are sampled again too.
        rollout: Number of the sample; 0 is the program itself.

    Returns:
        A deep copy whose predictors have their own models. Its library is shared, so that copying takes 0.1 ms.
    """
    if not rollout:
        return program
    fresh = copy_program(program)
    for _, predictor in fresh.named_sub_modules(dspy.Predict):
        lm = predictor.lm or dspy.settings.lm
        if isinstance(lm, dspy.BaseLM):
            predictor.lm = sample(lm, rollout)
            predictor.config = _free_settings(predictor.config)
    return fresh


def copy_program(program: Program) -> Program:
    """A deep copy that shares its models with the original.

    Args:
        program: Any program.
    """
    models = [predictor.lm for _, predictor in program.named_sub_modules(dspy.Predict) if predictor.lm is not None]
    try:
        return copy.deepcopy(program, {id(lm): lm for lm in models})
    except Exception:  # a lock or a connection in a user's module: DSPy can copy around it
        return cast(Program, program.deepcopy())


def _free_settings(config: dict[str, Any]) -> dict[str, Any]:
    """A predictor's settings without those that would give the same answer again."""
    return {k: v for k, v in config.items() if k != "rollout_id" and (k != "temperature" or v)}
