"""The predictors of the roles.

They tolerate answers in a damaged format, and remove old lessons from demonstrations.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import dspy

from flex_dspy.core.trajectory import RELIED_ON
from flex_dspy.models.adapter import reading_answers
from flex_dspy.search.rendering import NONE
from flex_dspy.signatures.actor import CANDIDATES, without_experience_guide
from flex_dspy.signatures.lessons import EARLIER_ATTEMPTS, LESSONS, with_earlier_attempts, without

NO_ATTEMPTS = "none"

Demo = TypeVar("Demo", dict[str, Any], dspy.Example)


class RolePredict(dspy.Predict):
    """``dspy.Predict`` for a role of forward learning.

    Answers are read as ``flex_dspy.models.adapter`` describes. After an unreadable answer the model is called again,
    with the reason. A demonstration that an optimizer made with a library holds the lessons that were shown then, with
    solved cases. These lessons are removed before the demonstration is shown or saved.
    """

    def forward(self, **kwargs: Any) -> dspy.Prediction:
        """See ``dspy.Predict``.

        Raises:
            AdapterParseError: If no answer could be read.
        """
        with reading_answers():
            return super().forward(**self._request(kwargs))

    async def aforward(self, **kwargs: Any) -> dspy.Prediction:
        """Asynchronous version of ``forward``."""
        with reading_answers():
            return await super().aforward(**self._request(kwargs))

    def _request(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call, with the lessons removed from demonstrations."""
        demos = {"demos": self.demos, **kwargs}["demos"]
        if not any(LESSONS in demo for demo in demos):
            return kwargs
        return {**kwargs, "demos": [without_lessons(demo) for demo in demos]}

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """See ``dspy.Predict``. Only demonstrations that a prompt can show are saved.

        Optimizers also leave a role's raw training examples among the demonstrations. These have no field of the
        predictor.
        """
        signature: Any = self.signature
        state: dict[str, Any] = super().dump_state(json_mode=json_mode)
        fields = signature.input_fields, signature.output_fields
        shown = (demo for demo in state["demos"] if all(set(demo.keys()) & set(some) for some in fields))
        state["demos"] = [without_lessons(demo) for demo in shown]
        return state


class AttemptPredict(RolePredict):
    """A predictor of an actor. Without experience to show, its prompt is the prompt of the bare program.

    Attributes:
        bare: Two signatures: the signature in the bare program, and the signature of this predictor that it replaces.
    """

    bare: tuple[type[dspy.Signature], type[dspy.Signature]] | None = None

    def _request(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        kwargs = super()._request(kwargs)
        if kwargs.get(LESSONS) != NONE or CANDIDATES in kwargs or "signature" in kwargs:
            return kwargs
        given = {name: value for name, value in kwargs.items() if name not in (LESSONS, EARLIER_ATTEMPTS)}
        signature: Any = self._bare_signature()
        earlier = kwargs.get(EARLIER_ATTEMPTS, NO_ATTEMPTS)
        if earlier != NO_ATTEMPTS:
            signature, given[EARLIER_ATTEMPTS] = with_earlier_attempts(signature), earlier
        return {**given, "signature": signature}

    def _bare_signature(self) -> type[dspy.Signature]:
        """The bare program's signature. Instructions that an optimizer or a person has written are kept."""
        own: Any = self.signature
        if self.bare is not None and (own is self.bare[1] or own.equals(self.bare[1])):
            return self.bare[0]
        signature: Any = without(own, (LESSONS, EARLIER_ATTEMPTS, RELIED_ON))
        return signature.with_instructions(without_experience_guide(own.instructions))


def without_lessons(demo: Demo) -> Demo:
    """A demonstration without the lessons that it was made with, because they were not chosen for another problem.

    Args:
        demo: A dict, or a ``dspy.Example``. It is copied if it holds lessons.
    """
    if LESSONS not in demo:
        return demo
    changed = copy.copy(demo) if isinstance(demo, dict) else demo.copy()
    changed[LESSONS] = NONE
    return changed
