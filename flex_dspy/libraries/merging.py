"""One library of several: what one model or team learned, handed to another.

Entries that teach the same become one. Two are the same if they have one id; or if they are of one zone and have the
same rules in any order, or the same first rule, or the same method where neither has rules. Texts are the same if they
are the same words in the same order, whatever the spacing, the marks around words and the capital that begins a
sentence. The first rule is what an entry teaches; the further ones qualify it, and are often shared by entries that
teach different things. A looser likeness would make the result depend on the order of merging: whether two texts are
alike cannot be asked once they have become one.

The merged entry takes the words of one of its members (one with rules first, then pinned before unpinned, then the
latest changed), and of all of them the rules and precedents. Use is counted once: each entry keeps what its sources
counted, and a source that comes twice counts once; a library is taken to have counted all that one with fewer of its
runs has.

So merging is commutative, associative and idempotent: the content hash is the same in whatever order it is done.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.conflicts import Conflict, conflicts, normal_words
from flex_dspy.libraries.editing import EDITS
from flex_dspy.libraries.experience import MAX_EXAMPLES, Experience, Precedent, Rule, Source
from flex_dspy.libraries.library import ExperienceLibrary

COUNTERS = ("shown", "helped", "hurt", "merged")


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of merging.

    Attributes:
        library: The merged library.
        duplicates: For each entry that was made of several, their ids.
        conflicts: Where entries contradict each other. Nothing is decided about them.
        overlong: Ids of entries that have outgrown the caps by merging.
    """

    library: ExperienceLibrary
    duplicates: Mapping[str, tuple[str, ...]]
    conflicts: tuple[Conflict, ...]
    overlong: tuple[str, ...]


def merge(*libraries: ExperienceLibrary, names: Sequence[str] = (), any_task: bool = False) -> Merged:
    """Make one library of several.

    Args:
        *libraries: At least one.
        names: What to call each in the provenance of its entries, such as its model.
        any_task: Merge libraries of different tasks; the result is then of the first in the alphabet.

    Raises:
        ConfigurationError: If there is no library, there are more or fewer names than libraries, or tasks differ.
    """
    if not libraries or (names and len(names) != len(libraries)):
        raise ConfigurationError(f"merge needs libraries, and a name for each or none; got {len(libraries)}")
    tasks = sorted({library.task for library in libraries} - {""})
    if len(tasks) > 1 and not any_task:
        raise ConfigurationError(f"the libraries are of different tasks ({', '.join(tasks)}): allow that to merge them")
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
    """The conflicts of a merged library that none of its parts has: the parts contradict each other there.

    Args:
        merged: The result.
        libraries: The libraries that were merged.
    """
    known = {(conflict.kind, conflict.about) for library in libraries for conflict in conflicts(library)}
    return tuple(conflict for conflict in merged.conflicts if (conflict.kind, conflict.about) not in known)


def _merge(named: Sequence[tuple[ExperienceLibrary, str]], task: str) -> Merged:
    groups = _groups([_with_sources(entry, library, name) for library, name in named for entry in library])
    entries = _with_distinct_ids([_join(group) for group in groups])
    libraries = [library for library, _ in named]
    merged = ExperienceLibrary(
        entries,
        task=task,
        seen=max(library.seen for library in libraries),
        runs=_latest(library.runs for library in libraries),
        origin=libraries[0].origin if all(library.origin == libraries[0].origin for library in libraries) else None,
    )
    members = {entry.id: tuple(sorted({e.id for e in group})) for entry, group in zip(entries, groups, strict=True)}
    duplicates = {entry_id: ids for entry_id, ids in members.items() if len(ids) > 1}
    grown = tuple(
        entry.id
        for entry, group in zip(entries, groups, strict=True)
        if entry.is_overlong() and not any(member.is_overlong() for member in group)
    )
    return Merged(merged, duplicates, conflicts(merged), grown)


def _join_queues(libraries: Iterable[ExperienceLibrary]) -> list[Experience]:
    """The lessons that wait for approval in any of the libraries, each as it was changed last."""
    latest: dict[tuple[str, str], Experience] = {}
    for lesson in (lesson for library in libraries for lesson in library.waiting):
        known = latest.get((lesson.scope, lesson.id), lesson)
        latest[lesson.scope, lesson.id] = max(
            lesson, known, key=lambda e: (e.updated_at, len(e.precedents), repr(e.precedents))
        )
    return list(latest.values())


def _with_distinct_ids(entries: Sequence[Experience]) -> list[Experience]:
    """The entries, with another id for one whose id an entry of another scope has."""
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
    """Digest of what an entry teaches: of its zone and its first rule, or its method where it has no rules.

    An entry that teaches nothing is the same as another only where its precedents are.
    """
    if not entry.teaches:
        return entry.id
    return _digest(entry.zone, entry.rules[0].text if entry.rules else entry.method)


def lesson_keys(entry: Experience) -> tuple[str, ...]:
    """Digests of an entry's lesson, and of all its rules where it has several; the same lesson has one in common."""
    if len(entry.rules) < 2:
        return (lesson_key(entry),)
    rules = "\x1e".join(sorted(_normal(rule.text) for rule in entry.rules))
    return lesson_key(entry), hashlib.sha256(f"{entry.zone}\x1d{rules}".encode()).hexdigest()[:16]


def _digest(zone: str, text: str) -> str:
    return hashlib.sha256(f"{zone}\x1f{_normal(text)}".encode()).hexdigest()[:16]


def _normal(text: str) -> str:
    return " ".join(normal_words(text)) or text


def _groups(entries: Sequence[Experience]) -> list[list[Experience]]:
    """The entries that are the same, directly or through others, together; in the order of their first."""
    leader = list(range(len(entries)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    first: dict[str, int] = {}
    for number, entry in enumerate(entries):
        for key in _keys(entry):
            one, other = sorted((find(first.setdefault(key, number)), find(number)))
            leader[other] = one
    groups: dict[int, list[Experience]] = defaultdict(list)
    for number, entry in enumerate(entries):
        groups[find(number)].append(entry)
    return list(groups.values())


def _keys(entry: Experience) -> Iterator[str]:
    """Key that an entry shares with its copies in other libraries; its sources are never empty here.

    Entries of two scopes share none.
    """
    yield f"{entry.scope} id {entry.id}"
    for source in entry.sources:
        yield f"{entry.scope} id {source.id}"
        yield from (f"{entry.scope} {lesson}" for lesson in source.lessons)


# -- where an entry comes from -----------------------------------------------------------------------------


def _with_sources(entry: Experience, library: ExperienceLibrary, name: str) -> Experience:
    """The entry with all that is known of its sources, this library among them where it adds something."""
    key = lesson_key(entry)
    if not entry.sources or _sum_counts(entry.sources) != _counts(entry):
        runs = tuple(sorted(run for run in library.runs if run != EDITS))
        own = Source(entry.id, name, runs, lesson_keys(entry) if not entry.sources else (key,), **_counts(entry))
    elif not any(key in source.lessons for source in entry.sources):  # a person gave it another lesson
        own = Source(entry.id, lessons=(key,))
    else:
        return entry
    return replace(entry, sources=_union([*entry.sources, own]))


def _union(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Each source once, with the greatest counts seen of it."""
    united: dict[tuple[Any, ...], Source] = {}
    for source in sources:
        key = (source.id, source.name, source.runs, source.lessons)
        known = united.get(key, source)
        united[key] = replace(known, **{c: max(getattr(known, c), getattr(source, c)) for c in COUNTERS})
    return tuple(united[key] for key in sorted(united))


def _counts(entry: Experience | Source) -> dict[str, int]:
    return {counter: getattr(entry, counter) for counter in COUNTERS}


def _sum_counts(sources: Sequence[Source]) -> dict[str, int]:
    """Sum of the counts of all sources; nothing is counted twice."""
    by_runs: dict[frozenset[str], dict[str, dict[str, int]]] = defaultdict(dict)
    for source in sources:
        entries = by_runs[frozenset(source.runs)]
        known = entries.get(source.id, dict.fromkeys(COUNTERS, 0))
        entries[source.id] = {c: max(known[c], getattr(source, c)) for c in COUNTERS}
    newest = [runs for runs in by_runs if not any(runs < others for others in by_runs)]
    counted = [counts for runs in newest for counts in by_runs[runs].values()]
    total = {c: sum(counts[c] for counts in counted) for c in COUNTERS}
    joined = len({source.id for runs in newest for source in sources if frozenset(source.runs) == runs}) - 1
    return total | {"merged": total["merged"] + joined}


# -- one entry of several ----------------------------------------------------------------------------------


def _join(group: Sequence[Experience]) -> Experience:
    """The entry that the same entries of several libraries make together."""
    speaker = max(group, key=_precedence)
    sources = _union(source for entry in group for source in entry.sources)
    counted: dict[str, Any] = _sum_counts(sources)
    return replace(
        speaker,
        id=min(entry.id for entry in group),
        rules=_join_rules(speaker, group),
        precedents=_join_precedents(group),
        created_at=min(entry.created_at for entry in group),
        sources=sources,
        **counted,
    )


def _precedence(entry: Experience) -> tuple[Any, ...]:
    """Sort key: the greatest speaks for a group.

    It uses only fields that the merged entry keeps, so that merging again decides alike.
    """
    first = entry.rules[0].text if entry.rules else ""
    words = (entry.zone, entry.method, first, entry.trajectory, entry.category, entry.priority)
    foreign = json.dumps(entry.origin, sort_keys=True, default=str)
    return bool(entry.rules), entry.pinned, entry.updated_at, *words, foreign


def _join_rules(speaker: Experience, group: Sequence[Experience]) -> tuple[Rule, ...]:
    """The rules as they are where all agree; else the speaker's first, then all others in alphabetical order."""
    if all(entry.rules == speaker.rules for entry in group):
        return speaker.rules
    examples: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for rule in (rule for entry in group for rule in entry.rules):
        examples[rule.text].append(rule.examples)
    first = [rule.text for rule in speaker.rules[:1]]
    texts = [*first, *sorted(examples.keys() - set(first))]
    return tuple(Rule(text, _join_examples(examples[text])) for text in texts)


def _join_examples(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    if all(examples == lists[0] for examples in lists):
        return lists[0]
    return tuple(sorted({text for examples in lists for text in examples})[:MAX_EXAMPLES])


def _join_precedents(group: Sequence[Experience]) -> tuple[Precedent, ...]:
    """The precedents as they are where all agree; else each once, in the order of the examples' ids."""
    if all(entry.precedents == group[0].precedents for entry in group):
        return group[0].precedents
    cases = sorted({case for entry in group for case in entry.precedents}, key=attrgetter(*_CASE, "problem", "trace"))
    return tuple({(case.example_id, case.answer): case for case in cases}.values())


_CASE = ("example_id", "answer")
