"""Parameters as MLflow may have them: flat, short, and free of secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flex_dspy.core.secrets import is_secret_name, withhold

# MLflow's limits, in characters.
_MAX_VALUE = 6_000
MAX_NAME = 250


def printable_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow takes them: flat, text, cut to its limits, and free of secrets.

    Args:
        params: Values by name; mappings may be nested and become dotted names.

    Returns:
        Text by name. Whatever is named like a secret is missing; a value that looks like one is withheld.
    """
    flat = {}
    for key, value in _flatten(params, ""):
        if not is_secret_name(key, value):
            text = withhold(value if isinstance(value, str) else _as_text(value))
            flat[mlflow_name(key)] = text[:_MAX_VALUE]
    return flat


def mlflow_name(name: str) -> str:
    """A parameter's or metric's name as MLflow allows it."""
    return re.sub(r"[^\w./ -]", "_", name)[:MAX_NAME]


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and values; items of a list that are mappings themselves are entered too."""
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for place, inner in enumerate(value):
            yield from _flatten(inner, f"{prefix}.{place}")
    else:
        yield prefix, value


def _as_text(value: Any) -> str:
    """A value on one line: JSON for lists, plain text for the rest."""
    if isinstance(value, list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
