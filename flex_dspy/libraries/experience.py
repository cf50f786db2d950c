"""Experiences that an agent learns, and the edits that change a library.

An experience is one lesson on three levels (strategy, rules, instance), as in FLEX (arXiv 2511.06449):
``method`` is the strategy, ``rules`` are exact instructions, ``trajectory`` is one worked example.

Example:
    >>> from flex_dspy.libraries.experience import Experience, Precedent, Rule
    >>> lesson = Experience(
    ...     zone="golden",
    ...     method="Count the complement when 'at least one' is asked for.",
    ...     rules=(Rule("P(at least one) = 1 - P(none)", ("1 - (5/6)**4",)),),
    ...     precedents=(Precedent("dice-4", "Chance of a six in four throws?", "671/1296"),),
    ... )
    >>> lesson.id
    '46634f79d6aed726'
"""

from __future__ import annotations

import functools
import hashlib
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from flex_dspy.core.representations import Representable
from flex_dspy.core.scopes import check_scope
from flex_dspy.core.zones import Zone

# A misspelt key in a file edited by hand must be an error, not a silently missing value.
_CLOSED = ConfigDict(extra="forbid")


# A longer entry leaves no room for others in a prompt, and retrieval ranks it badly because of its long text.
MAX_RULES = 12
MAX_CASE_RULES = 60  # rules that have precedents of their own; a prompt shows only those near the problem
MAX_METHOD = 4_000
MAX_RULE = 1_500
MAX_EXAMPLES = 4
MAX_TRAJECTORY = 6_000

INSTEAD, AVOID = "Instead:", "Avoid:"  # how critics begin rules about mistakes


@dataclass(frozen=True, slots=True)
class Rule:
    """One tactical rule: an exact instruction, when to follow it, and short examples."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    text: str
    examples: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of the rule in its precedents: eight hexadecimal digits of the hash of its text."""
        return rule_key(self.text)

    @property
    def advice(self) -> str:
        """The text without "Instead:" at its beginning: rules with the same advice are one rule in two wordings."""
        return advice_of(self.text)

    def within_caps(self) -> Rule:
        """The same rule with its texts cut to the caps."""
        return Rule(self.text[:MAX_RULE], tuple(text[:MAX_RULE] for text in self.examples[:MAX_EXAMPLES]))


@functools.lru_cache(maxsize=20_000)
def rule_key(text: str) -> str:
    """See ``Rule.key``."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def advice_of(text: str) -> str:
    """See ``Rule.advice``."""
    if not text.startswith(INSTEAD):
        return text
    said = text.removeprefix(INSTEAD).strip()
    return said[:1].upper() + said[1:]


@dataclass(frozen=True, slots=True)
class Precedent:
    """A solved case that an experience was distilled from: a retrieval key and its provenance.

    Attributes:
        example_id: The example's id (see ``flex_dspy.core.examples.example_id``).
        problem: The problem's text, as the actor saw it.
        answer: The reference answer.
        trace: The record that it comes from: ``mlflow:EXPERIMENT/TRACE`` or ``file:NAME#ROW``; "" for none.
        rule: Key of the entry's rule that it is a case of, in an entry that gathers several lessons; "" for the first
            rule. A waiting lesson has it if its updater gathers.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    example_id: str
    problem: str
    answer: str
    trace: Annotated[str, Field(exclude_if=operator.not_)] = ""  # a file leaves it out if it is empty
    rule: Annotated[str, Field(exclude_if=operator.not_)] = ""


_rule_of = operator.attrgetter("rule")


@dataclass(frozen=True, slots=True)
class Source:
    """The library that a merged entry came from, and its usage there (see ``flex_dspy.libraries.merging``).

    Attributes:
        id: The entry's id in that library.
        name: Name of that library, such as the model that learned it.
        runs: The learning runs that made that library, sorted; empty if none is known.
        lessons: Digests of the entry's lesson; they identify the same lesson later. None for an entry that was part of
            the merged entry in that library, so that its counts there are included.
        shown: Number of attempts in that library that had the entry in their prompt.
        helped: Number of successful attempts in that library that relied on it.
        hurt: Number of failed attempts in that library that relied on it.
        merged: Number of lessons that were merged into it in that library.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    id: str
    name: str = ""
    runs: tuple[str, ...] = ()
    lessons: tuple[str, ...] = ()
    shown: int = 0
    helped: int = 0
    hurt: int = 0
    merged: int = 0

    @property
    def is_marker(self) -> bool:
        """Whether it only marks an id for later merging. There is nothing in it for people to read."""
        return not (self.name or self.lessons)


class _Computed:
    """Room for what is computed from an entry's fields once, as an entry never changes."""

    __slots__ = ("_case_rules", "_rules_by_key")
    _case_rules: frozenset[str]
    _rules_by_key: Mapping[str, Rule]


@dataclass(frozen=True, slots=True)
class Experience(_Computed, Representable):
    """One lesson with its provenance and its usage record.

    Attributes:
        id: Sixteen hexadecimal digits of the content's hash; filled in when empty.
        zone: ``golden`` from success, ``warning`` from failure, ``mixed`` from failure to success.
        method: The strategy, one paragraph; "" with no rules and no trajectory for an entry that keeps precedents only.
        rules: Tactical rules.
        trajectory: The annotated instance it was learned on.
        category: The problem family, free text.
        priority: 1 (minor) to 5 (decisive).
        precedents: Precedents behind it.
        shown: How many attempts had it in their prompt.
        helped: How many successful attempts relied on it.
        hurt: How many failed attempts relied on it.
        merged: How many other lessons were merged into it.
        created_at: Logical time of its creation: the number of examples that the library had learned from. A library
            file holds no dates, so that the same run writes the same bytes; MLflow keeps the dates.
        updated_at: Logical time of its last change by an edit.
        pinned: Whether a person protects it: it is never pruned, and merges only add precedents to it.
        origin: Fields of a foreign format, kept so that they can be written back.
        sources: In a merged library, the entries that it was made from.
        step: Name of the predictor that it is for, if the program has several; "" for all of them.
        author: The person who wrote it; "" if the critic wrote it.
        scope: Its owner: a tenant, user, agent or team; "" for all. See ``ExperienceLibrary.scoped``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    id: str = field(default="", kw_only=True)  # first, so that it is first in a file
    zone: Zone
    method: str
    rules: tuple[Rule, ...] = ()
    trajectory: str = ""
    category: str = ""
    priority: int = 3
    precedents: tuple[Precedent, ...] = ()
    shown: int = 0
    helped: int = 0
    hurt: int = 0
    merged: int = 0
    created_at: int = 0
    updated_at: int = 0
    pinned: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict, hash=False)
    # A file leaves out empty sources, so that libraries that were never merged keep their bytes and hash.
    sources: Annotated[tuple[Source, ...], Field(exclude_if=operator.not_)] = ()
    step: Annotated[str, Field(exclude_if=operator.not_)] = ""
    author: Annotated[str, Field(exclude_if=operator.not_)] = ""
    scope: Annotated[str, Field(exclude_if=operator.not_)] = ""

    def __post_init__(self) -> None:
        if not 1 <= self.priority <= 5:
            raise ValueError(f"priority must be 1 to 5, got {self.priority}")
        if min(self.shown, self.helped, self.hurt, self.merged, self.created_at, self.updated_at) < 0:
            raise ValueError("counters and logical times must not be negative")
        check_scope(self.scope)
        if not self.id:
            object.__setattr__(self, "id", self._content_id())

    def _content_id(self) -> str:
        first = self.precedents[0].example_id if self.precedents else ""
        parts = [self.zone, self.method, self.trajectory, first]
        for rule in self.rules:
            parts += [rule.text, *rule.examples]
        parts += [self.step] if self.step else []
        parts += [f"scope {self.scope}"] if self.scope else []  # the same lesson in two scopes gives two entries
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]

    def of_scope(self, scope: str) -> Experience:
        """A copy of the lesson for another scope; the copy has another id."""
        return self if scope == self.scope else replace(self, scope=scope, id="")

    @property
    def teaches(self) -> bool:
        """Whether the entry holds a lesson; otherwise it holds precedents only."""
        return bool(self.method or self.rules or self.trajectory)

    @property
    def gathers(self) -> bool:
        """Whether the entry gathers lessons, so that its precedents say which rule they are cases of."""
        return any(map(_rule_of, self.precedents))

    def case_rules(self) -> frozenset[str]:
        """Keys of the rules that have precedents of their own; empty if the entry holds one lesson."""
        if not hasattr(self, "_case_rules"):  # an entry may have thousands of precedents
            keys = frozenset(map(_rule_of, self.precedents))
            named = self.rules_by_key() if any(keys) else {}
            # A precedent whose rule a person removed counts as one of the first rule.
            found = (key if key in named else self.rules[0].key for key in keys if named)
            object.__setattr__(self, "_case_rules", frozenset(found))
        return self._case_rules

    def rules_by_key(self) -> Mapping[str, Rule]:
        """The rules, in order, by the names that precedents give them."""
        if not hasattr(self, "_rules_by_key"):
            object.__setattr__(self, "_rules_by_key", {rule.key: rule for rule in self.rules})
        return self._rules_by_key

    def case_counts(self) -> Counter[str]:
        """Number of precedents by the key of their rule; empty if the entry holds one lesson."""
        if not self.gathers or not self.rules:
            return Counter()
        named, first = self.rules_by_key(), self.rules[0].key
        return Counter(each.rule if each.rule in named else first for each in self.precedents)

    def named_cases(self) -> tuple[Precedent, ...]:
        """The precedents, each with the key of its rule if the entry gathers lessons, the first rule's as well."""
        if not self.gathers or not self.rules:
            return self.precedents
        first = self.rules[0].key
        return tuple(case if case.rule else replace(case, rule=first) for case in self.precedents)

    def with_cases(self, cases: Iterable[Precedent]) -> Experience:
        """The entry with these precedents. Those of the first rule lose its key, so that equal entries are equal.

        Args:
            cases: See ``named_cases``.
        """
        first = self.rules[0].key if self.rules else ""
        short = tuple(replace(case, rule="") if case.rule and case.rule == first else case for case in cases)
        return replace(self, precedents=short)

    def wording(self, rule: str) -> str:
        """The text of the entry's rule that gives the same advice as a rule; "" if there is none.

        Args:
            rule: The text of the rule.
        """
        if rule_key(rule) in self.rules_by_key():
            return rule
        advice = advice_of(rule)
        return next((held.text for held in self.rules if held.advice == advice), "")

    def has_room(self, rule: str) -> bool:
        """Whether the entry can take precedents of a rule: it holds the rule, or is not pinned and may take one more.

        Args:
            rule: The text of the rule.
        """
        if self.wording(rule):
            return True
        return not self.pinned and len(self.case_rules()) < MAX_CASE_RULES

    def text(self) -> str:
        """The text of the lesson for lexical search, without precedents."""
        return "\n".join([self.category, self.method, *(rule.text for rule in self.rules)])

    def is_overlong(self) -> bool:
        """Whether the entry exceeds the caps, as some FLEX entries do (see ``flex_dspy.libraries.splitting``)."""
        return self.within_caps() != self

    def within_caps(self) -> Experience:
        """The same lesson with its texts cut to the caps."""
        rules = tuple(rule.within_caps() for rule in within_number(self.rules, self.case_rules()))
        return replace(self, method=self.method[:MAX_METHOD], rules=rules, trajectory=self.trajectory[:MAX_TRAJECTORY])


def within_number(rules: Iterable[Rule], case_rules: Collection[str]) -> list[Rule]:
    """The first rules of an entry: ``MAX_CASE_RULES`` with precedents of their own, and ``MAX_RULES`` others.

    Args:
        rules: The rules, in order.
        case_rules: Keys of the rules with precedents of their own.
    """
    room = {True: MAX_CASE_RULES, False: MAX_RULES}
    kept = []
    for rule in rules:
        is_of_cases = rule.key in case_rules
        if room[is_of_cases] > 0:
            room[is_of_cases] -= 1
            kept.append(rule)
    return kept


@dataclass(frozen=True, slots=True)
class Insert:
    """Add a lesson as a new entry."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    experience: Experience
    reason: str = ""
    action: Literal["insert"] = "insert"


@dataclass(frozen=True, slots=True)
class Propose:
    """Propose a lesson that waits for a person's approval. Until then no actor sees it.

    If a waiting lesson has exactly the same words, the new lesson only adds its precedents to that lesson.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    experience: Experience
    reason: str = ""
    action: Literal["propose"] = "propose"


@dataclass(frozen=True, slots=True)
class Approve:
    """Insert a waiting lesson. If it does not wait, nothing happens.

    If the updater gathers lessons of its kind, the lesson is merged into the entry of its kind that has room for it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    entry_id: str
    reason: str = ""
    action: Literal["approve"] = "approve"


@dataclass(frozen=True, slots=True)
class Reject:
    """Drop a waiting lesson. If it does not wait, nothing happens."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    entry_id: str
    reason: str = ""
    action: Literal["reject"] = "reject"


@dataclass(frozen=True, slots=True)
class Revision:
    """Replace one rule of an entry by a better one."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    old: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Merge:
    """Merge a lesson into the entry ``target``.

    A merge holds the changes only, not the new entry, so that two writers can merge into one entry at the same time.
    If ``target`` is gone, or would exceed its caps, the lesson is inserted as a new entry. A pinned target takes the
    lesson's precedents only. A lesson is never merged into an entry of another scope.

    ``case_of`` gathers: the text of the target's rule that the lesson's precedents are cases of. The target keeps which
    precedents belong to which rule. If the zones differ, it becomes ``mixed``. A rule that the target holds in another
    wording (see ``Rule.advice``) keeps the target's wording. Other rules that exceed the caps are left out. A pinned
    target without the rule stays as it is, and the lesson is inserted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    target: str
    experience: Experience
    add_rules: tuple[Rule, ...] = ()
    revise_rules: tuple[Revision, ...] = ()
    method: str | None = None
    reason: str = ""
    case_of: Annotated[str, Field(exclude_if=operator.not_)] = ""
    action: Literal["merge"] = "merge"


@dataclass(frozen=True, slots=True)
class Discard:
    """Discard a lesson, because the library already holds it or because it is empty."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    experience_id: str
    reason: str = ""
    action: Literal["discard"] = "discard"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove an entry. If it is gone already, or is pinned and ``force`` is not set, nothing happens."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    entry_id: str
    reason: str = ""
    force: bool = False
    action: Literal["remove"] = "remove"


@dataclass(frozen=True, slots=True)
class Revise:
    """Change the content of an entry; its id, precedents and usage record stay. None leaves a field as it is.

    A person revises, so a pinned entry is changed too. If the entry is gone, nothing happens.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    entry_id: str
    reason: str = ""
    zone: Zone | None = None
    method: str | None = None
    rules: tuple[Rule, ...] | None = None
    trajectory: str | None = None
    category: str | None = None
    priority: Annotated[int, Field(ge=1, le=5)] | None = None
    action: Literal["revise"] = "revise"

    def fields(self) -> dict[str, Any]:
        """The new values, by the name of the field of ``Experience``."""
        values = {name: getattr(self, name) for name in REVISABLE}
        return {name: value for name, value in values.items() if value is not None}


REVISABLE = ("zone", "method", "rules", "trajectory", "category", "priority")


@dataclass(frozen=True, slots=True)
class Pin:
    """Pin an entry, or unpin it. If it is gone, nothing happens."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    entry_id: str
    pinned: bool = True
    reason: str = ""
    action: Literal["pin"] = "pin"


Edit = Insert | Merge | Discard | Propose | Approve | Reject | Remove | Revise | Pin
EntryEdit = Remove | Revise | Pin  # of an existing entry
PersonEdit = Insert | Propose | Approve | Reject | EntryEdit


@dataclass(frozen=True, slots=True)
class Tally:
    """The entries that the attempts at one example saw, and whether relying on them helped.

    Only entries of the example's own scope are counted, because others may not change an entry's usage record.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    shown: tuple[str, ...] = ()
    helped: tuple[str, ...] = ()
    hurt: tuple[str, ...] = ()
    scope: Annotated[str, Field(exclude_if=operator.not_)] = ""

    def without(self, hidden: Callable[[str], bool]) -> Tally:
        """The tally without the hidden entries."""
        shown, helped, hurt = (
            tuple(entry_id for entry_id in ids if not hidden(entry_id)) for ids in (self.shown, self.helped, self.hurt)
        )
        return Tally(shown, helped, hurt, self.scope)


@dataclass(frozen=True, slots=True)
class Commit:
    """All changes from one example. They are applied together or not at all.

    Attributes:
        run: Identity of the learning run; ``run`` and ``step`` identify a commit after a crash.
        step: Position of the example in the run, from 1.
        edits: The updater's edits, in order.
        tally: How the attempts at the example used the library.
        solved: Whether an attempt was accepted; None if there was no attempt (study).
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    run: str
    step: int
    edits: tuple[Annotated[Edit, Field(discriminator="action")], ...] = ()
    tally: Tally = field(default_factory=Tally)
    solved: bool | None = None


COMMIT_JSON: TypeAdapter[Commit] = TypeAdapter(Commit)
EXPERIENCES_JSON: TypeAdapter[list[Experience]] = TypeAdapter(list[Experience])
