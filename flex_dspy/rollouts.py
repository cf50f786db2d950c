"""Independent samples: the same question asked again, and not answered from DSPy's cache.

DSPy caches answers, malformed ones too. What sets one sample apart from another is its model's ``rollout_id``, which
is part of the cache's key and never sent. Ids are numbered so that no two samples share one::

    rollout + ROUND * round + REPEAT * repeat

Rollout 0, round 0 has none: it is the plain request.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import dspy
from dspy.clients.base_lm import BaseLM
from dspy.utils.exceptions import DSPyError

from flex_dspy.models.lm import is_offline
from flex_dspy.running import unreadable

logger = logging.getLogger(__name__)

ROUND = 10_000  # more rollouts than anybody asks for
REPEAT = 10_000_000
REPEATS = 2  # times that an answer which cannot be read is asked for anew


def sampled(lm: BaseLM, rollout: int) -> BaseLM:
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
    fresh = _copied(program)
    for _, predictor in fresh.named_sub_modules(dspy.Predict):
        lm = predictor.lm or dspy.settings.lm
        if isinstance(lm, BaseLM):
            predictor.lm = sampled(lm, rollout)
            predictor.config = _unfixed(predictor.config)
    return fresh


def _copied(program: dspy.Module) -> dspy.Module:
    """A deep copy that shares its models with the original, as ``sampled`` copies what it must."""
    models = [predictor.lm for _, predictor in program.named_sub_modules(dspy.Predict) if predictor.lm is not None]
    try:
        return copy.deepcopy(program, {id(lm): lm for lm in models})
    except Exception:  # a lock or a connection in a user's module: DSPy knows how to go round it
        return program.deepcopy()


def _unfixed(config: dict[str, Any]) -> dict[str, Any]:
    """A predictor's settings without those that would give the same answer again."""
    return {k: v for k, v in config.items() if k != "rollout_id" and (k != "temperature" or v)}


class ResamplingPredict(dspy.Predict):
    """``dspy.Predict`` that asks again where the answer cannot be read.

    DSPy itself asks a second time, for JSON. Where that fails too (an empty answer, a refusal, fields that are
    missing or of the wrong type, an answer cut short) the question is put up to ``REPEATS`` times more, each time
    as an independent sample. The last error passes on.
    """

    def forward(self, **kwargs: Any) -> dspy.Prediction:
        """See ``dspy.Predict``.

        Raises:
            AdapterParseError: If no answer could be read.
        """
        for repeat in range(REPEATS):
            try:
                return super().forward(**self._repeated(repeat, kwargs))
            except DSPyError as error:
                self._raise_unless_worth_repeating(error, kwargs)
        return super().forward(**self._repeated(REPEATS, kwargs))

    async def aforward(self, **kwargs: Any) -> dspy.Prediction:
        """The same, asynchronously."""
        for repeat in range(REPEATS):
            try:
                return await super().aforward(**self._repeated(repeat, kwargs))
            except DSPyError as error:
                self._raise_unless_worth_repeating(error, kwargs)
        return await super().aforward(**self._repeated(REPEATS, kwargs))

    def _repeated(self, repeat: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The inputs, with the settings of this repeat; the first request is as it was."""
        if not repeat:
            return kwargs
        config = {**self.config, **kwargs.get("config", {})}
        settings = {**self._model(kwargs).kwargs, **config}
        rollout = (settings.get("rollout_id") or 0) + REPEAT * repeat
        sample = {"rollout_id": rollout, "temperature": settings.get("temperature") or 1.0}
        return {**kwargs, "config": {**config, **sample}}

    def _raise_unless_worth_repeating(self, error: DSPyError, kwargs: dict[str, Any]) -> None:
        if not unreadable(error) or is_offline(self._model(kwargs)):
            raise error
        logger.info("an answer could not be read, and is asked for anew: %s", str(error)[:500])

    def _model(self, kwargs: dict[str, Any]) -> Any:
        return kwargs.get("lm") or self.lm or dspy.settings.lm
