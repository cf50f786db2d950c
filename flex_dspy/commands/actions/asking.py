"""Asks a person at the terminal."""

from __future__ import annotations

from flex_dspy.core.errors import ConfigurationError


def ask(question: str, purpose: str) -> bool:
    """Ask a person a question, and return whether the answer is yes.

    Args:
        question: The question, without a question mark.
        purpose: The effect of ``--yes``, for the error.

    Raises:
        ConfigurationError: If there is no terminal to ask at.
    """
    try:
        answer = input(f"{question}? [y/N] ")
    except EOFError as error:
        raise ConfigurationError(f"there is nobody to ask: say --yes to {purpose} without a question") from error
    return answer.strip().lower() in ("y", "yes")
