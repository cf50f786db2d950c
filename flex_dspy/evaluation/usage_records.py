"""Usage records of a library's entries, for each example, and their totals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from flex_dspy.evaluation.records import Record
from flex_dspy.evaluation.settings import SOLVED
from flex_dspy.libraries.experience import Tally


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """Usage of a library's entries on one example.

    Attributes:
        version: Content hash of the version; in learning, the hash of the last published version.
        example: The example's id.
        shown: Ids of the entries in the prompt.
        score: The metric's score.
        relied: Ids of the shown entries that the actor says it relied on.
        source: Origin of the record, such as ``learn RUN 17``. An example counts once for each source. A record without
            a source counts each time.
        count: Number of records that were merged into this one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: str
    example: str
    shown: tuple[str, ...]
    score: float
    relied: tuple[str, ...] = ()
    source: str = ""
    count: int = 1


def usage_of_evaluation(version: str, records: Sequence[Record], source: str = "") -> Iterator[UsageRecord]:
    """Usage records of an evaluation. Examples on which the program failed are left out.

    Args:
        version: Content hash of the library that was measured.
        records: The evaluation's records.
        source: See ``UsageRecord``. For samples after the first, the number of the sample is added.
    """
    for record in records:
        if not record.error or record.outputs:  # an answer on which the metric failed counts as wrong
            used = set(record.outputs.get("experiences_used") or ())
            relied = tuple(entry_id for entry_id in record.shown if entry_id in used)
            origin = f"{source} sample {record.sample}" if source and record.sample else source
            yield UsageRecord(version, record.example_id, record.shown, record.score, relied, origin)


def usage_of_step(version: str, example: str, tally: Tally, solved: bool | None, source: str = "") -> UsageRecord:
    """Usage record of one training example, from the entries that its attempts were shown and relied on."""
    relied = tuple(dict.fromkeys((*tally.helped, *tally.hurt)))
    return UsageRecord(version, example, tally.shown, float(bool(solved)), relied, source)


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """Usage of an entry in one version.

    Attributes:
        shown: Number of examples that had the entry in their prompt.
        helped: Number of solved examples that relied on the entry.
        hurt: Number of other examples that relied on the entry.
        score: Sum of the scores of the examples that had the entry in their prompt.
    """

    shown: int = 0
    helped: int = 0
    hurt: int = 0
    score: float = 0.0

    def plus(self, record: UsageRecord, *, relied: bool, solved: bool) -> UsageTotal:
        """Total with one more record."""
        return UsageTotal(
            self.shown + record.count,
            self.helped + record.count * (relied and solved),
            self.hurt + record.count * (relied and not solved),
            self.score + record.count * record.score,
        )


def usage_totals(records: Iterable[UsageRecord], *, solved: float = SOLVED) -> dict[str, dict[str, UsageTotal]]:
    """Totals of the usage of each entry, by version.

    Args:
        records: Usage records.
        solved: The score from which an example counts as solved.

    Returns:
        Totals by version hash, in the order of first appearance, and then by entry id.
    """
    seen: set[tuple[str, str, str]] = set()
    by_version: dict[str, dict[str, UsageTotal]] = {}
    for record in records:
        key = (record.source, record.version, record.example)
        if record.source and key in seen:
            continue
        seen.add(key)
        totals, right = by_version.setdefault(record.version, {}), record.score >= solved
        for entry_id in record.shown:
            total = totals.get(entry_id, UsageTotal())
            totals[entry_id] = total.plus(record, relied=entry_id in record.relied, solved=right)
    return by_version
