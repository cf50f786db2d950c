"""Independent samples: the same question asked again, and not answered from DSPy's cache.

DSPy caches answers. What sets one sample apart from another is its model's ``rollout_id``, which is part of the cache's
key and never sent. Ids are numbered so that no two samples share one::

    rollout + ROUND * round

Rollout 0, round 0 has none: it is the plain request.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar, cast

import dspy

from flex_dspy.models.lm import is_offline

Program = TypeVar("Program", bound=dspy.Module)

ROUND = 10_000  # more rollouts than anybody asks for


def sample(lm: dspy.BaseLM, rollout: int) -> dspy.BaseLM:
    """The model, set to give another sample.

    Args:
        lm: A model. An offline expert has one answer, and is left as it is.
        rollout: Number of the sample; 0 is the model itself.

    Returns:
        A copy at the model's own temperature, or at 1.0 where it has none or 0.
    """
    if not rollout or is_offline(lm):
        return lm
    return lm.copy(rollout_id=rollout, temperature=lm.kwargs.get("temperature") or 1.0)


def variant(program: dspy.Module, rollout: int) -> dspy.Module:
    """The program, set to give another sample.

    Args:
        program: Any program; the parts that an optimizer froze are sampled anew too.
        rollout: Number of the sample; 0 is the program itself.

    Returns:
        A deep copy whose predictors ask models of their own. A library is shared, not copied: it takes 0.1 ms.
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
    except Exception:  # a lock or a connection in a user's module: DSPy knows how to go round it
        return cast(Program, program.deepcopy())


def _free_settings(config: dict[str, Any]) -> dict[str, Any]:
    """A predictor's settings without those that would give the same answer again."""
    return {k: v for k, v in config.items() if k != "rollout_id" and (k != "temperature" or v)}
