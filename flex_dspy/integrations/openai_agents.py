"""Experience for agents of the OpenAI Agents SDK: a runner that adds lessons to model calls.

::

    with OnlineLearner(dspy.Predict("question -> answer"), library="support.json") as learner:
        runner = ExperienceRunner(learner, judge)
        result = runner.run_sync(agent, "...")

``Runner.run_streamed`` takes ``run_config=runner.run_config()``; call ``observe`` after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agents import Agent, RunConfig, Runner, RunResult
from agents.run import CallModelData, ModelInputData

from flex_dspy.integrations.lessons import AgentLessons, Judge
from flex_dspy.learning.online import OnlineLearner


class ExperienceRunner:
    """Runs agents with lessons before the input of each model call, and observes their final output.

    Only the model call contains the lessons; sessions and results do not.

    Args:
        learner: See ``AgentLessons``.
        judge: See ``AgentLessons``.
    """

    def __init__(self, learner: OnlineLearner, judge: Judge | None = None) -> None:
        self.lessons = AgentLessons(learner, judge)
        self.observe = self.lessons.observe

    async def run(self, agent: Agent[Any], input: str | list[Any], **options: Any) -> RunResult:
        """Run an agent as ``Runner.run`` does, with the same options, and observe its final output.

        Raises:
            ValueError: If ``run_config`` has a ``call_model_input_filter`` of its own.
        """
        config = self.run_config(options.pop("run_config", None))
        result = await Runner.run(agent, input, run_config=config, **options)
        await self.lessons.afinish(_question(input), str(result.final_output))
        return result

    def run_sync(self, agent: Agent[Any], input: str | list[Any], **options: Any) -> RunResult:
        """Synchronous version of ``run``. Like ``Runner.run_sync``, it needs a thread without a running event loop."""
        config = self.run_config(options.pop("run_config", None))
        result = Runner.run_sync(agent, input, run_config=config, **options)
        self.lessons.finish(_question(input), str(result.final_output))
        return result

    def run_config(self, config: RunConfig | None = None) -> RunConfig:
        """A run configuration that adds the lessons to each model call.

        Args:
            config: The other settings of the run.

        Raises:
            ValueError: If it has a ``call_model_input_filter`` of its own.
        """
        if config is not None and config.call_model_input_filter is not None:
            raise ValueError("run_config has a call_model_input_filter of its own: call bring_lessons from it")
        return replace(config or RunConfig(), call_model_input_filter=self.bring_lessons)

    async def bring_lessons(self, data: CallModelData[Any]) -> ModelInputData:
        """The input of a model call, with the lessons that fit the last question added."""
        given = data.model_data
        message = await self.lessons.amessage(_question(given.input))
        lessons: list[Any] = [{"role": "user", "content": message}] if message else []
        return ModelInputData(input=[*lessons, *given.input], instructions=given.instructions)


def _question(items: str | Sequence[Any]) -> str:
    """The text of the user's last message."""
    if isinstance(items, str):
        return items
    said = (item for item in reversed(items) if isinstance(item, Mapping) and item.get("role") == "user")
    content = next(said, {}).get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if isinstance(part, Mapping) and "text" in part)
