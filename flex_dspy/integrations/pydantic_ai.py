"""Experience for agents of Pydantic AI, as a capability.

::

    with OnlineLearner(dspy.Predict("question -> answer"), library="support.json") as learner:
        agent = Agent(model, capabilities=[Experience(learner, judge)])
        agent.run_sync("...")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelRequest, UserPromptPart
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.run import AgentRunResult

from flex_dspy.integrations.lessons import AgentLessons, Judge
from flex_dspy.learning.online import OnlineLearner


class Experience(AbstractCapability[Any]):
    """Puts lessons before the messages of each model request, and observes the output of a run.

    Only the request contains the lessons; the history of a run does not.

    Args:
        learner: See ``AgentLessons``.
        judge: See ``AgentLessons``.
    """

    def __init__(self, learner: OnlineLearner, judge: Judge | None = None) -> None:
        self.lessons = AgentLessons(learner, judge)
        self.observe = self.lessons.observe

    async def before_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Add the lessons that fit the prompt to a model request."""
        message = await self.lessons.amessage(_text(ctx.prompt))
        if not message:
            return request_context
        lessons = ModelRequest(parts=[UserPromptPart(message)])
        return replace(request_context, messages=[lessons, *request_context.messages])

    async def after_run(self, ctx: RunContext[Any], *, result: AgentRunResult[Any]) -> AgentRunResult[Any]:
        """Observe the output of a run."""
        await self.lessons.afinish(_text(ctx.prompt), str(result.output))
        return result


def _text(prompt: str | Sequence[Any] | None) -> str:
    """The text of a prompt, without its images and files."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    return "\n".join(part for part in prompt if isinstance(part, str))
