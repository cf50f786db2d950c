"""Adapts docstrings to the API reference: example sections are shown as code, and so are literal blocks."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)
_LITERAL = re.compile(r"::$", re.MULTILINE)
_DIRECTIVE = re.compile(r"\s*# doctest: \+\w+")


class ReadableDocstrings(griffe.Extension):
    """Replaces the forms that Markdown does not know."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Adapt one object's docstring."""
        if obj.docstring is not None:
            text = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = _DIRECTIVE.sub("", _LITERAL.sub(":", text))
