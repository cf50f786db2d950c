"""Experience for agents of LangChain and LangGraph, as a middleware of ``create_agent``.

::

    with OnlineLearner(dspy.Predict("question -> answer"), library="support.json") as learner:
        agent = create_agent(model, tools, middleware=[ExperienceMiddleware(learner, judge)])
        agent.invoke({"messages": [("user", "...")]})

A graph without ``create_agent`` calls ``message`` before its model node and ``observe`` after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AnyMessage, HumanMessage

from flex_dspy.integrations.lessons import AgentLessons, Judge
from flex_dspy.learning.online import OnlineLearner


class ExperienceMiddleware(AgentMiddleware):
    """Puts lessons before the messages of each model call, and observes the last answer of a run.

    Only the request contains the lessons; the agent's state and its checkpoints do not.

    Args:
        learner: See ``AgentLessons``.
        judge: See ``AgentLessons``.
    """

    def __init__(self, learner: OnlineLearner, judge: Judge | None = None) -> None:
        super().__init__()
        self.lessons = AgentLessons(learner, judge)
        self.observe = self.lessons.observe

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]) -> ModelResponse:
        """Call the model with the lessons that fit the last question."""
        return handler(_with(request, self.lessons.message(_last(request.messages, "human"))))

    async def awrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
    ) -> ModelResponse:
        """Asynchronous version of ``wrap_model_call``."""
        return await handler(_with(request, await self.lessons.amessage(_last(request.messages, "human"))))

    def after_agent(self, state: Any, runtime: Any) -> None:
        """Observe the answer."""
        self.lessons.finish(_last(state["messages"], "human"), _last(state["messages"], "ai"))

    async def aafter_agent(self, state: Any, runtime: Any) -> None:
        """Asynchronous version of ``after_agent``."""
        await self.lessons.afinish(_last(state["messages"], "human"), _last(state["messages"], "ai"))


def _with(request: ModelRequest, message: str) -> ModelRequest:
    return request.override(messages=[HumanMessage(message), *request.messages]) if message else request


def _last(messages: Sequence[AnyMessage], kind: str) -> str:
    """The text of the last message of a kind."""
    return next((str(message.text) for message in reversed(messages) if message.type == kind), "")
