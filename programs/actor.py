"""The actor: retrieves experiences, then attempts a problem."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.examples import problem_text
from flex_dspy.core.running import aask_shortening, ask_shortening
from flex_dspy.core.trajectory import RELIED_ON
from flex_dspy.programs.predict import NO_ATTEMPTS, AttemptPredict
from flex_dspy.programs.strategies import CALLING_TOOLS, Means, Strategy, build
from flex_dspy.search.levels import exploring, level_tools
from flex_dspy.search.recall import recall_tool, recalling
from flex_dspy.search.retrieval import ExperienceRetriever, retrievers, shorter_blocks
from flex_dspy.signatures.actor import Access, with_candidates, with_experience
from flex_dspy.signatures.lessons import LESSONS

__all__ = ["NO_ATTEMPTS", "Access", "Actor", "Strategy"]


class Actor(dspy.Module):
    """Answers a task's problem with the help of fitting experiences.

    If the prompt is too long for the model, the experiences are cut to half their length, then to a quarter, then left
    out.

    Args:
        signature: The task's own signature, as a class or as text (``"question -> answer"``).
        retriever: Finds the experiences; by default a retriever with an empty library.
        strategy: How the actor works on a problem: ``direct``, ``icl``, ``cot``, ``react`` or ``code``; see
            ``flex_dspy.programs.strategies.build``.
        experience: How the actor gets experiences. ``prefetch`` puts fitting experiences into the prompt. ``recall``
            gives a strategy that calls tools a tool for its own searches. ``levels`` gives it tools that list methods,
            then read rules and instances (see ``flex_dspy.search.levels``). ``both`` is ``prefetch`` and ``recall``.
            ``none`` gives it no experiences.
        tools: For ``react`` and ``code``: functions, or ``dspy.Tool``. Other strategies call no tools.
        examples: For ``icl``: solved examples for the prompt. The problem under way is left out.
        max_iters: For ``react`` and ``code``: most tool calls a problem.
        suggest: Returns candidate answers for a problem's text, which the prompt shows as ``candidates``; see
            ``Task.suggest``.

    Raises:
        ConfigurationError: If the arguments do not fit together.

    Example:
        >>> actor = Actor("question -> answer")
        >>> sorted(actor.attempt.predict.signature.input_fields)
        ['earlier_attempts', 'experiences', 'question']
    """

    def __init__(
        self,
        signature: str | type[dspy.Signature],
        retriever: ExperienceRetriever | None = None,
        *,
        strategy: Strategy = "cot",
        experience: Access = "prefetch",
        tools: Sequence[Callable[..., Any] | dspy.Tool] = (),
        examples: Sequence[dspy.Example] = (),
        max_iters: int = 10,
        suggest: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__()
        if experience not in get_args(Access):
            raise ConfigurationError(f"experience must be one of {', '.join(get_args(Access))}: {experience!r}")
        task = dspy.ensure_signature(signature)
        self.inputs = list(task.input_fields)
        self.retriever = retriever or ExperienceRetriever()
        self.strategy = strategy
        self.experience = experience
        self.max_iters = max_iters
        self.suggest = suggest
        if experience in ("recall", "levels", "both"):
            if strategy not in CALLING_TOOLS:
                raise ConfigurationError(
                    f"strategy {strategy!r} cannot recall experience, as it calls no tools; "
                    f"{' and '.join(CALLING_TOOLS)} do"
                )
            tools = [*tools, *(level_tools() if experience == "levels" else [recall_tool()])]
        means = Means(tools, examples, max_iters)
        self.attempt = build(strategy, self._signature(task), means)
        self._know_the_bare(build(strategy, task, means))

    def _know_the_bare(self, bare: dspy.Module) -> None:
        """Give each predictor its signature in the bare program, which it uses if there is no experience to show."""
        for own, plain in zip(self.attempt.predictors(), bare.predictors(), strict=True):
            if isinstance(own, AttemptPredict):
                own.bare = plain.signature, own.signature

    def _signature(self, task: type[dspy.Signature]) -> type[dspy.Signature]:
        extended = with_experience(task, self.experience)
        return extended if self.suggest is None else with_candidates(extended)

    def forward(self, earlier_attempts: str = NO_ATTEMPTS, **inputs: Any) -> dspy.Prediction:
        """Attempt a problem.

        Args:
            earlier_attempts: Rejected answers to the same problem, with feedback.
            **inputs: The task's input fields; ``config`` may hold settings of the call, as for ``dspy.Predict``.

        Returns:
            The task's outputs, ``reasoning`` (by some strategies), and ``experiences_used``.
        """
        given = {"earlier_attempts": earlier_attempts, **inputs, **self._demos(inputs)}
        with self._at_work(inputs):
            if self.suggest is not None:
                given["candidates"] = self.suggest(self._problem(inputs))
            if self.experience in ("recall", "levels"):
                return _answer(self.attempt(**given))
            found = self.retriever(self._problem(inputs)) if self.experience in ("prefetch", "both") else None
            return _answer(ask_shortening(self.attempt, LESSONS, self._blocks(found), **given))

    async def aforward(self, earlier_attempts: str = NO_ATTEMPTS, **inputs: Any) -> dspy.Prediction:
        """Asynchronous version of ``forward``."""
        given = {"earlier_attempts": earlier_attempts, **inputs, **self._demos(inputs)}
        with self._at_work(inputs):
            if self.suggest is not None:  # in a thread, because it may take long
                given["candidates"] = await asyncio.to_thread(self.suggest, self._problem(inputs))
            if self.experience in ("recall", "levels"):
                return _answer(await self.attempt.acall(**given))
            prefetched = self.experience in ("prefetch", "both")
            found = await self.retriever.acall(self._problem(inputs)) if prefetched else None
            return _answer(await aask_shortening(self.attempt.acall, LESSONS, self._blocks(found), **given))

    @contextlib.contextmanager
    def _at_work(self, inputs: dict[str, Any]) -> Iterator[None]:
        """Connect the tools for experience to the problem, within a ``with`` block."""
        problem = self._problem(inputs)
        with recalling(self.retriever, problem), exploring(retrievers(self)[0], problem):
            yield

    def experiences(self, inputs: dict[str, Any]) -> str:
        """The block of experiences for a problem. The problem's text is the search query."""
        prefetched = self.experience in ("prefetch", "both")
        return next(self._blocks(self.retriever(self._problem(inputs)) if prefetched else None))

    def _blocks(self, found: dspy.Prediction | None) -> Iterator[str]:
        return shorter_blocks(found, self.retriever.levels)

    def _problem(self, inputs: dict[str, Any]) -> str:
        return problem_text({name: inputs[name] for name in self.inputs if name in inputs})

    def _demos(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """For ``icl``, the examples without the problem under way, so that it is not answered from its own solution."""
        if self.strategy != "icl" or not self.retriever.exclude_self:
            return {}
        own = {name: inputs[name] for name in self.inputs if name in inputs}
        others = [demo for demo in self.attempt.demos if any(demo.get(name) != own[name] for name in own)]
        return {"demos": others} if len(others) < len(self.attempt.demos) else {}


def _answer(prediction: dspy.Prediction) -> dspy.Prediction:
    """Return the prediction, with an empty list of used lessons if no lesson was shown."""
    if RELIED_ON not in prediction:
        prediction[RELIED_ON] = []
    return prediction
