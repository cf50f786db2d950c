"""Word problems of grade school mathematics (GSM8K), and others whose answer ends in ``#### integer``.

The package ships no data for this task.

Source: Cobbe et al., arXiv 2110.14168 (2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.data.loading import LoadedData, content_id, first_of, load_examples
from flex_dspy.metrics.integers import integer_answer

HUB_SOURCES = ("openai/gsm8k:main@train", "openai/gsm8k:main@test")

_PROBLEM = ("question", "problem")
_MARK = "####"
_EXPECTED = "the columns question and answer, with the final integer after ####"


def load(source: str | Path, *, limit: int | None = None, seed: int | None = None) -> LoadedData:
    """Load problems as examples: ``problem`` is the input and ``answer`` (an int) the output.

    An example also has an ``id``. The worked solution before ``####`` is dropped.

    Args:
        source: A file, or ``owner/name[:config][@split]`` on the hub, such as one of `HUB_SOURCES`.
        limit: Largest number of examples.
        seed: Choose the examples at random with this seed, instead of taking the first ones.

    Raises:
        DataError: The source cannot be read or has no usable row.
    """
    return load_examples(source, to_example, expected=_EXPECTED, limit=limit, seed=seed)


def to_example(cells: Mapping[str, Any]) -> dspy.Example:
    """One row as an example.

    Raises:
        ValueError: The question is missing, or the answer ends in no integer.
    """
    problem = first_of(cells, _PROBLEM)
    if not isinstance(problem, str) or not problem.strip():
        raise ValueError("no question")
    given = cells.get("answer")
    answer = integer_answer(given.rpartition(_MARK)[2] if isinstance(given, str) else given)
    if answer is None:
        raise ValueError("no integer answer")
    given_id = first_of(cells, ("id",))
    return dspy.Example(
        problem=problem.strip(),
        answer=answer,
        id=content_id(problem, str(answer)) if given_id is None else str(given_id),
    ).with_inputs("problem")
