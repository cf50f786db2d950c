"""The predictors of the roles: answers are read as a person would, and old lessons stay out of demonstrations."""

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

    Answers are read as ``flex_dspy.models.adapter`` says: an unreadable one is asked for again, with the reason. A
    demonstration that an optimizer made with a library holds the lessons that were shown there, solved cases among
    them: it is shown, and saved, without.
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
        """The arguments of a call, with demonstrations that hold no lessons."""
        demos = {"demos": self.demos, **kwargs}["demos"]
        if not any(LESSONS in demo for demo in demos):
            return kwargs
        return {**kwargs, "demos": [without_lessons(demo) for demo in demos]}

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


class AttemptPredict(RolePredict):
    """A predictor of an actor: where there is no experience to show, it asks what the bare program asks.

    Attributes:
        bare: The signature of the bare program, and the one of this predictor that it stands for.
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
        """The bare program's signature; with its own words where an optimizer, or a person, has written others."""
        own: Any = self.signature
        if self.bare is not None and (own is self.bare[1] or own.equals(self.bare[1])):
            return self.bare[0]
        signature: Any = without(own, (LESSONS, EARLIER_ATTEMPTS, RELIED_ON))
        return signature.with_instructions(without_experience_guide(own.instructions))


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
