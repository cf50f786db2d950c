"""How much the audit of a library finds, and how often it is wrong: ``python -m tests.benchmarks.bench_audit``.

It prints a table of the planted hostile entries, of the further ones that are written with other tricks, of the
shipped libraries, and of the FLEX release's libraries where they lie in the folder that is named.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from flex_dspy.evaluation.intervals import wilson
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locations import read_path
from flex_dspy.sharing.audit import audit
from flex_dspy.sharing.places import texts
from flex_dspy.sharing.problem_index import ProblemIndex
from tests.hostile_entries import HELD_OUT, PLANTED, TEST_PROBLEM

ROOT = Path(__file__).parents[2]


def count_found(name: str, entries: Mapping[str, Experience]) -> None:
    """Print how many hostile entries are found, and the others."""
    tests = ProblemIndex([TEST_PROBLEM])
    missed = [title for title, entry in entries.items() if not audit(ExperienceLibrary([entry]), tests)]
    found = len(entries) - len(missed)
    low, high = wilson(found, len(entries))
    print(f"{name}: {found} of {len(entries)} found (95% interval {low:.0%} to {high:.0%}); missed: {missed or 'none'}")


def count_alarms(path: Path) -> None:
    """Print the false alarms of a library that nobody has tampered with."""
    library = read_path(path)
    start = time.process_time()
    report = audit(library)
    seconds = time.process_time() - start
    letters = sum(len(text) for entry in library for _, text in texts(entry))
    print(f"{path.name}: {report.text()}; {letters:,} letters in {seconds:.2f} s")
    print(*(f"    {finding.text()}" for finding in report.findings), sep="\n", end="\n" if report else "")


def main(folders: list[str]) -> None:
    """Print all numbers.

    Args:
        folders: With further libraries.
    """
    count_found("planted", PLANTED)
    count_found("other tricks", HELD_OUT)
    for folder in (ROOT / "exps", *map(Path, folders)):
        for path in sorted(folder.glob("*.json")):
            count_alarms(path)


if __name__ == "__main__":
    main(sys.argv[1:])
