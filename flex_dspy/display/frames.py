"""Libraries, differences, versions and evaluations as pandas frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flex_dspy.core.scoring import measure_name
from flex_dspy.core.zones import ZONES
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.version import VersionRecord
from flex_dspy.libraries.diffing import COUNTERS, EntryChange, LibraryDiff
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary

if TYPE_CHECKING:
    import pandas as pd

_PLAIN = ("id", "zone", "category", "priority", "pinned", "method", "trajectory")
_COUNTS = (*COUNTERS, "created_at", "updated_at")


def library_frame(library: ExperienceLibrary) -> pd.DataFrame:
    """Table with one row for each entry, oldest first; the index is the entry's id.

    Columns are the fields of ``Experience``. ``rules`` holds a list of texts. ``precedents`` holds a list of example
    ids, so that ``frame.explode("precedents")`` can be joined to the frame of an evaluation.
    """
    import pandas as pd

    columns = [*_PLAIN, "rules", "precedents", *_COUNTS]
    return pd.DataFrame([_entry(entry) for entry in library], columns=columns).set_index("id")


def _entry(entry: Experience) -> dict[str, Any]:
    row = {name: getattr(entry, name) for name in (*_PLAIN, *_COUNTS)}
    precedents = [precedent.example_id for precedent in entry.precedents]
    return row | {"rules": [rule.text for rule in entry.rules], "precedents": precedents}


def diff_frame(diff: LibraryDiff) -> pd.DataFrame:
    """Table with one row for each entry that differs; the index is the entry's id.

    ``change`` is ``added``, ``removed``, ``revised``, or ``record`` if only the use or the precedents of an entry
    changed. Counters are differences.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {"id": entry.id, "change": "added", "category": entry.category} for entry in diff.added
    ]
    rows += [
        {"id": gone.entry.id, "change": "removed", "category": gone.entry.category, "merged_into": gone.merged_into}
        for gone in diff.removed
    ]
    rows += [_difference(change) for change in diff.changed]
    amounts = ["rules_added", "rules_removed", "rules_reworded", "precedents_gathered", "precedents_lost", *COUNTERS]
    frame = pd.DataFrame(rows, columns=["id", "change", "category", "fields", "merged_into", *amounts]).set_index("id")
    for name in ("fields", "merged_into"):
        frame[name] = [list(value) if isinstance(value, tuple) else [] for value in frame[name]]
    return frame.astype(dict.fromkeys(amounts, "Int64")).fillna(dict.fromkeys(amounts, 0))


def _difference(change: EntryChange) -> dict[str, Any]:
    return {
        "id": change.id,
        "change": "revised" if change.says_other else "record",
        "category": change.category,
        "fields": (*change.fields, *change.other),
        "rules_added": len(change.rules_added),
        "rules_removed": len(change.rules_removed),
        "rules_reworded": len(change.rules_reworded),
        "precedents_gathered": change.precedents_gathered,
        "precedents_lost": change.precedents_lost,
        **change.counters,
    }


def versions_frame(records: Sequence[VersionRecord]) -> pd.DataFrame:
    """Table with one row for each version, in order: its numbers, its sizes by zone, and its metrics by name.

    A graded score has its own name: ``|Spearman|``, ``|Spearman|_low``.
    """
    import pandas as pd

    columns = ["run", "step", "hash", "parent", "entries", *ZONES, "precedents"]
    frame = pd.DataFrame([_version(record) for record in records])
    return frame if len(frame) else pd.DataFrame(columns=columns)


def _version(record: VersionRecord) -> dict[str, Any]:
    row = asdict(record)
    metrics, sizes, precedents = row.pop("metrics"), row.pop("sizes"), row.pop("precedents")
    named = {measure_name(name, record.score): value for name, value in metrics.items()}
    return row | {"entries": record.entries} | sizes | {"precedents": precedents} | named


def evaluation_frame(evaluation: Evaluation) -> pd.DataFrame:
    """Table with one row for each record, in order.

    Columns are the fields of ``Record``, without the example's fields. An output field is named ``outputs.<name>``, a
    further measure ``measures.<name>``, as ``pandas.json_normalize`` names nested values.
    """
    import pandas as pd

    return pd.DataFrame([_record(record) for record in evaluation.records])


def _record(record: Record) -> dict[str, Any]:
    names = ("example_id", "sample", "problem", "reference", "score", "feedback", "error", "vote", "seconds")
    row = {name: getattr(record, name) for name in (*names, "prompt_tokens", "completion_tokens", "usd")}
    row["shown"] = list(record.shown)
    row |= {f"outputs.{name}": value for name, value in record.outputs.items()}
    return row | {f"measures.{name}": value for name, value in record.measures.items()}
