"""A predictor with experience. ``equip`` turns the predictors of any program into it.

It is the same object with the same signature, demos and model. Before each call of the model it searches the library.
If no experience fits, the prompt is exactly the prompt without a library.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import dspy

from flex_dspy.core.ambient import Ambient
from flex_dspy.core.examples import problem_text
from flex_dspy.core.running import aask_shortening, ask_shortening
from flex_dspy.libraries.experience import Precedent
from flex_dspy.models.adapter import reading_answers
from flex_dspy.programs.demonstrations import demonstrations
from flex_dspy.search.rendering import NONE
from flex_dspy.search.retrieval import ExperienceRetriever, shorter_blocks
from flex_dspy.search.tally import likely_answer
from flex_dspy.search.trust import weigh
from flex_dspy.signatures.labels import (
    label_of_text,
    label_output,
    labels_of,
    likely_name,
    model_name,
    with_likely,
    without_labels,
)
from flex_dspy.signatures.lessons import EARLIER_ATTEMPTS, LESSONS, with_earlier_attempts, with_lessons, without

Key = Callable[[Mapping[str, Any]], str] | Sequence[str]

# Earlier work of an agent says little about its question.
_WORKINGS = ("trajectory", "reasoning", EARLIER_ATTEMPTS)
_MAX_VALUE = 1_000  # characters of one input in a query: a whole document is too unspecific

_EARLIER = Ambient("earlier attempts", "")


def tell_attempts(earlier_attempts: str) -> AbstractContextManager[None]:
    """Show rejected answers to predictors with experience, within a ``with`` block.

    Args:
        earlier_attempts: The answers, each with its feedback; "" shows nothing.
    """
    return _EARLIER.within(earlier_attempts)


@dataclass(frozen=True)
class _Shown:
    """The part of a prompt that comes from the library.

    Attributes:
        block: The block of experiences.
        precedents: Precedents to show as demonstrations, most similar first.
        likely: The most frequent answer of similar precedents; "" if there is no clear one.
        unlikely: Labels that are not offered.
    """

    block: str = NONE
    precedents: tuple[Precedent, ...] = ()
    likely: str = ""
    unlikely: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.block)


class ExperiencedPredict(dspy.Predict):
    """A ``dspy.Predict`` whose ``experiences`` input is filled from a library. ``equip`` makes it.

    The saved state is the state of the bare predictor, so each can load the state of the other. The first predictor of
    a program also saves the retriever's settings, and the library by hash or whole.

    Attributes:
        retriever: Finds the experiences. The predictors of one program share it.
        field: Name of the input that holds the experiences.
        key: The search key: names of inputs, or a function of all inputs; None takes all inputs that are text.
        keeps_library: Whether this predictor's saved state includes the retriever's state.
        elsewhere: Names of the other predictors of its program. Lessons for these predictors are not shown here.
    """

    signature: Any
    retriever: ExperienceRetriever
    field: str
    key: Key | None
    keeps_library: bool
    elsewhere: frozenset[str] = frozenset()

    def forward(self, **kwargs: Any) -> dspy.Prediction:
        """See ``dspy.Predict``. If the prompt is too long for the model, fewer experiences are shown.

        With ``trust``, the prediction holds the model's own label in a field of its own, such as ``model_intent``.
        """
        if self.field in kwargs:  # the caller passed experiences
            return super().forward(**kwargs)
        ask = functools.partial(self._ask, super().forward)
        found = self.retriever(**query) if (query := self._query(kwargs)) else None
        with reading_answers():
            prediction = ask_shortening(ask, self.field, self._shorter_blocks(found), **kwargs)
        return self._weighed(prediction, found)

    async def aforward(self, **kwargs: Any) -> dspy.Prediction:
        """Asynchronous version of ``forward``."""
        if self.field in kwargs:
            return await super().aforward(**kwargs)
        ask = functools.partial(self._ask, super().aforward)
        found = await self.retriever.acall(**query) if (query := self._query(kwargs)) else None
        with reading_answers():
            prediction = await aask_shortening(ask, self.field, self._shorter_blocks(found), **kwargs)
        return self._weighed(prediction, found)

    @property
    def votes(self) -> bool:
        """Whether precedents vote on the labels of this predictor's output."""
        output = label_output(self.signature)
        named = output is not None and bool(labels_of(self.signature, output))
        return named and not self.elsewhere and self.key is None and self.retriever.tally != 0

    def shares(self, **inputs: Any) -> Mapping[str, float]:
        """The shares of labels in the vote of similar precedents; empty if precedents do not vote here.

        Args:
            **inputs: The inputs of the predictor. The precedents of this problem itself have no vote.
        """
        query = self._query(inputs)
        return dict(self.retriever(**query).shares) if query else {}

    def _weighed(self, prediction: dspy.Prediction, found: dspy.Prediction | None) -> dspy.Prediction:
        """The prediction, with the label that the model and the precedents give together; see ``trust``.

        After a rejected attempt the model decides alone, as the precedents would vote for the same label again.
        """
        output, trust = label_output(self.signature), None if _EARLIER.get() else self.retriever.trust
        if output is None or trust is None or found is None or not found.shares or prediction.get(output) is None:
            return prediction
        answer = prediction[output]
        prediction[model_name(output)] = answer
        prediction[output] = label_of_text(self.signature, output, weigh(found.shares, str(answer), trust))
        return prediction

    def _ask(self, predict: Callable[..., Any], **kwargs: Any) -> Any:
        shown: _Shown = kwargs.pop(self.field)
        signature: Any = dspy.ensure_signature(kwargs.pop("signature", self.signature))
        output = label_output(signature)
        if output is not None:
            signature = without_labels(signature, output, shown.unlikely)
        further = demonstrations(signature, shown.precedents, (self.field, EARLIER_ATTEMPTS))
        demos = [*kwargs.pop("demos", self.demos), *reversed(further)]
        if shown.block == NONE:
            signature = without(signature, (self.field,))
        else:
            signature = with_lessons(signature, self.field)
            kwargs[self.field] = shown.block
            # A demo that was made with a library holds old lessons, which were not chosen for this problem.
            demos = [dspy.Example(**{**demo, self.field: NONE}) for demo in demos]
        chooses = self.retriever.demonstrations is None and bool(further)  # among labels that precedents leave open
        if output is not None and shown.likely and not chooses and likely_name(output) not in signature.fields:
            signature, likely = with_likely(signature, output), likely_name(output)
            kwargs[likely] = shown.likely
            demos = [dspy.Example(**{**demo, likely: NONE}) for demo in demos]
        if earlier := _EARLIER.get():
            signature = with_earlier_attempts(signature)
            kwargs.setdefault(EARLIER_ATTEMPTS, earlier)
        return predict(**kwargs, signature=signature, demos=demos)

    def _shorter_blocks(self, found: dspy.Prediction | None) -> Iterator[_Shown]:
        """Yield the retrieved part of the prompt in decreasing length. The last one is empty."""
        precedents = tuple(found.demonstrations) if found is not None else ()
        likely = likely_answer(found.get("answers", ())) if found is not None else ""
        unlikely = found.get("unlikely", frozenset()) if found is not None else frozenset()
        for halved, block in enumerate(shorter_blocks(found, self.retriever.levels)):
            yield _Shown(block, precedents[: len(precedents) >> halved], likely, unlikely)
        yield _Shown()

    # -- the query ------------------------------------------------------------------------------

    def _query(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the retriever; empty if there is no text to search with."""
        names = (name for name in self.signature.input_fields if name != self.field)
        known = {**_history_values(kwargs), **kwargs}
        given = {name: known[name] for name in names if name in known}
        texts = {name: text for name, value in given.items() if (text := _text_of(value))}
        text = str(self.key(given)) if callable(self.key) else _query_text(texts, self.key)
        if not text:
            return {}
        return {"query": text, "exclude": _own(texts), "elsewhere": self.elsewhere, **self._labels()}

    def _labels(self) -> dict[str, Any]:
        """The arguments of the retriever that concern labels.

        Precedents do not vote in a program of several predictors, as a precedent does not say which of them gave its
        answer; nor with a key, as the precedents that calibrate the sets are whole problems.
        """
        output = label_output(self.signature)
        if output is None:
            return {}
        return {"picks_label": True, "labels": labels_of(self.signature, output), "narrow": self.votes}

    # -- as a DSPy parameter -------------------------------------------------------------------------------

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """The bare predictor's state, with the retriever's state added."""
        state: dict[str, Any] = super().dump_state(json_mode=json_mode)
        state["signature"] = without(self.signature, (self.field,)).dump_state()
        state["demos"] = [{name: demo[name] for name in demo.keys() if name != self.field} for demo in state["demos"]]  # noqa: SIM118
        if self.keeps_library:
            state["experience"] = self.retriever.dump_state(json_mode=json_mode)
        return state

    def load_state(self, state: dict[str, Any], *, allow_unsafe_lm_state: bool = False) -> ExperiencedPredict:
        """Load the state of a predictor with or without experience.

        Raises:
            ConfigurationError: If the state was saved with another library; see ``ExperienceRetriever.load_state``.
        """
        own: Any = self.signature
        plain = {name: value for name, value in state.items() if name != "experience"}
        try:
            self.signature = without(own, (self.field,))
            super().load_state(plain, allow_unsafe_lm_state=allow_unsafe_lm_state)
            own = with_lessons(self.signature, self.field)
        finally:
            self.signature = own
        if "experience" in state:
            self.retriever.load_state(state["experience"])
        return self


def _history_values(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The values in a history. In an agent's later turns (``dspy.ReActV2``) only the history holds the question."""
    histories = [value for value in inputs.values() if isinstance(value, dspy.History)]
    return {name: value for history in histories for message in history.messages for name, value in message.items()}


def _query_text(texts: Mapping[str, str], key: Sequence[str] | None) -> str:
    """The inputs of the search key, as one text."""
    names = [name for name in texts if name not in _WORKINGS] if key is None else key
    chosen = {name: texts[name][:_MAX_VALUE] for name in names if name in texts}
    return problem_text(chosen) if chosen else ""


def _own(texts: Mapping[str, str]) -> Collection[str]:
    """All texts that may be the program's problem: all inputs together, and each single input."""
    return {problem_text(texts), *texts.values()} if texts else set()


def _text_of(value: Any) -> str:
    """An input as text; "" for an input that is not text, such as an image, a history or tools."""
    if isinstance(value, str):
        return value
    if isinstance(value, dspy.History | dspy.Type) or (
        isinstance(value, list) and any(isinstance(v, dspy.Type) for v in value)
    ):
        return ""
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


__all__ = ["LESSONS", "ExperiencedPredict", "Key", "tell_attempts"]
