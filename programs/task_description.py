"""Describes a program's task as text for the verifier, the critic and the updater.

Without this description, a critic that reads "When will my money arrive?" and the label ``pending_transfer`` teaches
how to send money, and not how to name an intent.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import dspy

from flex_dspy.core.dspy_internals import field_descriptions
from flex_dspy.core.shortening import elide
from flex_dspy.core.tokens import tokens
from flex_dspy.core.trajectory import RELIED_ON
from flex_dspy.signatures.actor import CANDIDATES, without_experience_guide
from flex_dspy.signatures.lessons import EARLIER_ATTEMPTS, LESSONS, without

TOKEN_LIMIT = 1_500
_OURS = (LESSONS, EARLIER_ATTEMPTS, RELIED_ON, CANDIDATES)


def describe_task(program: dspy.Module, limit: int = TOKEN_LIMIT) -> str:
    """The instructions and fields of each predictor of a program, with types, descriptions and allowed values.

    Args:
        program: Any program. Fields and texts that ``equip`` added to its signatures are left out.
        limit: Most tokens of the text. Long instructions are cut first, then the middle of the whole text.

    Returns:
        The text. If the program has several predictors, each is a step with its name.
    """
    steps = tuple((name, predictor.signature) for name, predictor in program.named_predictors())
    return _description(steps, limit)


@functools.lru_cache(maxsize=256)  # the same for all examples
def _description(steps: Sequence[tuple[str, type[dspy.Signature]]], limit: int) -> str:
    text = ""
    for longest in (None, 4_000, 1_000):  # characters of instructions
        named = ((name if len(steps) > 1 else "", signature) for name, signature in steps)
        text = "\n\n".join(_step(name, signature, longest) for name, signature in named)
        if tokens(text) <= limit:
            return text
    return elide(text, 2 * limit)  # prose has four characters a token, and marks have one


def _step(name: str, signature: Any, longest: int | None) -> str:
    bare = without(signature, _OURS)
    instructions = elide(without_experience_guide(bare.instructions).strip(), longest)
    lines = [
        *([f"Step {name}"] if name else []),
        f"Instructions: {instructions}",
        f"Input fields:\n{field_descriptions(bare.input_fields)}",
        f"Output fields:\n{field_descriptions(bare.output_fields)}",
    ]
    return "\n".join(lines)
