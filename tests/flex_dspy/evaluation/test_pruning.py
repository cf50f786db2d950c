"""Pruning: what goes, what stays, what is said of it, and that the file is safe."""

from dataclasses import replace
from pathlib import Path

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.comparison import compare
from flex_dspy.evaluation.entry_values import EntryValue
from flex_dspy.evaluation.pruning import carry_out, prune
from flex_dspy.evaluation.usage_records import UsageRecord
from flex_dspy.libraries.experience import Commit, Experience, Insert, Pin, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.memory_store import MemoryStore
from flex_dspy.libraries.store import LibraryStore
from tests.planted import Quick, planted, problems, right

BAD = EntryValue(-0.3, -0.4, -0.2, 40, 100, 0.05)
GOOD = EntryValue(0.3, 0.2, 0.4, 40, 100, 0.05)
UNSURE = EntryValue(-0.1, -0.4, 0.2, 10, 20, 0.13)


def entry(method: str, *rules: str, cases: int = 0, **fields: object) -> Experience:
    precedents = tuple(Precedent(f"{method}{n}", f"problem {n} of {method}", "a") for n in range(cases))
    made = Experience(zone="golden", method=method, rules=tuple(map(Rule, rules)), precedents=precedents)
    return replace(made, **fields)  # type: ignore[arg-type]


LIBRARY = planted(2, 2, 2)
BY_KIND = {"harmful": BAD, "helpful": GOOD, "neutral": UNSURE}
ESTIMATES = {e.id: BY_KIND[e.category] for e in LIBRARY}


def removed(library: ExperienceLibrary, *arguments: object, **options: object) -> set[str]:
    return {removal.entry_id for removal in prune(library, *arguments, **options).removals}  # type: ignore[arg-type]


def of_kind(kind: str, library: ExperienceLibrary = LIBRARY) -> set[str]:
    return {e.id for e in library if e.category == kind}


# -- by value ------------------------------------------------------------------------------------------------


def test_entries_that_surely_do_harm_go() -> None:
    assert removed(LIBRARY, ESTIMATES) == of_kind("harmful")
    assert removed(LIBRARY, ESTIMATES, min_value=0.35) == of_kind("harmful") | of_kind("neutral")
    assert removed(LIBRARY, ESTIMATES, min_value=-0.5) == set()
    assert removed(LIBRARY) == set()


def test_what_is_not_known_stays() -> None:
    one_example = EntryValue(-1.0, examples=1, pairs=50)
    assert removed(LIBRARY, dict.fromkeys(ESTIMATES, one_example)) == set()
    assert removed(LIBRARY, dict.fromkeys(ESTIMATES, EntryValue())) == set()
    assert removed(LIBRARY, {"gone since": BAD}) == set()


def test_among_many_entries_one_must_be_surer() -> None:
    library = planted(1, 0, 200)
    doubtful = EntryValue(-0.12, -0.22, -0.02, 60, 100, 0.05)
    harmless = EntryValue(0.0, -0.1, 0.1, 60, 100, 0.05)
    (bad,) = of_kind("harmful", library)
    alone, among = {bad: doubtful}, {e.id: doubtful if e.id == bad else harmless for e in library}
    assert removed(library, alone) == {bad}
    assert removed(library, among) == set()
    assert removed(library, {**among, bad: BAD}) == {bad}


# -- stale ---------------------------------------------------------------------------------------------------


def test_entries_out_of_use_go() -> None:
    used = entry("used", shown=3)
    library = ExperienceLibrary([used, entry("idle"), entry("young", updated_at=95)], seen=100)
    by_name = {e.method: e.id for e in library}
    assert removed(library, stale_after=50) == {by_name["idle"]}
    assert removed(library, stale_after=100) == {by_name["idle"]}
    assert removed(library, stale_after=101) == set()
    assert removed(library, stale_after=5) == {by_name["idle"], by_name["young"]}
    assert removed(library) == set()


def test_outcomes_say_what_was_shown_lately() -> None:
    library = ExperienceLibrary([entry("once", shown=3), entry("lately")], seen=100)
    by_name = {e.method: e.id for e in library}
    log = [UsageRecord("v", "e0", (by_name["once"],), 1.0), *[UsageRecord("v", "e", (by_name["lately"],), 1.0)] * 20]
    assert removed(library, stale_after=20, usage=log) == {by_name["once"]}
    assert removed(library, stale_after=21, usage=log) == set()


# -- redundant -----------------------------------------------------------------------------------------------

FIRST, SECOND = "Reduce the nitro group last of all.", "Protect the amine before the acid chloride comes."
TWICE = [
    entry("How to order the steps of a synthesis of amides.", FIRST, SECOND, cases=2),
    entry("How to order the steps of a synthesis of amides well.", "reduce the nitro group last of all", cases=1),
    entry("How to order the steps of a synthesis of amides here.", FIRST, "Never heat it."),
    entry("What to do about water in ethers.", "Distil from sodium."),
]


def test_what_another_entry_says_too_goes_and_its_cases_stay() -> None:
    library = ExperienceLibrary(TWICE)
    plan = prune(library, redundancy=0.5)
    (gone,) = plan.removals
    assert (gone.entry_id, gone.kept) == (TWICE[1].id, TWICE[0].id)
    kept = plan.after[TWICE[0].id]
    assert {case.example_id for case in kept.precedents} == {c.example_id for e in TWICE[:2] for c in e.precedents}
    assert (kept.method, kept.rules) == (TWICE[0].method, TWICE[0].rules)
    assert plan.after.precedent_count == library.precedent_count
    assert removed(library, redundancy=0.95) == set()


def test_entries_of_another_zone_say_another_thing() -> None:
    library = ExperienceLibrary([TWICE[0], replace(TWICE[1], zone="warning")])
    assert removed(library, redundancy=0.5) == set()


@pytest.mark.parametrize("formula", ["CC(=O)N", "[C:1](=O)[N:2]", "x^2", "12"])
def test_formulas_must_be_the_very_same(formula: str) -> None:
    words = "Where the product holds the group {} apply the rule that was learned before on many others of its kind."
    rules = [words.format(formula), words.format(formula), words.format(formula + "1")]
    library = ExperienceLibrary([entry("Cut here.", rule, id=f"{n:016}") for n, rule in enumerate(rules)])
    assert removed(library, redundancy=0.5) == {f"{1:016}"}
    methods = ExperienceLibrary([entry(rule, id=f"{n:016}") for n, rule in enumerate(rules)])
    assert removed(methods, redundancy=0.5) == {f"{1:016}"}


def test_the_better_one_stays() -> None:
    same = [entry("The very same lesson.", "Do so.", cases=n, id=f"{n:016}") for n in range(3)]
    library = ExperienceLibrary(same)
    assert removed(library, redundancy=1.0) == {same[0].id, same[1].id}
    assert removed(library, {same[1].id: GOOD}, redundancy=1.0) == {same[0].id, same[2].id}
    pinned = ExperienceLibrary([replace(same[0], pinned=True), *same[1:]])
    assert removed(pinned, {same[1].id: GOOD}, redundancy=1.0) == {same[1].id, same[2].id}


def test_an_entry_that_does_harm_replaces_none() -> None:
    same = [entry("The very same lesson.", "Do so.", cases=n, id=f"{n:016}") for n in range(2)]
    library = ExperienceLibrary(same)
    assert removed(library, {same[1].id: BAD}, redundancy=1.0) == {same[1].id}


# -- what is always so ---------------------------------------------------------------------------------------


def test_pinned_entries_stay() -> None:
    pinned = ExperienceLibrary([replace(e, pinned=True) for e in LIBRARY], seen=5_000)
    plan = prune(pinned, ESTIMATES, stale_after=10, redundancy=0.3)
    assert plan.removals == ()
    assert {removal.entry_id for removal in plan.pinned} >= of_kind("harmful")
    assert "it stays" in plan.text()
    assert removed(pinned, ESTIMATES, keep_pinned=False) == of_kind("harmful")
    assert len(prune(pinned, ESTIMATES, keep_pinned=False).after) == len(pinned) - 2


def test_a_plan_says_what_it_would_do() -> None:
    plan = prune(LIBRARY, ESTIMATES)
    text = plan.text()
    assert all(f"{entry_id}  value" in text for entry_id in of_kind("harmful"))
    assert "-0.300 (-0.400 to -0.200) on 40 examples" in text
    assert text.endswith("to be removed: 2 value; 6 entries before, 4 after")
    assert (plan.before, len(plan.after), plan.is_done) == (LIBRARY, 4, False)
    assert "to be removed: nothing; 6" in prune(LIBRARY).text()


def test_numbers_out_of_range_are_refused() -> None:
    for wrong in ({"confidence": 1.0}, {"stale_after": 0}, {"redundancy": 0.0}, {"redundancy": 1.1}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            prune(LIBRARY, ESTIMATES, **wrong)  # type: ignore[arg-type]


# -- stores --------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> LibraryStore:
    LIBRARY.save(tmp_path / "library.json")
    return LibraryStore(tmp_path / "library.json")


def test_a_dry_run_changes_nothing(store: LibraryStore) -> None:
    before = store.path.read_bytes()
    assert len(prune(store, ESTIMATES).removals) == 2
    assert store.library == LIBRARY
    assert [path.name for path in store.path.parent.iterdir() if path.suffix in (".json", ".jsonl")] == ["library.json"]
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_store_is_pruned_as_planned(store: LibraryStore, kind: str) -> None:
    target = store if kind == "file" else MemoryStore(LIBRARY)
    planned = prune(target, ESTIMATES)
    done = prune(target, ESTIMATES, dry_run=False)
    assert done.is_done
    assert done.text().endswith("removed: 2 value; 6 entries before, 4 after")
    assert target.library.hash == done.after.hash == planned.after.hash
    if kind == "file":
        assert LibraryStore(store.path).library.hash == planned.after.hash
        store.checkpoint(LIBRARY.hash)
        assert ExperienceLibrary.load(store.path).parent == LIBRARY.hash


def test_what_happens_between_plan_and_deed_is_respected(store: LibraryStore) -> None:
    plan = prune(store, ESTIMATES)
    first, second = sorted(of_kind("harmful"))
    other = LibraryStore(store.path)
    other.edit([Pin(first)])
    other.commit([Commit("run", 1, (Insert(entry("a new lesson")),))])
    done = carry_out(plan, store)
    assert first in done.after
    assert second not in done.after
    assert len(done.after) == 6
    assert store.library.runs["run"] == 1


# -- before and after ----------------------------------------------------------------------------------------


def test_both_libraries_are_measured_on_the_same_examples() -> None:
    library = planted(10, 5, 5)
    plan = prune(library, {e.id: BY_KIND[e.category] for e in library})
    comparison = compare(plan.before, plan.after, Quick(library, 0.2), problems(150, library), right, progress=False)
    gain, low, high = comparison.gain
    assert gain == pytest.approx(comparison.after.accuracy - comparison.before.accuracy)
    assert 0 < low < gain < high
    numbers = comparison.metrics()
    assert numbers["accuracy"] == comparison.after.accuracy
    assert numbers["accuracy_before"] == comparison.before.accuracy
    assert (numbers["accuracy_gain"], numbers["n"]) == (gain, 150)
    assert {name for record in comparison.before.records for name in record.shown} & of_kind("harmful", library)
    assert not {name for record in comparison.after.records for name in record.shown} & of_kind("harmful", library)


def test_one_example_has_a_gain_without_an_interval() -> None:
    comparison = compare(LIBRARY, LIBRARY, Quick(LIBRARY), problems(1, LIBRARY, shown=4), right, progress=False)
    assert "accuracy_gain" in comparison.metrics()
    assert "accuracy_gain_low" not in comparison.metrics()
