"""Problems whose answer is an integer from 0 to 999: the shipped set, and AIME on the hub or in a file.

The shipped problems are not AIME problems, which belong to the Mathematical Association of America.
``flex_dspy.data.generate_problems`` made the shipped problems.

Example:
    >>> load("train", limit=50).examples[0].inputs().keys()
    ['problem']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspy

from flex_dspy.data.loading import LoadedData, content_id, first_of, load_examples
from flex_dspy.metrics.integers import integer_answer

_HERE = Path(__file__).parent
SHIPPED: Mapping[str, Path] = MappingProxyType(
    {split: _HERE / f"problems_{split}.jsonl" for split in ("train", "val", "test")}
)
HUB_SOURCES = (
    "math-ai/aime25@test",
    "HuggingFaceH4/aime_2024@train",
    "di-zhang-fdu/AIME_1983_2024@train",
    "AI-MO/aimo-validation-aime@train",
)
# The history without 2024. Learning from 2024 and measuring on AIME 2024 would measure memory.
UNTIL_2023 = "aime-1983-2023"
_HISTORY, _LAST_YEAR = "di-zhang-fdu/AIME_1983_2024@train", 2023

_PROBLEM = ("problem", "question", "Problem", "Question")
_ANSWER = ("answer", "Answer")
_ID = ("id", "ID")
_YEAR = ("year", "Year")
_EXPECTED = "the columns problem (or question) and answer"


def load(source: str | Path = "train", *, limit: int | None = None, seed: int | None = None) -> LoadedData:
    """Load problems as examples: ``problem`` is the input and ``answer`` (an int) the output.

    An example also has an ``id``, the ``year`` if it is known, and the ``family`` if the problem is shipped. Other
    columns of a row, such as ``solution``, are dropped.

    Args:
        source: "train", "val" or "test" of the shipped set; ``aime-1983-2023``, the history on the hub without 2024;
            a file; or ``owner/name[:config][@split]`` on the hub, such as one of `HUB_SOURCES`.
        limit: Largest number of examples.
        seed: Choose the examples at random with this seed, instead of taking the first ones.

    Raises:
        DataError: The source cannot be read or has no usable row.
    """
    if source != UNTIL_2023:
        return load_examples(source, to_example, expected=_EXPECTED, shipped=SHIPPED, limit=limit, seed=seed)
    loaded = load_examples(_HISTORY, to_example, expected=_EXPECTED, keep=_until_2023, limit=limit, seed=seed)
    return replace(loaded, source=UNTIL_2023)


def to_example(cells: Mapping[str, Any]) -> dspy.Example:
    """One row as an example.

    Raises:
        ValueError: The problem is missing, or the answer holds no single integer.
    """
    problem = first_of(cells, _PROBLEM)
    if not isinstance(problem, str) or not problem.strip():
        raise ValueError("no problem")
    answer = integer_answer(first_of(cells, _ANSWER))
    if answer is None:
        raise ValueError("no integer answer")
    given_id, year, family = first_of(cells, _ID), _year(cells), cells.get("family")
    known: dict[str, Any] = {"id": content_id(problem, str(answer)) if given_id is None else str(given_id)}
    known |= {} if year is None else {"year": year}
    known |= {} if family in (None, "") else {"family": family}
    return dspy.Example(problem=problem.strip(), answer=answer, **known).with_inputs("problem")


def _year(cells: Mapping[str, Any]) -> int | None:
    given = str(first_of(cells, _YEAR))
    return int(given) if given.isdecimal() else None


def _until_2023(cells: Mapping[str, Any]) -> bool:
    year = _year(cells)
    return year is not None and year <= _LAST_YEAR
