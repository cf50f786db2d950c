"""The actor: retrieve, then attempt."""

from __future__ import annotations

from typing import Any

import dspy

from flex_dspy.examples import problem_text
from flex_dspy.rendering import NONE
from flex_dspy.retrieval import ExperienceRetriever
from flex_dspy.signatures.actor import with_experience

NO_ATTEMPTS = "none"


class Actor(dspy.Module):
    """Answers a task's problem with the experiences that fit it.

    Args:
        signature: The task's own signature, as a class or as text (``"question -> answer"``).
        retriever: Where experiences come from; by default one with an empty library.
        retrieve: Whether to show experience at all.

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
        retrieve: bool = True,
    ) -> None:
        super().__init__()
        task = dspy.ensure_signature(signature)
        self.inputs = list(task.input_fields)
        self.retriever = retriever or ExperienceRetriever()
        self.retrieve = retrieve
        self.attempt = dspy.ChainOfThought(with_experience(task))

    def forward(self, earlier_attempts: str = NO_ATTEMPTS, **inputs: Any) -> dspy.Prediction:
        """Attempt a problem.

        Args:
            earlier_attempts: Rejected answers to the same problem, with feedback.
            **inputs: The task's input fields; ``config`` may hold settings of the call, as for ``dspy.Predict``.

        Returns:
            The task's outputs, ``reasoning``, and ``experiences_used``.
        """
        experiences = self.experiences(inputs)
        return self.attempt(experiences=experiences, earlier_attempts=earlier_attempts, **inputs)

    async def aforward(self, earlier_attempts: str = NO_ATTEMPTS, **inputs: Any) -> dspy.Prediction:
        """The same, asynchronously."""
        experiences = self.experiences(inputs)
        return await self.attempt.acall(experiences=experiences, earlier_attempts=earlier_attempts, **inputs)

    def experiences(self, inputs: dict[str, Any]) -> str:
        """The block of experiences for a problem; the key of retrieval is the problem's text."""
        if not self.retrieve:
            return NONE
        found = self.retriever(problem_text({name: inputs[name] for name in self.inputs if name in inputs}))
        return str(found.experiences)
