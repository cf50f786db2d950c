"""The snapshot and its one pure function."""

import copy
import random
from dataclasses import replace
from pathlib import Path

import pytest

from flex_dspy.libraries.experience import (
    MAX_METHOD,
    MAX_RULE,
    MAX_RULES,
    Commit,
    Discard,
    Edit,
    Experience,
    Insert,
    Merge,
    Pin,
    Precedent,
    Remove,
    Revise,
    Revision,
    Rule,
    Tally,
)
from flex_dspy.libraries.library import ExperienceLibrary


def lesson(name: str, rules: int = 1, zone: str = "golden") -> Experience:
    return Experience(
        zone=zone,  # type: ignore[arg-type]
        method=f"method {name}",
        rules=tuple(Rule(f"rule {name}.{i}", (f"example {i}",)) for i in range(rules)),
        precedents=(Precedent(f"ex-{name}", f"problem {name}", f"answer {name}"),),
    )


def grown(*names: str, base: ExperienceLibrary | None = None) -> ExperienceLibrary:
    library = base or ExperienceLibrary(task="t")
    for name in names:
        library = library.apply(Commit("", 0, (Insert(lesson(name)),)))
    return library


def random_commit(rng: random.Random, library: ExperienceLibrary, step: int) -> Commit:
    known = [entry.id for entry in library] or ["nothing"]
    zone = rng.choice(["golden", "warning", "mixed"])
    new = lesson(f"{step}-{rng.randrange(10**6)}", rng.randrange(4), zone)
    edits: list[Edit] = [
        Insert(new),
        Discard(new.id),
        Merge(rng.choice(known), new, add_rules=new.rules),
        Merge("nowhere", new),
        Remove(rng.choice(known)),
        Remove(rng.choice(known), force=True),
        Pin(rng.choice(known), rng.random() < 0.5),
        Revise(rng.choice(known), zone="mixed", rules=new.rules),
        Insert(new),
        Merge(rng.choice(known), new, revise_rules=(Revision("rule a.0", Rule("better")),), method="better"),
    ]
    tally = Tally(shown=tuple(known[:2]), helped=tuple(known[:1]))
    return Commit("run", step, (rng.choice(edits),), tally)


def test_a_merge_into_nothing_inserts() -> None:
    library, done = ExperienceLibrary().apply_with_report(Commit("", 0, (Merge("gone", lesson("a")),)))
    assert [entry.method for entry in library] == ["method a"]
    assert isinstance(done[0], Insert)


def test_a_merge_adds_rules_and_precedents_once() -> None:
    library = grown("a")
    target = next(iter(library))
    merge = Merge(target.id, lesson("b"), add_rules=(Rule("new"), Rule("rule a.0"), Rule("new")))
    library = library.apply(Commit("", 0, (merge, merge)))
    merged = library[target.id]
    assert [rule.text for rule in merged.rules] == ["rule a.0", "new"]
    assert [p.example_id for p in merged.precedents] == ["ex-a", "ex-b"]
    assert (merged.merged, merged.created_at, merged.updated_at) == (2, 1, 2)
    assert library.precedent_count == 2


def test_a_merge_beyond_the_cap_inserts() -> None:
    full = lesson("a", MAX_RULES)
    library = ExperienceLibrary([full])
    library = library.apply(Commit("", 0, (Merge(full.id, lesson("b"), add_rules=(Rule("one too many"),)),)))
    assert len(library) == 2
    assert library[full.id].rules == full.rules


def test_a_merge_is_cut_to_the_caps() -> None:
    library = grown("a")
    target, long = next(iter(library)), Rule("r" * (MAX_RULE + 1))
    merge = Merge(target.id, lesson("b"), add_rules=(long,), method="m" * (MAX_METHOD + 1))
    merged = library.apply(Commit("", 0, (merge,)))[target.id]
    assert (len(merged.method), len(merged.rules[-1].text)) == (MAX_METHOD, MAX_RULE)


def test_a_merge_leaves_a_large_entry_of_a_release_whole() -> None:
    large = Experience("golden", "m" * (MAX_METHOD + 1), tuple(Rule(f"rule {i}") for i in range(MAX_RULES + 9)))
    library = ExperienceLibrary([large])
    library = library.apply(Commit("", 0, (Merge(large.id, lesson("b")), Merge(large.id, large, large.rules))))
    assert (library[large.id].method, library[large.id].rules) == (large.method, large.rules)


def test_an_insert_is_cut_to_the_caps() -> None:
    long = replace(lesson("a", MAX_RULES + 5), method="m" * (MAX_METHOD + 1))
    (entry,) = ExperienceLibrary().apply(Commit("", 0, (Insert(long),)))
    assert (len(entry.rules), len(entry.method)) == (MAX_RULES, MAX_METHOD)


def test_the_same_lesson_twice_is_one_entry() -> None:
    library = ExperienceLibrary().apply(Commit("", 0, (Insert(lesson("a")), Insert(lesson("a")))))
    assert len(library) == 1
    assert library.precedent_count == 1


def test_a_tally_counts_use_and_ignores_what_is_gone() -> None:
    library = grown("a", "b")
    a, b = [entry.id for entry in library]
    library = library.apply(Commit("", 0, (), Tally(shown=(a, b, "gone"), helped=(a,), hurt=(b,))))
    assert [(e.shown, e.helped, e.hurt) for e in library] == [(1, 1, 0), (1, 0, 1)]
    assert [e.updated_at for e in library] == [1, 2]


def test_a_snapshot_never_changes() -> None:
    rng = random.Random(1)
    library, before = ExperienceLibrary(task="t"), []
    for step in range(1, 60):
        before.append((library, library.to_json()))
        library = library.apply(random_commit(rng, library, step))
    assert [snapshot.to_json() for snapshot, _ in before] == [text for _, text in before]


def test_what_a_snapshot_counts_is_what_it_holds() -> None:
    rng, library = random.Random(2), ExperienceLibrary(task="t")
    for step in range(1, 200):
        library = library.apply(random_commit(rng, library, step))
    again = ExperienceLibrary.from_json(library.to_json())
    assert (again.hash, again.checksum) == (library.hash, library.checksum)
    assert (again.sizes(), again.precedent_count) == (library.sizes(), library.precedent_count)
    assert library.seen == 199
    assert library.runs == {"run": 199}


def test_two_children_of_a_snapshot_do_not_see_each_other() -> None:
    base = grown("a")
    left, right = grown("left", base=base), grown("right", base=base)
    assert [e.method for e in left] == ["method a", "method left"]
    assert [e.method for e in right] == ["method a", "method right"]
    written = [[c.entry_id for c in library.log.changes[: library.tip]] for library in (left, right)]
    assert written == [[e.id for e in left], [e.id for e in right]]
    assert len(base.log.changes[: base.tip]) == 1


def test_the_hash_depends_on_content_not_on_order() -> None:
    entries = [replace(lesson(name), created_at=i, updated_at=i) for i, name in enumerate("abcdef")]
    shuffled = random.Random(3).sample(entries, len(entries))
    library, other = ExperienceLibrary(entries, task="t"), ExperienceLibrary(shuffled, task="t")
    assert library == other
    assert library.to_json() == other.to_json()
    assert library != ExperienceLibrary(entries, task="u")
    assert library != ExperienceLibrary(entries[1:], task="t")
    assert library == library.as_version("parent")


def test_a_copy_is_the_snapshot_itself() -> None:
    library = grown("a")
    assert copy.deepcopy({"library": library})["library"] is library
    assert copy.copy(library) is library


def test_two_entries_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="same id"):
        ExperienceLibrary([lesson("a"), lesson("a")])


def test_a_library_takes_a_task_once() -> None:
    library = ExperienceLibrary([lesson("a")]).for_task("t")
    assert library.task == "t"
    assert library.for_task("u").task == "t"


# -- by a person -------------------------------------------------------------------------------------------


def by_person(library: ExperienceLibrary, *edits: Edit) -> ExperienceLibrary:
    return library.apply(Commit("edit", library.runs.get("edit", 0) + 1, edits))


def test_a_removed_entry_is_gone_with_all_its_precedents() -> None:
    library = grown("a", "b")
    a, b = list(library)
    later = by_person(library, Remove(a.id))
    assert [entry.id for entry in later] == [b.id]
    assert (later.sizes()["golden"], later.precedent_count, later.seen) == (1, 1, 3)
    assert [entry.id for entry in library] == [a.id, b.id]
    assert ExperienceLibrary.from_json(later.to_json()) == later


def test_a_pinned_entry_is_removed_by_force_alone() -> None:
    library = by_person(grown("a"), Pin(lesson("a").id))
    entry = next(iter(library))
    assert (entry.pinned, entry.updated_at) == (True, 2)
    kept, done = library.apply_with_report(Commit("", 0, (Remove(entry.id),)))
    assert (entry.id in kept, done) == (True, [Discard(entry.id, "the entry is pinned")])
    assert not len(by_person(library, Remove(entry.id, force=True)))
    assert not len(by_person(library, Pin(entry.id, False), Remove(entry.id)))


def test_a_pinned_entry_keeps_its_words_and_gathers_precedents() -> None:
    library = by_person(grown("a"), Pin(lesson("a").id))
    entry, new = next(iter(library)), lesson("b")
    merge = Merge(entry.id, new, new.rules, (Revision("rule a.0", Rule("other")),), method="other")
    merged = library.apply(Commit("", 0, (merge, Insert(lesson("a", 3)))))[entry.id]
    assert (merged.method, merged.rules) == (entry.method, entry.rules)
    assert [case.example_id for case in merged.precedents] == ["ex-a", "ex-b"]
    assert merged.merged == 1
    full = by_person(ExperienceLibrary([lesson("a", MAX_RULES)]), Pin(lesson("a", MAX_RULES).id))
    (only,) = full.apply(Commit("", 0, (Merge(lesson("a", MAX_RULES).id, new, new.rules),)))
    assert len(only.precedents) == 2


def test_a_revision_changes_what_it_names() -> None:
    library = grown("a", "b")
    a, b = list(library)
    rules = (Rule("new", ("x",)),)
    later = by_person(library, Revise(a.id, zone="warning", category="k", priority=5, rules=rules))
    revised = later[a.id]
    assert revised == replace(a, zone="warning", category="k", priority=5, rules=rules, updated_at=3)
    assert later[b.id] == b
    assert (later.sizes()["golden"], later.sizes()["warning"]) == (1, 1)
    assert ExperienceLibrary.from_json(later.to_json()).sizes() == later.sizes()
    assert by_person(later, Revise(a.id, method=""))[a.id].method == ""


def test_a_revision_is_cut_to_the_caps_and_leaves_the_rest_whole() -> None:
    large = Experience("golden", "m", tuple(Rule(f"rule {i}") for i in range(MAX_RULES + 9)))
    library = by_person(ExperienceLibrary([large]), Revise(large.id, method="n" * (MAX_METHOD + 1)))
    assert (len(library[large.id].method), library[large.id].rules) == (MAX_METHOD, large.rules)


def test_an_edit_of_what_is_gone_does_nothing() -> None:
    library = grown("a")
    edits = (Remove("gone"), Revise("gone", method="m"), Pin("gone"))
    later, done = library.apply_with_report(Commit("", 0, edits))
    assert later == library
    assert all(isinstance(edit, Discard) for edit in done)


def test_a_persons_commit_leaves_the_count_of_a_learning_run() -> None:
    library = ExperienceLibrary().apply(Commit("r", 7, (Insert(lesson("a")),)))
    assert by_person(library, Pin(lesson("a").id)).runs == {"r": 7, "edit": 1}


def test_what_the_commands_do_the_library_does_by_the_same_names(tmp_path: Path) -> None:
    entry = Experience(zone="golden", method="count lattice paths", rules=(Rule("use a binomial"),))
    other = Experience(zone="warning", method="do not divide by zero", rules=(Rule("look first"),))
    library = ExperienceLibrary([entry], task="aime")
    merged = library.merge(ExperienceLibrary([other], task="aime"))
    assert merged.stats()["zones"] == {"golden": 1, "warning": 1, "mixed": 0}
    assert merged.search("lattice paths", views=["lexical"])[0].experience == merged[entry.id]
    assert merged.diff(library).added[0].id == other.id
    merged.export(tmp_path / "release.json")
    assert ExperienceLibrary.load(tmp_path / "release.json").sizes() == merged.sizes()
