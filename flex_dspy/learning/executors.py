"""Runs attempts on an executor. See ``flex_dspy.programs.executors`` for the port and its contract."""

from __future__ import annotations

from typing import Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.attempts import AttemptFunction, AttemptResult
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.executors import MAX_LOSSES as MAX_LOSSES
from flex_dspy.programs.executors import AttemptLostError as AttemptLostError
from flex_dspy.programs.executors import Executor as Executor
from flex_dspy.programs.executors import LocalExecutor as LocalExecutor
from flex_dspy.programs.executors import run_again_if_lost


async def run_until_kept(
    executor: Executor, attempt: AttemptFunction, example: Any, library: ExperienceLibrary
) -> AttemptResult:
    """Run an attempt, and run it again if it is lost.

    Returns:
        The attempt's result. After ``MAX_LOSSES`` lost calls the result is a failure, which counts as an outage.

    Raises:
        ConfigurationError: If the executor returns something that is not an attempt result.
    """
    try:
        result = await run_again_if_lost(executor, attempt, example, library)
    except AttemptLostError as error:
        return AttemptResult(error=str(error), outage=True)
    if not isinstance(result, AttemptResult):
        given = type(result).__name__
        raise ConfigurationError(f"{type(executor).__name__}.run must return the attempt's result, got {given}")
    return result
