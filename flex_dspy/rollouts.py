"""Independent samples: the same question asked again, and not answered from DSPy's cache.

DSPy caches answers, malformed ones too. What sets one sample apart from another is its model's ``rollout_id``, which
is part of the cache's key and never sent. Ids are numbered so that no two samples share one::

    rollout + ROUND * round + REPEAT * repeat

Rollout 0, round 0 has none: it is the plain request.
"""

from __future__ import annotations

import copy
import logging
from typing import Any, TypeVar, cast

import dspy
from dspy.clients.base_lm import BaseLM
from dspy.utils.exceptions import DSPyError

from flex_dspy.models.lm import is_offline
from flex_dspy.running import unreadable
from flex_dspy.search.rendering import NONE
from flex_dspy.secrets import redact
from flex_dspy.signatures.lessons import LESSONS

logger = logging.getLogger(__name__)

Program = TypeVar("Program", bound=dspy.Module)
Demo = TypeVar("Demo", dict[str, Any], dspy.Example)

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
    fresh = copied(program)
    for _, predictor in fresh.named_sub_modules(dspy.Predict):
        lm = predictor.lm or dspy.settings.lm
        if isinstance(lm, BaseLM):
            predictor.lm = sampled(lm, rollout)
            predictor.config = _unfixed(predictor.config)
    return fresh


def copied(program: Program) -> Program:
    """A deep copy that shares its models with the original.

    Args:
        program: Any program.
    """
    models = [predictor.lm for _, predictor in program.named_sub_modules(dspy.Predict) if predictor.lm is not None]
    try:
        return copy.deepcopy(program, {id(lm): lm for lm in models})
    except Exception:  # a lock or a connection in a user's module: DSPy knows how to go round it
        return cast(Program, program.deepcopy())


def _unfixed(config: dict[str, Any]) -> dict[str, Any]:
    """A predictor's settings without those that would give the same answer again."""
    return {k: v for k, v in config.items() if k != "rollout_id" and (k != "temperature" or v)}


def without_lessons(demo: Demo) -> Demo:
    """A demonstration without the lessons that were shown when it was made: nobody chose them for another problem.

    Args:
        demo: A dict, or a ``dspy.Example``; a copy is made where it holds lessons.
    """
    if LESSONS not in demo:
        return demo
    changed = copy.copy(demo) if isinstance(demo, dict) else demo.copy()
    changed[LESSONS] = NONE
    return changed


class ResamplingPredict(dspy.Predict):
    """``dspy.Predict`` that asks again where the answer cannot be read.

    DSPy itself asks a second time, for JSON. Where that fails too (an empty answer, a refusal, fields that are
    missing or of the wrong type, an answer cut short) the question is put up to ``REPEATS`` times more, each time
    as an independent sample. The last error passes on.

    A demonstration that an optimizer made with a library holds the lessons that were shown there, solved cases among
    them: it is shown, and saved, without.
    """

    def forward(self, **kwargs: Any) -> dspy.Prediction:
        """See ``dspy.Predict``.

        Raises:
            AdapterParseError: If no answer could be read.
        """
        kwargs = self._with_own_lessons_only(kwargs)
        for repeat in range(REPEATS):
            try:
                return super().forward(**self._repeated(repeat, kwargs))
            except DSPyError as error:
                self._raise_unless_worth_repeating(error, kwargs)
        return super().forward(**self._repeated(REPEATS, kwargs))

    async def aforward(self, **kwargs: Any) -> dspy.Prediction:
        """The same, asynchronously."""
        kwargs = self._with_own_lessons_only(kwargs)
        for repeat in range(REPEATS):
            try:
                return await super().aforward(**self._repeated(repeat, kwargs))
            except DSPyError as error:
                self._raise_unless_worth_repeating(error, kwargs)
        return await super().aforward(**self._repeated(REPEATS, kwargs))

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """See ``dspy.Predict``; the demonstrations that a prompt shows, and no others.

        Optimizers also leave a role's raw training examples among them, which have none of the predictor's fields.
        """
        signature: Any = self.signature
        state: dict[str, Any] = super().dump_state(json_mode=json_mode)
        fields = signature.input_fields, signature.output_fields
        shown = (demo for demo in state["demos"] if all(set(demo.keys()) & set(some) for some in fields))
        state["demos"] = [without_lessons(demo) for demo in shown]
        return state

    def _with_own_lessons_only(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        demos = {"demos": self.demos, **kwargs}["demos"]
        if not any(LESSONS in demo for demo in demos):
            return kwargs
        return {**kwargs, "demos": [without_lessons(demo) for demo in demos]}

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
        logger.info("an answer could not be read, and is asked for anew: %s", redact(str(error))[:500])

    def _model(self, kwargs: dict[str, Any]) -> Any:
        return kwargs.get("lm") or self.lm or dspy.settings.lm
