"""Strategies: the inner modules of an actor, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.programs.predict import AttemptPredict
from flex_dspy.programs.tools import SandboxTool

Strategy = Literal["direct", "icl", "cot", "react", "code"]
FINISH = "finish"  # the tool that dspy.ReAct adds


@dataclass(frozen=True, slots=True)
class Means:
    """The tools, examples and limits that a strategy may use.

    Attributes:
        tools: Functions, or ``dspy.Tool``.
        examples: Solved examples of the task.
        max_iters: Most tool calls a problem.
    """

    tools: Sequence[Callable[..., Any] | dspy.Tool] = ()
    examples: Sequence[dspy.Example] = ()
    max_iters: int = 10


def _direct(signature: type[dspy.Signature], means: Means) -> dspy.Module:
    return AttemptPredict(signature)


def _icl(signature: type[dspy.Signature], means: Means) -> dspy.Module:
    predictor = AttemptPredict(signature)
    predictor.demos = list(means.examples)
    return predictor


def _cot(signature: type[dspy.Signature], means: Means) -> dspy.Module:
    module = dspy.ChainOfThought(signature)
    module.predict = AttemptPredict(module.predict.signature)
    return module


def _react(signature: type[dspy.Signature], means: Means) -> dspy.Module:
    tools = [tool if isinstance(tool, dspy.Tool) else dspy.Tool(tool) for tool in means.tools]
    names = [FINISH, *(tool.name for tool in tools)]
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"more than one tool is called {', '.join(twice)}")
    module = dspy.ReAct(signature, tools=tools, max_iters=means.max_iters)
    module.react = AttemptPredict(module.react.signature)
    module.extract.predict = AttemptPredict(module.extract.predict.signature)
    return module


def _code(signature: type[dspy.Signature], means: Means) -> dspy.Module:
    return _react(signature, Means((*means.tools, SandboxTool()), max_iters=means.max_iters))


_BUILDERS: Mapping[Strategy, Callable[[type[dspy.Signature], Means], dspy.Module]] = {
    "direct": _direct,
    "icl": _icl,
    "cot": _cot,
    "react": _react,
    "code": _code,
}
STRATEGIES: tuple[Strategy, ...] = tuple(_BUILDERS)
CALLING_TOOLS: tuple[Strategy, ...] = ("react", "code")


def build(strategy: Strategy, signature: type[dspy.Signature], means: Means) -> dspy.Module:
    """Build the module that works on a problem.

    Args:
        strategy: ``direct``: one call. ``icl``: one call with the examples before it. ``cot``: reasoning first.
            ``react``: reasoning between calls of tools (Yao et al., ICLR 2023). ``code``: like ``react``, with a
            sandbox for Python as a further tool.
        signature: The module's inputs and outputs.
        means: Tools and examples.

    Raises:
        ConfigurationError: If there is no such strategy, if the strategy cannot show the given examples, if two tools
            have the same name, or if the sandbox of ``code`` is not installed.
    """
    if strategy not in _BUILDERS:
        raise ConfigurationError(f"there is no strategy {strategy!r}; strategies are {', '.join(STRATEGIES)}")
    if means.examples and strategy != "icl":
        raise ConfigurationError(f"strategy {strategy!r} shows no examples; icl does")
    if means.max_iters < 1:
        raise ConfigurationError(f"max_iters must be at least 1, got {means.max_iters}")
    return _BUILDERS[strategy](signature, means)
