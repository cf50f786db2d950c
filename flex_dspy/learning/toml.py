"""Writes options as TOML, which the standard library can only read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from flex_dspy.core.text import sound_text


def toml_text(values: Mapping[str, Any]) -> str:
    """Options as TOML.

    Args:
        values: Options by name. None is left out, because TOML has no null. A value of an unknown type is written as
            text.
    """
    return tomli_w.dumps(_writable(values))


def _writable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {sound_text(str(name)): _writable(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_writable(each) for each in value if each is not None]
    return value if isinstance(value, bool | int | float) else sound_text(str(value))
