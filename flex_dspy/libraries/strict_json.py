"""Strict reading of JSON: damage is an error that names the file and the place."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from flex_dspy.core.errors import LibraryFormatError

RESTORE = "Restore the file from a backup, or from the version logged in MLflow"
CORRECT = "Correct it, or restore the file from a backup or from the version logged in MLflow"


class _RefusedError(ValueError):
    """JSON that the standard library accepts, but that is not allowed in a library file."""

    def __init__(self, place: str, problem: str) -> None:
        self.place = place
        super().__init__(problem)


def decode(raw: bytes, path: str | Path) -> str:
    """UTF-8 bytes as text.

    Raises:
        LibraryFormatError: If they are not UTF-8.
    """
    try:
        return raw.decode("utf-8-sig")  # some editors write a byte order mark first
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise LibraryFormatError(path, f"line {line}", "is not UTF-8 text", RESTORE) from error


def read_json(text: str, path: str | Path) -> Any:
    """The document as plain objects, with the checks that pydantic's parser does not make.

    Raises:
        LibraryFormatError: If it is not JSON, has a key twice, or holds a number that JSON does not allow.
    """
    if not text.strip():
        raise LibraryFormatError(path, "the file", "is empty", RESTORE)
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        is_cut = error.msg.startswith("Unterminated") or not text[error.pos :].strip()
        cut = " (the file ends too early)" if is_cut else ""
        raise LibraryFormatError(path, place, f"is not JSON: {error.msg}{cut}", RESTORE) from error
    except RecursionError as error:
        raise LibraryFormatError(path, "the file", "is nested too deeply", RESTORE) from error
    except _RefusedError as error:
        raise LibraryFormatError(path, error.place, str(error), CORRECT) from error
    except ValueError as error:  # an integer of thousands of digits
        raise LibraryFormatError(path, "a number", f"cannot be read: {error}", CORRECT) from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        place = f"entry {result['id']}" if "id" in result else "an object"
        raise _RefusedError(place, f"the key {twice[:80]!r} is there twice")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedError("a number", f"{name} is not JSON")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _RefusedError("a number", f"{digits[:80]} is too large")
    return value
