"""Replaces the instructions of a role by a user's own."""

from __future__ import annotations

from collections.abc import Iterator

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.programs.actor import Actor
from flex_dspy.programs.strategies import FINISH
from flex_dspy.signatures.actor import experience_guide


def instruct(program: dspy.Module, text: str, predictor: str | None = None) -> None:
    """Replace the instructions of a program's predictors.

    Parts that a program adds itself stay. These are an actor's guide to experience, and the text of ``dspy.ReAct``
    about its tools. Fields and their descriptions do not change.

    Args:
        program: A role, or any other program. It is changed in place.
        text: The new instructions.
        predictor: Name of the predictor whose instructions are replaced (``golden``, ``warning``, ``mixed`` or
            ``study`` of a critic; ``react`` or ``extract`` of an actor that calls tools), or its path in the program;
            None stands for all predictors.

    Raises:
        ConfigurationError: If the text is empty, or there is no such predictor.
    """
    text = text.strip()
    if not text:
        raise ConfigurationError("instructions must not be empty")
    named = program.named_predictors()
    chosen = [p for name, p in named if predictor is None or f".{predictor}." in f".{name}."]
    if not chosen:
        known = ", ".join(name for name, _ in named) or "none"
        raise ConfigurationError(f"there is no predictor {predictor!r} to instruct; predictors are {known}")
    written = {id(p): text for p in chosen}
    written |= dict(_add_guides(program, text))
    written |= dict(_add_tools(program, written))
    for each in chosen:
        each.signature = each.signature.with_instructions(written[id(each)])


def _add_guides(program: dspy.Module, text: str) -> Iterator[tuple[int, str]]:
    """The text plus the guide to experience, for the predictors of actors."""
    for _, actor in program.named_sub_modules(Actor):
        for each in actor.predictors():
            yield id(each), text + experience_guide(actor.experience)


def _add_tools(program: dspy.Module, written: dict[int, str]) -> Iterator[tuple[int, str]]:
    """The text plus the text of ``dspy.ReAct`` about its tools, for the predictors that call tools."""
    for _, module in program.named_sub_modules(dspy.ReAct):
        if id(module.react) in written:
            signature = module.signature.with_instructions(written[id(module.react)])
            tools = [tool for name, tool in module.tools.items() if name != FINISH]
            yield id(module.react), dspy.ReAct(signature, tools).react.signature.instructions
