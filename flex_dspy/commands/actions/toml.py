"""Options as TOML, which the standard library reads and does not write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flex_dspy.core.text import sound_text

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(values: Mapping[str, Any]) -> str:
    """Options as TOML: plain values first, then a table for each mapping.

    Args:
        values: By name. None is left out, as TOML has no word for it; a value of another type is written as its text.
    """
    return "".join(f"{line}\n" for line in _lines(values))


def _lines(values: Mapping[str, Any], table: str = "") -> Iterator[str]:
    tables = {name: value for name, value in values.items() if isinstance(value, Mapping)}
    for name, value in values.items():
        if value is not None and name not in tables:
            yield f"{_key(name)} = {_literal(value)}"
    for name, value in tables.items():
        inner = f"{table}.{_key(name)}" if table else _key(name)
        yield from ("", f"[{inner}]", *_lines(value, inner))


def _key(name: object) -> str:
    return str(name) if _BARE.fullmatch(str(name)) else _quoted(name)


def _quoted(value: object) -> str:
    """A string of JSON, which is one of TOML too, but for one character that JSON leaves as it is."""
    return json.dumps(sound_text(str(value)), ensure_ascii=False).replace("\x7f", "\\u007f")


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = (f"{_key(name)} = {_literal(each)}" for name, each in value.items() if each is not None)
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(each) for each in value if each is not None)}]"
    return _quoted(value)
