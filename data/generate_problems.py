"""Makes the shipped competition-style problems, byte for byte the same from the same seed.

Each split contains all families and wordings, as evenly as its size allows. No two problems of a family have the same
numbers. So no validation or test problem occurs in training.

    python -m flex_dspy.data.generate_problems            write the files
    python -m flex_dspy.data.generate_problems --check    exit with 1 if the files are not what would be written
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from types import MappingProxyType

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.data.aime import SHIPPED
from flex_dspy.data.problem_families import FAMILIES, PEOPLE, ProblemFamily

SEED = 20251106
SIZES: Mapping[str, int] = MappingProxyType({"train": 200, "val": 60, "test": 100})
LARGEST_ANSWER = 999
_MOST_DRAWS = 100_000


@dataclass(frozen=True)
class Problem:
    """One problem of the set."""

    family: str
    question: str
    answer: int


def generate(seed: int = SEED) -> dict[str, list[Problem]]:
    """The problems by split, in the files' order.

    Raises:
        ConfigurationError: A family does not have enough possible numbers.
    """
    rng = random.Random(seed)  # noqa: S311  (no secret)
    wordings = [(family, wording) for family in FAMILIES for wording in family.wordings]
    rng.shuffle(wordings)
    endless = cycle(wordings)
    drawn = {family.name: _numbers(family, rng) for family in FAMILIES}
    splits = {
        split: [_problem(family, wording, drawn[family.name], rng) for family, wording in islice(endless, size)]
        for split, size in SIZES.items()
    }
    for problems in splits.values():
        rng.shuffle(problems)
    return splits


def as_jsonl(split: str, problems: Iterable[Problem]) -> str:
    """The text of a split's file."""
    rows = (
        {"id": f"{split}-{number:04d}", "question": p.question, "answer": p.answer, "family": p.family}
        for number, p in enumerate(problems, start=1)
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the shipped files, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the files, write nothing")
    check = parser.parse_args(arguments).check
    splits = generate()
    different = [path for split, path in SHIPPED.items() if not _settle(path, as_jsonl(split, splits[split]), check)]
    for path in different:
        print(f"{path} is not what the generator makes", file=sys.stderr)
    return 1 if different else 0


def _settle(path: Path, text: str, check: bool) -> bool:
    """Write the text, or only compare it if ``check`` is set. Return whether the file has the text."""
    if check:
        return path.exists() and path.read_text(encoding="utf-8") == text
    path.write_text(text, encoding="utf-8", newline="\n")
    return True


def _problem(
    family: ProblemFamily, wording: str, drawn: Iterator[tuple[dict[str, int], int]], rng: random.Random
) -> Problem:
    numbers, answer = next(drawn)
    return Problem(family.name, wording.format(**numbers, person=rng.choice(PEOPLE)), answer)


def _numbers(family: ProblemFamily, rng: random.Random) -> Iterator[tuple[dict[str, int], int]]:
    """Sets of numbers that make a good problem, each once and with the answer."""
    seen: set[tuple[int, ...]] = set()
    for _ in range(_MOST_DRAWS):
        numbers = {name: rng.choice(values) for name, values in family.ranges.items()}
        if tuple(numbers.values()) in seen:
            continue
        seen.add(tuple(numbers.values()))
        answer = family.answer(**numbers)
        if answer is not None and 0 < answer <= LARGEST_ANSWER:
            yield numbers, answer
    raise ConfigurationError(f"{family.name}: its numbers do not suffice")


if __name__ == "__main__":
    sys.exit(main())
