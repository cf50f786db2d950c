"""Converts parameters for MLflow: flat, short, and free of secrets."""

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
    """Convert parameters for MLflow: flat, as text, cut to its limits, and free of secrets.

    Args:
        params: Values by name; mappings may be nested and become dotted names.

    Returns:
        Text by name. Parameters with the name of a secret are left out; values that look like a secret are masked.
    """
    flat = {}
    for key, value in _flatten(params, ""):
        if not is_secret_name(key, value):
            text = withhold(value if isinstance(value, str) else _as_text(value))
            flat[mlflow_name(key)] = text[:_MAX_VALUE]
    return flat


def mlflow_name(name: str) -> str:
    """A name of a parameter or metric, with only the characters that MLflow allows."""
    return re.sub(r"[^\w./ -]", "_", name)[:MAX_NAME]


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and values; mappings inside of lists are flattened too."""
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
