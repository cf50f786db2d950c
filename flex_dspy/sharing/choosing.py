"""Chooses the entries of an export by their measured value, within a budget of tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from flex_dspy.core.tokens import tokens
from flex_dspy.evaluation.entry_values import EntryValue
from flex_dspy.libraries.experience import Experience

Reason = Literal["measured to do harm", "no room", "teaches nothing", "its id has other marks than letters and digits"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The entries of an export, and the entries that it leaves out.

    Attributes:
        entries: The chosen entries, the best first.
        left_out: The other entries, each with the reason.
        measured: How many of the chosen entries have a measured value.
        tokens: An estimate of the tokens of the chosen entries.
    """

    entries: tuple[Experience, ...]
    left_out: tuple[tuple[Experience, Reason], ...]
    measured: int
    tokens: int

    def text(self) -> str:
        """One line with the numbers of chosen and left-out entries, and the reasons."""
        total = len(self.entries) + len(self.left_out)
        reasons = Counter(reason for _, reason in self.left_out)
        why = "".join(f"; left out: {count} ({reason})" for reason, count in reasons.items())
        how = f"{self.measured} by measured value" if self.measured else "by their record of use, as none was measured"
        return f"{len(self.entries)} of {total} entries, {how}{why}"


def choose(
    entries: Iterable[Experience],
    values: Mapping[str, EntryValue],
    budget: int,
    render: Callable[[Experience], str],
) -> Choice:
    """Choose entries, the best first, as long as the budget allows.

    The order is: pinned entries; entries with a measured value, by the lower end of its interval; entries without a
    measured value, by how much more often they helped than hurt; entries whose measured value is below zero, but
    perhaps only by chance. An entry whose whole interval is below zero is left out.

    Args:
        entries: The entries of a library.
        values: Measured values by entry id.
        budget: Most tokens of all rendered entries together.
        render: The text of an entry in the export.
    """
    chosen: list[Experience] = []
    left_out: list[tuple[Experience, Reason]] = []
    used = 0
    for entry in sorted(entries, key=lambda entry: _rank(entry, values.get(entry.id))):
        size = tokens(render(entry))
        if reason := _reason(entry, values.get(entry.id), budget - used - size):
            left_out.append((entry, reason))
        else:
            chosen.append(entry)
            used += size
    measured = sum(entry.id in values and values[entry.id].is_known for entry in chosen)
    return Choice(tuple(chosen), tuple(left_out), measured, used)


def _reason(entry: Experience, value: EntryValue | None, room: int) -> Reason | None:
    if not entry.teaches:
        return "teaches nothing"
    if not has_plain_id(entry):
        return "its id has other marks than letters and digits"
    if value is not None and value.high is not None and value.high < 0 and not entry.pinned:
        return "measured to do harm"
    return "no room" if room < 0 else None


def has_plain_id(entry: Experience) -> bool:
    """Whether an entry's id is safe in a comment. In a file from strangers, an id may be any text."""
    return re.fullmatch(r"[0-9A-Za-z._]{1,80}", entry.id) is not None


def _rank(entry: Experience, value: EntryValue | None) -> tuple[object, ...]:
    """The sort key of an entry; the best entry has the smallest key."""
    use = (entry.hurt - entry.helped, -entry.priority, -len(entry.precedents), entry.created_at, entry.id)
    if entry.pinned:
        return (0, 0.0, *use)
    if value is None or value.effect is None or value.low is None:
        return (2, 0.0, *use)
    return (1 if value.effect >= 0 else 3, -value.low, *use)
