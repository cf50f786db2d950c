"""The difference between two libraries, entry by entry."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flex_dspy.core import representations
from flex_dspy.core.terminal import printable
from flex_dspy.libraries.contents import Contents
from flex_dspy.libraries.experience import Experience, Rule

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("zone", "category", "priority", "pinned", "method", "trajectory")
COUNTERS = ("shown", "helped", "hurt", "merged")
# A removed and an added rule count as one reworded rule from this share of common words in order.
REWORDED = 0.5


@dataclass(frozen=True, slots=True)
class Removed:
    """A removed entry, and the ids of the entries that now hold all its rules or were made from it."""

    entry: Experience
    merged_into: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EntryChange:
    """The changes in one entry.

    Attributes:
        id: The entry's id.
        category: The category it has now.
        fields: Old and new value of each field of ``FIELDS`` that changed.
        rules_added: Texts of new rules.
        rules_removed: Texts of removed rules.
        rules_reworded: Old and new text of rules that changed.
        precedents_gathered: Number of new precedents.
        precedents_lost: Number of removed precedents.
        counters: By how much each of ``COUNTERS`` changed; unchanged counters are left out.
        other: Names of further fields that changed, such as a rule's examples.
    """

    id: str
    category: str
    fields: Mapping[str, tuple[Any, Any]]
    rules_added: tuple[str, ...] = ()
    rules_removed: tuple[str, ...] = ()
    rules_reworded: tuple[tuple[str, str], ...] = ()
    precedents_gathered: int = 0
    precedents_lost: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    other: tuple[str, ...] = ()

    @property
    def says_other(self) -> bool:
        """Whether the content of the entry changed, and not only its usage record, precedents and sources."""
        rules = self.rules_added or self.rules_removed or self.rules_reworded
        return bool(self.fields or rules or set(self.other) - {"sources", "dates"})


@dataclass(frozen=True, slots=True)
class LibraryDiff(representations.Representable):
    """The difference between two libraries. Each list begins with the oldest entry.

    Attributes:
        older: Hash of the older library.
        newer: Hash of the newer library.
        added: Entries that only the newer library has.
        removed: Entries that only the older library has.
        changed: Changes of the entries that both libraries have.
    """

    older: str
    newer: str
    added: tuple[Experience, ...]
    removed: tuple[Removed, ...]
    changed: tuple[EntryChange, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __repr__(self) -> str:
        counts = f"{len(self.added)} added, {len(self.removed)} removed, {len(self.changed)} changed"
        return f"LibraryDiff({self.older[:12]} to {self.newer[:12]}: {counts})"

    def as_dict(self) -> dict[str, Any]:
        """The difference as plain objects, for JSON."""
        return {
            "older": self.older,
            "newer": self.newer,
            "added": [asdict(entry) for entry in self.added],
            "removed": [
                {"id": gone.entry.id, "category": gone.entry.category, "merged_into": list(gone.merged_into)}
                for gone in self.removed
            ],
            "changed": [asdict(change) for change in self.changed],
        }

    def text(self, *, colour: bool = False, limit: int | None = None) -> str:
        """The difference as text for a terminal.

        Args:
            colour: Whether to colour added and removed text; escape sequences in the entries are then made visible.
            limit: Largest number of entries of each kind; None for all.
        """
        told = [change for change in self.changed if change.says_other]
        quiet = [change for change in self.changed if not change.says_other]
        lines = [self._summary()]
        lines += _some(self.added, limit, _insertion_lines)
        lines += _some(self.removed, limit, _removal_lines)
        lines += _some(told, limit, _change_lines)
        lines += _some(quiet, limit, _change_lines)
        return "\n".join(_colour(printable(line)) for line in lines) if colour else "\n".join(lines)

    def to_pandas(self) -> pd.DataFrame:
        """A table with one row for each entry that differs. See ``flex_dspy.display.frames.diff_frame``."""
        return representations.frame(self)

    def _summary(self) -> str:
        gathered = sum(change.precedents_gathered for change in self.changed)
        said = sum(change.says_other for change in self.changed)
        kept = sum(bool(gone.merged_into) for gone in self.removed)
        counts = [
            f"{len(self.added)} added",
            f"{len(self.removed)} removed" + (f" ({kept} merged into others)" if kept else ""),
            f"{said} revised",
            f"{len(self.changed) - said} say the same with another record",
        ]
        return f"{self.older[:12]} to {self.newer[:12]}: {', '.join(counts)}; {gathered} precedents gathered"


def diff(older: Contents, newer: Contents) -> LibraryDiff:
    """The difference from one library to another. The cost is linear in the size of both.

    Args:
        older: The first library.
        newer: The second library; it need not descend from the first.
    """
    before, after = ({entry.id: entry for entry in library} for library in (older, newer))  # a library sorts itself
    gone = [entry for entry in before.values() if entry.id not in after]
    homes = _homes(newer) if gone else {}
    return LibraryDiff(
        older.hash,
        newer.hash,
        tuple(entry for entry in after.values() if entry.id not in before),
        tuple(Removed(entry, _find_homes(entry, homes)) for entry in gone),
        tuple(_change(old, new) for old, new in _pairs(before, after) if old != new),
    )


def _pairs(
    before: Mapping[str, Experience], after: Mapping[str, Experience]
) -> Iterator[tuple[Experience, Experience]]:
    """Entries that both libraries have, without those that they share: comparing their fields is slow."""
    for new in after.values():
        old = before.get(new.id)
        if old is not None and old is not new:
            yield old, new


def _homes(library: Contents) -> dict[str, list[str]]:
    """Ids of entries by the rules that they hold, and by the entries that they were made from."""
    homes: dict[str, list[str]] = {}
    for entry in library:
        for key in {*(f"rule {rule.text}" for rule in entry.rules), *(f"id {s.id}" for s in entry.sources)}:
            homes.setdefault(key, []).append(entry.id)
    return homes


def _find_homes(entry: Experience, homes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    made_of_it = homes.get(f"id {entry.id}", ())
    if made_of_it or not entry.rules:
        return tuple(made_of_it)
    holders = [set(homes.get(f"rule {rule.text}", ())) for rule in entry.rules]
    return tuple(sorted(set.intersection(*holders)))


def _change(old: Experience, new: Experience) -> EntryChange:
    gone, came = _only_in(old.rules, new.rules), _only_in(new.rules, old.rules)
    reworded = _pair_reworded(gone, came)
    fresh, lost = (Counter(replace(case, rule="") for case in entry.precedents) for entry in (new, old))
    return EntryChange(
        id=new.id,
        category=new.category,
        fields={name: (a, b) for name in FIELDS if (a := getattr(old, name)) != (b := getattr(new, name))},
        rules_added=tuple(text for text in came if text not in {b for _, b in reworded}),
        rules_removed=tuple(text for text in gone if text not in {a for a, _ in reworded}),
        rules_reworded=tuple(reworded),
        precedents_gathered=(fresh - lost).total(),
        precedents_lost=(lost - fresh).total(),
        counters={name: by for name in COUNTERS if (by := getattr(new, name) - getattr(old, name))},
        other=tuple(_other(old, new)),
    )


def _only_in(rules: Sequence[Rule], others: Sequence[Rule]) -> list[str]:
    known = {rule.text for rule in others}
    return [rule.text for rule in rules if rule.text not in known]


def _pair_reworded(gone: Sequence[str], came: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of an old and a new text with similar words. The most similar texts are paired first."""
    alike = [
        (difflib.SequenceMatcher(None, old.split(), new.split(), autojunk=False).ratio(), old, new)
        for old in gone
        for new in came
    ]
    pairs: dict[str, str] = {}
    for ratio, old, new in sorted(alike, key=lambda pair: -pair[0]):
        if ratio >= REWORDED and old not in pairs and new not in pairs.values():
            pairs[old] = new
    return [(old, pairs[old]) for old in gone if old in pairs]


def _other(old: Experience, new: Experience) -> Iterator[str]:
    examples = {rule.text: rule.examples for rule in old.rules}
    if any(examples.get(rule.text, rule.examples) != rule.examples for rule in new.rules):
        yield "examples"
    if _in_order(old, new) != _in_order(new, old):
        yield "order of rules"
    if _rules_of_cases(old, new) != _rules_of_cases(new, old):
        yield "rules of precedents"
    if dict(old.origin) != dict(new.origin):
        yield "origin"
    if old.sources != new.sources:
        yield "sources"
    if replace(old, created_at=new.created_at, updated_at=new.updated_at) == new:  # nothing else
        yield "dates"


def _in_order(entry: Experience, other: Experience) -> list[str]:
    """The rules that both entries hold, in the order of the first."""
    held = {rule.text for rule in other.rules}
    return [rule.text for rule in entry.rules if rule.text in held]


def _rules_of_cases(entry: Experience, other: Experience) -> dict[tuple[str, str], str]:
    """For each precedent whose rule both entries hold, this rule."""
    both = entry.rules_by_key().keys() & other.rules_by_key().keys()
    return {(case.example_id, case.answer): case.rule for case in entry.named_cases() if case.rule in both}


# -- as text -----------------------------------------------------------------------------------------------


def _some(items: Sequence[Any], limit: int | None, lines_of: Callable[[Any], list[str]]) -> list[str]:
    shown = items if limit is None else items[:limit]
    left = len(items) - len(shown)
    return [*(line for item in shown for line in lines_of(item)), *([f"  ... and {left} more"] if left else [])]


def _head(entry: Experience) -> str:
    return f"{entry.id} {entry.zone}, {_short(entry.category or 'no category', 60)}"


def _insertion_lines(entry: Experience) -> list[str]:
    rules = [f"      + {_short(rule.text)}" for rule in entry.rules]
    return [f"+ {_head(entry)}: {_short(entry.method)}", *rules]


def _removal_lines(gone: Removed) -> list[str]:
    where = f", merged into {', '.join(gone.merged_into[:3])}" if gone.merged_into else ""
    return [f"- {_head(gone.entry)}: {_short(gone.entry.method)}{where}"]


def _change_lines(change: EntryChange) -> list[str]:
    parts = [f"{name} {by:+d}" for name, by in change.counters.items()]
    for count, what in ((change.precedents_gathered, "gathered"), (change.precedents_lost, "lost")):
        parts += [f"{count} precedent{'s' * (count > 1)} {what}"] if count else []
    parts += [f"{name} changed" for name in change.other]
    lines = [f"~ {change.id} {_short(change.category or 'no category', 60)}" + (": " if parts else "")]
    lines[0] += ", ".join(parts)
    for name, (old, new) in change.fields.items():
        lines += [f"      - {name}: {_short(str(old))}", f"      + {name}: {_short(str(new))}"]
    for old, new in change.rules_reworded:
        lines += [f"      - {_short(old)}", f"      + {_short(new)}"]
    lines += [f"      - {_short(text)}" for text in change.rules_removed]
    return lines + [f"      + {_short(text)}" for text in change.rules_added]


def _short(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


_COLOURS = {"+": "\033[32m", "-": "\033[31m", "~": "\033[33m"}


def _colour(line: str) -> str:
    colour = _COLOURS.get(line.lstrip()[:1])
    return f"{colour}{line}\033[0m" if colour else line
