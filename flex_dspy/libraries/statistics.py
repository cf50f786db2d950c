"""A summary of a library in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median_high
from typing import Any

from flex_dspy.core.tokens import tokens
from flex_dspy.libraries.contents import Contents
from flex_dspy.libraries.experience import Experience


def statistics(library: Contents, most: int = 5) -> dict[str, Any]:
    """A summary of a library, as plain objects.

    Args:
        library: The library.
        most: Largest number of categories, and of entries, in a list.
    """
    entries = list(library)
    sizes = [tokens(entry.text()) for entry in entries]
    used = [entry for entry in entries if entry.helped or entry.hurt]
    return {
        "task": library.task,
        "hash": library.hash,
        "parent": library.parent,
        "entries": len(entries),
        "zones": library.sizes(),
        "waiting": len(library.waiting),
        "pinned": sum(entry.pinned for entry in entries),
        "overlong": sum(entry.is_overlong() for entry in entries),
        "rules": sum(len(entry.rules) for entry in entries),
        "precedents": library.precedent_count,
        "categories": dict(Counter(entry.category for entry in entries).most_common(most)),
        "category_count": len({entry.category for entry in entries}),
        "tokens": {"total": sum(sizes), "median": _middle(sizes), "largest": max(sizes, default=0)},
        "never_shown": sum(not entry.shown for entry in entries),
        "most_helpful": [_use(entry) for entry in _best(used, lambda e: e.helped - e.hurt, most)],
        "most_misleading": [_use(entry) for entry in _best(used, lambda e: e.hurt - e.helped, most)],
        "age": {
            "commits": library.seen,
            "runs": dict(sorted(library.runs.items())),
            "median_entry": _middle([library.seen - entry.created_at for entry in entries]),
            "median_since_change": _middle([library.seen - entry.updated_at for entry in entries]),
        },
    }


def _middle(numbers: Sequence[int]) -> int:
    return median_high(numbers) if numbers else 0


def _best(entries: Iterable[Experience], worth: Any, most: int) -> list[Experience]:
    ranked = sorted((entry for entry in entries if worth(entry) > 0), key=lambda e: (-worth(e), e.id))
    return ranked[:most]


def _use(entry: Experience) -> dict[str, Any]:
    names = ("id", "zone", "category", "shown", "helped", "hurt")
    return {name: getattr(entry, name) for name in names}
