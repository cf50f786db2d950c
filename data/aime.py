"""Problems of the American Invitational Mathematics Examination, and others that end in one integer.

Nothing is shipped: the problems are the Mathematical Association of America's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.data.loading import LoadedData, content_id, load_examples
from flex_dspy.metrics.aime import integer_answer

HUB_SOURCES = (
    "math-ai/aime25@test",
    "HuggingFaceH4/aime_2024@train",
    "di-zhang-fdu/AIME_1983_2024@train",
    "AI-MO/aimo-validation-aime@train",
    "openai/gsm8k:main@train",
)

_PROBLEM = ("problem", "question", "Problem", "Question")
_ANSWER = ("answer", "Answer")
_ID = ("id", "ID")


def load(source: str | Path, *, limit: int | None = None, seed: int | None = None) -> LoadedData:
    """Problems as examples: ``problem`` in, ``answer`` (an int) wanted; ``id`` with them.

    Args:
        source: A file, or ``owner/name[:config][@split]`` on the hub, such as one of `HUB_SOURCES`.
        limit: Take no more than this many.
        seed: Take a random choice instead of the first ones.

    Raises:
        DataError: The source cannot be read or has no usable row.
    """
    expected = "the columns problem (or question) and answer"
    return load_examples(source, to_example, expected=expected, limit=limit, seed=seed)


def to_example(cells: Mapping[str, Any]) -> dspy.Example:
    """One row as an example.

    Raises:
        ValueError: The problem is missing, or the answer holds no single integer.
    """
    problem = _first(cells, _PROBLEM)
    if not isinstance(problem, str) or not problem.strip():
        raise ValueError("no problem")
    answer = integer_answer(_first(cells, _ANSWER))
    if answer is None:
        raise ValueError("no integer answer")
    given_id = _first(cells, _ID)
    example_id = content_id(problem, str(answer)) if given_id in (None, "") else str(given_id)
    return dspy.Example(problem=problem.strip(), answer=answer, id=example_id).with_inputs("problem")


def _first(cells: Mapping[str, Any], columns: tuple[str, ...]) -> Any:
    """The first of the columns that the row has."""
    return next((cells[column] for column in columns if cells.get(column) is not None), None)
