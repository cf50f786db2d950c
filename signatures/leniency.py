"""Validators that read the values of structured fields as the model meant them.

These only mend; the schema that a prompt shows, and so the prompt itself, is not touched by them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


def _text(value: Any) -> Any:
    """Nothing is an empty text, a list of lines is a text, a number is its digits."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return str(value) if isinstance(value, int | float) else value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("the text is empty")
    return value


def _texts(value: Any) -> Any:
    """One text is a list of one; what is no text is left out."""
    if value is None or isinstance(value, str):
        return [value] if value else []
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else value


def clamp_between(least: int, most: int, otherwise: int) -> Callable[[Any], Any]:
    """A number outside its range becomes the nearest inside; what is no number becomes ``otherwise``."""

    def clamp(value: Any) -> int:
        try:
            return min(max(round(float(value)), least), most)
        except (TypeError, ValueError, OverflowError):
            return otherwise

    return clamp


Text = Annotated[str, BeforeValidator(_text)]
NonBlankText = Annotated[str, BeforeValidator(_text), AfterValidator(_not_blank)]
Texts = Annotated[list[str], BeforeValidator(_texts)]
