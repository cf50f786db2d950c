"""The entries of a library by category, so that a reader finds all that it says about one kind of problem together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flex_dspy.core.zones import ZONES, Zone
from flex_dspy.libraries.experience import AVOID, Experience


@dataclass(frozen=True, slots=True)
class Category:
    """All entries of one category.

    Attributes:
        name: The category; "" for entries without one.
        entries: Its entries: golden, warning, then mixed, and in each zone the most helpful first.
    """

    name: str
    entries: tuple[Experience, ...]

    @property
    def sizes(self) -> Mapping[Zone, int]:
        """Number of entries by zone."""
        return Counter(entry.zone for entry in self.entries)

    @property
    def precedent_count(self) -> int:
        """Number of solved cases."""
        return sum(len(entry.precedents) for entry in self.entries)

    @property
    def helped(self) -> int:
        """How often one of its entries helped."""
        return sum(entry.helped for entry in self.entries)

    @property
    def hurt(self) -> int:
        """How often one of its entries misled."""
        return sum(entry.hurt for entry in self.entries)

    @property
    def methods(self) -> list[str]:
        """The different methods of its entries, in order."""
        return list(dict.fromkeys(entry.method for entry in self.entries))

    def rules(self) -> list[tuple[str, list[Experience]]]:
        """Its different rules, each with the entries that hold it: the rule with the most entries first, warnings last.

        Rules are equal if they differ only in the word "Instead:" at the beginning and in letter case.
        """
        texts: dict[str, str] = {}
        holders: dict[str, list[Experience]] = {}
        for entry in self.entries:
            for rule in entry.rules:
                same = rule.advice.casefold()
                texts.setdefault(same, rule.text)
                holders.setdefault(same, []).append(entry)
        order = sorted(holders, key=lambda same: (texts[same].startswith(AVOID), -len(holders[same])))
        return [(texts[same], holders[same]) for same in order]


def by_category(entries: Iterable[Experience]) -> list[Category]:
    """Group entries by category. The category with the most solved cases comes first; ties by name.

    Letter case does not tell categories apart; the spelling of the first entry is kept.
    """
    groups: dict[str, list[Experience]] = {}
    for entry in entries:
        groups.setdefault(entry.category.casefold(), []).append(entry)
    found = [Category(group[0].category, tuple(sorted(group, key=_order))) for group in groups.values()]
    return sorted(found, key=lambda category: (-category.precedent_count, category.name))


def _order(entry: Experience) -> tuple[int, int, int, str]:
    return ZONES.index(entry.zone), -entry.helped, -len(entry.precedents), entry.id
