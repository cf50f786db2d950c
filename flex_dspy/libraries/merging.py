"""Merges several libraries into one, for example the libraries of different models or teams.

Entries with the same lesson become one entry. Two entries are the same if they have the same id. They are also the same
if they are of one zone and one step, and have the same rules in any order, or the same first rule, or the same method
if neither has rules. Two texts are the same if they have the same words in the same order; spacing, punctuation around
words and the capital letter of a sentence do not count. The first rule is the lesson of an entry. The further rules
qualify it, and entries with different lessons often share them. A looser comparison would make the result depend on the
order of merging, because two texts can no longer be compared after they were merged into one.

The merged entry takes its texts from one of its members (entries with rules come first, then pinned entries, then the
latest changed). It takes the rules and precedents of all members. Usage is counted once: each entry keeps the counts of
its sources, and a source that occurs twice counts once. If the runs of one library include all runs of another, the
counts of its entries are assumed to include those of the same entries there.

If an entry of any library gathers the lessons of its kind, the kinds decide: entries of one kind become one entry,
whatever their zones. Entries of two kinds stay apart, even if they share a rule. A kind is a category, a method and a
step, word for word. Such an entry is made as the updater makes it: each rule once, each precedent beside its rule, and
a second entry only for rules that the first has no room for. Rules with more precedents come first.

Merging is therefore commutative, associative and idempotent: any order gives the same content hash. Gathered entries
have three rare exceptions, where merging in steps may give another hash than merging at once: an entry is full, the
libraries of one step do not gather yet, or libraries hold one example as a case of different rules. No lesson is lost
then.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.conflicts import Conflict, conflicts, normal_words
from flex_dspy.libraries.editing import EDITS
from flex_dspy.libraries.experience import Experience, Rule, Source
from flex_dspy.libraries.gathering import join_lessons, join_precedents, join_rules, kind_of, precedence
from flex_dspy.libraries.library import ExperienceLibrary

COUNTERS = ("shown", "helped", "hurt", "merged")


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of merging.

    Attributes:
        library: The merged library.
        duplicates: For each entry that was made from several, the ids of these entries.
        conflicts: Contradictions between entries. Merging does not resolve them.
        overlong: Ids of entries that exceed the caps after merging.
    """

    library: ExperienceLibrary
    duplicates: Mapping[str, tuple[str, ...]]
    conflicts: tuple[Conflict, ...]
    overlong: tuple[str, ...]


def merge(*libraries: ExperienceLibrary, names: Sequence[str] = (), any_task: bool = False) -> Merged:
    """Merge several libraries into one.

    Args:
        *libraries: At least one library.
        names: A name for each library in the provenance of its entries, such as its model.
        any_task: Whether libraries of different tasks may be merged; the result then has the alphabetically first task.

    Raises:
        ConfigurationError: If there is no library, there are more or fewer names than libraries, or tasks differ.
    """
    if not libraries or (names and len(names) != len(libraries)):
        raise ConfigurationError(f"merge needs libraries, and a name for each or none; got {len(libraries)}")
    tasks = sorted({library.task for library in libraries} - {""})
    if len(tasks) > 1 and not any_task:
        raise ConfigurationError(
            f"the libraries are of different tasks ({', '.join(tasks)}): name one of them, or merge them with "
            "any_task=True (flex-dspy library merge --any-task)"
        )
    task = tasks[0] if tasks else ""
    alike = [library.of_task(task) for library in libraries]
    named = list(zip(alike, names or [""] * len(libraries), strict=True))
    distinct = {library.hash: (library, name) for library, name in reversed(named) if len(library)}
    queue = _join_queues(alike)
    if len(distinct) < 2:
        library = next(iter(distinct.values()), named[0])[0].with_waiting(queue)
        return Merged(library, {}, conflicts(library), ())
    merged = _merge(list(distinct.values()), task)
    return replace(merged, library=merged.library.with_waiting(queue))


def new_conflicts(merged: Merged, libraries: Iterable[ExperienceLibrary]) -> tuple[Conflict, ...]:
    """The conflicts of a merged library that none of its parts has alone.

    Args:
        merged: The result of ``merge``.
        libraries: The libraries that were merged.
    """
    known = {(conflict.kind, conflict.about) for library in libraries for conflict in conflicts(library)}
    return tuple(conflict for conflict in merged.conflicts if (conflict.kind, conflict.about) not in known)


def _merge(named: Sequence[tuple[ExperienceLibrary, str]], task: str) -> Merged:
    gathers = any(entry.gathers for library, _ in named for entry in library)
    known = [_with_sources(entry, library, name, gathers=gathers) for library, name in named for entry in library]
    groups = _groups(known, gathers=gathers)
    joined = [(entry, group) for group in groups for entry in _join(group, gathers=gathers)]
    entries = _with_distinct_ids([entry for entry, _ in joined])
    libraries = [library for library, _ in named]
    merged = ExperienceLibrary(
        entries,
        task=task,
        seen=max(library.seen for library in libraries),
        runs=_latest(library.runs for library in libraries),
        origin=libraries[0].origin if all(library.origin == libraries[0].origin for library in libraries) else None,
    )
    made = [(entry, group) for entry, (_, group) in zip(entries, joined, strict=True)]
    members = {entry.id: tuple(sorted({e.id for e in group})) for entry, group in made}
    duplicates = {entry_id: ids for entry_id, ids in members.items() if len(ids) > 1}
    grown = tuple(
        entry.id for entry, group in made if entry.is_overlong() and not any(member.is_overlong() for member in group)
    )
    return Merged(merged, duplicates, conflicts(merged), grown)


def _join_queues(libraries: Iterable[ExperienceLibrary]) -> list[Experience]:
    """The waiting lessons of all libraries, each once."""
    copies: dict[tuple[str, str], list[Experience]] = defaultdict(list)
    for lesson in (lesson for library in libraries for lesson in library.waiting):
        copies[lesson.scope, lesson.id].append(lesson)
    return _with_distinct_ids([_join_waiting(group) for group in copies.values()])


def _join_waiting(group: Sequence[Experience]) -> Experience:
    """The latest copy of a waiting lesson, with the precedents of all copies."""
    latest = max(group, key=lambda copy: (copy.updated_at, copy.merged, *_precedence(copy)))
    created_at = min(copy.created_at for copy in group)
    return replace(latest, precedents=join_precedents([copy.precedents for copy in group]), created_at=created_at)


def _with_distinct_ids(entries: Sequence[Experience]) -> list[Experience]:
    """The entries with distinct ids: if entries of two scopes share an id, one of them gets another id."""
    scopes: dict[str, str] = {}
    for entry in entries:
        scopes[entry.id] = min(entry.scope, scopes.get(entry.id, entry.scope))
    return [entry if scopes[entry.id] == entry.scope else replace(entry, id="") for entry in entries]


def _latest(runs: Iterable[Mapping[str, int]]) -> dict[str, int]:
    result: dict[str, int] = {}
    for steps in runs:
        for run, step in steps.items():
            result[run] = max(step, result.get(run, 0))
    return result


# -- which entries are the same ----------------------------------------------------------------------------


def lesson_key(entry: Experience) -> str:
    """Digest of an entry's lesson: its zone and its first rule, or its method if it has no rules.

    Entries without a lesson are the same only if their precedents are the same.
    """
    if not entry.teaches:
        return entry.id
    return _digest(entry.zone, entry.rules[0].text if entry.rules else entry.method)


def lesson_keys(entry: Experience) -> tuple[str, ...]:
    """Digests of an entry's lesson, and of all its rules if it has several. Equal lessons share at least one digest."""
    if len(entry.rules) < 2:
        return (lesson_key(entry),)
    rules = "\x1e".join(sorted(_normal(rule.text) for rule in entry.rules))
    return lesson_key(entry), hashlib.sha256(f"{entry.zone}\x1d{rules}".encode()).hexdigest()[:16]


def _digest(zone: str, text: str) -> str:
    return hashlib.sha256(f"{zone}\x1f{_normal(text)}".encode()).hexdigest()[:16]


def _normal(text: str) -> str:
    return " ".join(normal_words(text)) or text


def _groups(entries: Sequence[Experience], *, gathers: bool) -> list[list[Experience]]:
    """Groups of entries that are the same, directly or through others, in the order of their first members."""
    leader = list(range(len(entries)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    first: dict[str, int] = {}
    for number, entry in enumerate(entries):
        for key in _keys(entry, gathers=gathers):
            one, other = sorted((find(first.setdefault(key, number)), find(number)))
            leader[other] = one
    groups: dict[int, list[Experience]] = defaultdict(list)
    for number, entry in enumerate(entries):
        groups[find(number)].append(entry)
    return list(groups.values())


def _keys(entry: Experience, *, gathers: bool) -> Iterator[str]:
    """Keys that an entry shares with its copies. If libraries gather, the kind of an entry stands for its lesson.

    The entry must have sources. Entries of two scopes share no key.
    """
    yield f"{entry.scope} id {entry.id}"
    yield from (f"{entry.scope} id {source.id}" for source in entry.sources)
    if gathers and (kind := kind_of(entry)):
        yield "\x1f".join((entry.scope, "kind", *kind))
    else:
        lessons = (lesson for source in entry.sources for lesson in source.lessons)
        yield from ("\x1f".join((entry.scope, "lesson", entry.step, lesson)) for lesson in lessons)


# -- where an entry comes from -----------------------------------------------------------------------------


def _with_sources(entry: Experience, library: ExperienceLibrary, name: str, *, gathers: bool) -> Experience:
    """The entry with all its known sources, including this library if it adds something.

    If libraries gather, the kind of an entry identifies it, whatever its lesson is now.
    """
    key = lesson_key(entry)
    if not entry.sources or _sum_counts(entry.sources) != _counts(entry):
        runs = tuple(sorted(run for run in library.runs if run != EDITS))
        lessons = lesson_keys(entry) if not entry.sources else (key,)
        # The entry's counts include those of the entries that became part of it.
        parts = {source.id for source in entry.sources if runs} - {entry.id}
        own = [Source(entry.id, name, runs, lessons, **_counts(entry)), *(Source(part, runs=runs) for part in parts)]
    elif (gathers and kind_of(entry)) or any(key in source.lessons for source in entry.sources):
        return entry
    else:  # a person gave it another lesson
        own = [Source(entry.id, lessons=(key,))]
    return replace(entry, sources=_union([*entry.sources, *own]))


def _union(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Each source once, with its greatest counts."""
    united: dict[tuple[Any, ...], Source] = {}
    for source in sources:
        key = (source.id, source.name, source.runs, source.lessons)
        known = united.get(key, source)
        united[key] = replace(known, **{c: max(getattr(known, c), getattr(source, c)) for c in COUNTERS})
    return tuple(united[key] for key in sorted(united))


def _counts(entry: Experience | Source) -> dict[str, int]:
    return {counter: getattr(entry, counter) for counter in COUNTERS}


def _sum_counts(sources: Sequence[Source]) -> dict[str, int]:
    """The sum of the counts of all sources, without double counting.

    Counts of an entry in a library with more runs include its counts in a library with fewer. A source without lessons
    and counts says that the counts of these runs are those of the entry that its entry became part of.
    """
    by_entry: dict[str, dict[frozenset[str], dict[str, int]]] = defaultdict(dict)
    for source in sources:
        of_runs = by_entry[source.id]
        known = of_runs.get(frozenset(source.runs), dict.fromkeys(COUNTERS, 0))
        of_runs[frozenset(source.runs)] = {c: max(known[c], getattr(source, c)) for c in COUNTERS}
    newest = {
        (key, runs) for key, of_runs in by_entry.items() for runs in of_runs if not any(map(runs.__lt__, of_runs))
    }
    total = {c: sum(by_entry[key][runs][c] for key, runs in newest) for c in COUNTERS}
    joined = {source.id for source in sources if source.lessons and (source.id, frozenset(source.runs)) in newest}
    return total | {"merged": total["merged"] + max(0, len(joined) - 1)}


# -- one entry of several ----------------------------------------------------------------------------------


def _join(group: Sequence[Experience], *, gathers: bool) -> list[Experience]:
    """Merge equal entries of several libraries into one entry; further entries gather what it has no room for.

    A further entry has a source with its id and without lessons. Merging drops this source and the id again, so that
    the result does not depend on the steps in between.
    """
    is_of_kind = any(entry.gathers for entry in group) or (gathers and any(map(kind_of, group)))
    joined, *further = join_lessons(group) if len(group) > 1 and is_of_kind else [_join_texts(group)]
    sources = [source for entry in group for source in entry.sources if source != Source(source.id)]
    own = {part.id: [source for source in sources if source.id == part.id] for part in further}
    ids = {entry.id for entry in group if Source(entry.id) not in entry.sources} - own.keys()
    joined = replace(joined, id=min(ids, default=""))
    rest = [source for source in sources if source.id not in own]
    return [_of_sources(joined, rest), *(_of_sources(part, [Source(part.id), *own[part.id]]) for part in further)]


def _of_sources(entry: Experience, sources: Sequence[Source]) -> Experience:
    """The entry with these sources and their counts."""
    counts: dict[str, Any] = _sum_counts(sources)
    return replace(entry, sources=_union(sources), **counts)


def _join_texts(group: Sequence[Experience]) -> Experience:
    """The entry that speaks for the group, with the rules and precedents of all."""
    speaker = max(group, key=_precedence)
    precedents = join_precedents([entry.precedents for entry in group])
    created_at = min(entry.created_at for entry in group)
    return replace(speaker, rules=_join_rules(speaker, group), precedents=precedents, created_at=created_at)


def _precedence(entry: Experience) -> tuple[Any, ...]:
    first = entry.rules[0].text if entry.rules else ""
    return precedence(entry, entry.zone, entry.method, first, entry.trajectory, entry.category, entry.priority)


def _join_rules(speaker: Experience, group: Sequence[Experience]) -> tuple[Rule, ...]:
    """The rules unchanged if all entries agree; else those of ``speaker``, then all others in alphabetical order."""
    if all(entry.rules == speaker.rules for entry in group):
        return speaker.rules
    first = [rule.text for rule in speaker.rules[:1]]
    return tuple(sorted(join_rules(group), key=lambda rule: (rule.text not in first, rule.text)))
