"""Questions to a person at the terminal."""

from __future__ import annotations

from flex_dspy.core.errors import ConfigurationError


def ask(question: str, purpose: str) -> bool:
    """Whether a person says yes.

    Args:
        question: The question, without a mark.
        purpose: What ``--yes`` does without it, for the error.

    Raises:
        ConfigurationError: If there is nobody to ask.
    """
    try:
        answer = input(f"{question}? [y/N] ")
    except EOFError as error:
        raise ConfigurationError(f"there is nobody to ask: say --yes to {purpose} without a question") from error
    return answer.strip().lower() in ("y", "yes")
