"""Merging: the same library in whatever order it is done, and nothing counted twice."""

import random
from dataclasses import replace

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.zones import ZONES
from flex_dspy.libraries.conflicts import conflicts, normal_words
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule, Source, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import lesson_key, merge

CASES = [Precedent(f"ex-{i}", f"problem {i}", answer) for i in range(6) for answer in ("a", "b")]


def entry(name: str = "", *rules: str, **fields: object) -> Experience:
    made = Experience("golden", f"method {name}", tuple(map(Rule, rules)))
    return replace(made, id="", **fields)  # type: ignore[arg-type]


def library(*entries: Experience, task: str = "t", **fields: object) -> ExperienceLibrary:
    return ExperienceLibrary(list(entries), task=task, **fields)  # type: ignore[arg-type]


def merged(*libraries: ExperienceLibrary) -> ExperienceLibrary:
    return merge(*libraries).library


# -- the laws ------------------------------------------------------------------------------------------------


def random_entry(rng: random.Random) -> Experience:
    texts = rng.sample(["Use x.", "use x", "do `Y`", "sum Z", "avoid w"], rng.randrange(4))
    rules = (Rule(text, tuple(rng.sample("abcdef", rng.randrange(3)))) for text in texts)
    return Experience(
        zone=rng.choice(ZONES[:2]),
        method=rng.choice(["m one", "m two", "M one.", "m one more"]),
        rules=tuple(rules),
        category=rng.choice("ab"),
        priority=rng.randrange(1, 6),
        precedents=tuple(rng.sample(CASES, rng.randrange(4))),
        shown=rng.randrange(5),
        helped=rng.randrange(3),
        merged=rng.randrange(3),
        created_at=rng.randrange(3),
        updated_at=rng.randrange(5),
        pinned=rng.random() < 0.2,
        id=rng.choice(["", "", *"ABCD"]),
    )


def random_library(rng: random.Random) -> ExperienceLibrary:
    entries = {made.id: made for made in (random_entry(rng) for _ in range(rng.randrange(7)))}
    runs = {run: rng.randrange(9) for run in rng.sample(["r1", "r2", "r3", "edit"], rng.randrange(3))}
    made = library(*entries.values(), task=rng.choice(["t", "t", ""]), runs=runs)
    if rng.random() < 0.2:
        made = merged(made, random_library(rng))
    if rng.random() < 0.3:
        shown = tuple(known.id for known in made)[:2]
        made = made.apply(Commit("later", 1, (Insert(random_entry(rng)),), Tally(shown, shown[:1])))
    return made


@pytest.mark.parametrize("seed", range(120))
def test_the_order_of_merging_is_no_matter(seed: int) -> None:
    rng = random.Random(seed)
    a, b, c = (random_library(rng) for _ in range(3))
    whole = merged(a, b, c)
    assert merged(c, a, b) == whole
    assert merged(merged(a, b), c) == whole
    assert merged(a, merged(b, c)) == whole
    assert merged(merged(a, c), merged(c, b)) == whole


@pytest.mark.parametrize("seed", range(40))
def test_merging_what_is_in_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    a, b = random_library(rng).of_task("t"), random_library(rng)
    assert merged(a, a) == a
    assert merged(a) == a
    assert merged(a, ExperienceLibrary()) == a
    both = merged(a, b)
    assert merged(both, a) == merged(both, both) == merged(b, both) == both
    assert ExperienceLibrary.from_json(both.to_json()) == both


# -- what is the same ----------------------------------------------------------------------------------------


def test_entries_with_the_same_first_rule_become_one_with_all_that_they_hold() -> None:
    one = entry("one", "Use x.", "b", precedents=(CASES[0], CASES[2]), created_at=3, updated_at=3)
    other = entry("other", "use x", "a", precedents=(CASES[0], CASES[4]), created_at=1, updated_at=9)
    result = merge(library(one), library(other))
    (only,) = result.library
    assert (only.method, only.created_at, only.updated_at) == ("method other", 1, 9)
    assert [rule.text for rule in only.rules] == ["use x", "Use x.", "a", "b"]
    assert only.precedents == (CASES[0], CASES[2], CASES[4])
    assert only.id == min(one.id, other.id)
    assert result.duplicates == {only.id: tuple(sorted([one.id, other.id]))}


def test_entries_of_other_zones_or_rules_stay_apart() -> None:
    one = entry("one", "use x")
    others = [replace(one, id="", zone="warning"), entry("one", "use y", "use x"), entry("one")]
    assert len(merged(library(one), library(*others))) == 4


def test_entries_of_two_steps_stay_apart() -> None:
    one, other, both = (library(entry("m", "Use x.", step=step)) for step in ("search", "answer", ""))
    assert merged(one, other, both) == merged(both, other, one)
    assert sorted(each.step for each in merged(one, other, both)) == ["", "answer", "search"]


def test_entries_with_the_same_rules_in_another_order_are_the_same() -> None:
    one, other = entry("one", "use x", "do y"), entry("other", "Do y.", "Use x.")
    assert len(merged(library(one), library(other))) == 1
    assert len(merged(library(one), library(entry("other", "do y", "use x", "z")))) == 2


def test_entries_without_rules_are_the_same_by_their_method() -> None:
    one, other = entry("One"), entry("one", trajectory="t")
    assert len(merged(library(one), library(other), library(entry("two")))) == 2


def test_an_entry_revised_in_one_library_stays_one() -> None:
    one = entry("one", "use x")
    revised = replace(one, rules=(Rule("use x but not y"),), zone="mixed", updated_at=4)
    (only,) = merged(library(one), library(revised))
    assert (only.id, only.zone) == (one.id, "mixed")
    assert [rule.text for rule in only.rules] == ["use x but not y", "use x"]


def test_marks_and_capitals_within_a_formula_make_a_difference() -> None:
    same = ["Cut `CC(=O)N`.", "cut  CC(=O)N"]
    others = ["cut cc(=O)N", "cut CC(=O)n", "cut CC(=O)N!", "Cut"]
    keys = [lesson_key(entry("m", text)) for text in (*same, *others)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == len(keys) - 1
    assert normal_words("Use  `f'(x)`, ALL n!") == ["use", "f'(x)", "ALL", "n!"]


def test_a_pinned_entry_speaks_for_the_others() -> None:
    pinned = entry("pinned", "use x", pinned=True, updated_at=1)
    (only,) = merged(library(pinned), library(entry("newer", "use x", updated_at=9)))
    assert (only.method, only.pinned) == ("method pinned", True)


def test_an_entry_that_outgrows_the_caps_is_reported() -> None:
    halves = [library(entry(name, "first", *(f"{name} {i}" for i in range(9)))) for name in ("a", "b")]
    result = merge(*halves)
    (only,) = result.library
    assert len(only.rules) == 19
    assert result.overlong == (only.id,)
    assert merge(library(only), library(entry("c"))).overlong == ()


# -- provenance and counters ---------------------------------------------------------------------------------


def test_counts_of_different_runs_add_up_and_of_one_run_do_not() -> None:
    one = entry("one", "use x", shown=5, helped=2, hurt=1, merged=1)
    more = replace(one, shown=8, helped=3)
    elsewhere = replace(one, shown=10, helped=0, hurt=0, merged=0)
    old, new = library(one, runs={"a": 5}), library(more, runs={"a": 9})
    grown = library(replace(one, shown=9), runs={"a": 5, "b": 3})  # went on from the first
    other = library(elsewhere, runs={"c": 1})

    def counts(*libraries: ExperienceLibrary) -> tuple[int, int, int, int]:
        (only,) = merged(*libraries)
        return only.shown, only.helped, only.hurt, only.merged

    assert counts(old, new) == (8, 3, 1, 1)
    assert counts(old, other) == (15, 2, 1, 1)
    assert counts(new, other, old) == (18, 3, 1, 1)
    assert counts(old, grown) == (9, 2, 1, 1)
    assert counts(library(one), library(more)) == (8, 3, 1, 1)  # of no known run: taken to be of one


def test_two_lessons_that_become_one_count_as_merged() -> None:
    a, b = entry("a", "use x", merged=2, shown=1), entry("b", "use x", merged=3, shown=1)
    (only,) = merged(library(a, runs={"1": 1}), library(b, runs={"2": 1}))
    assert (only.merged, only.shown) == (6, 2)


def test_an_entry_knows_where_it_came_from() -> None:
    a, b = entry("a", "use x", shown=1), entry("b", "use x", shown=2)
    result = merge(library(a, runs={"1": 1, "edit": 4}), library(b, entry("c")), names=("claude", "gpt")).library
    sources = {known.id: known.sources for known in result}
    key = lesson_key(a)
    assert sources[min(a.id, b.id)] == tuple(
        sorted([Source(a.id, "claude", ("1",), (key,), 1), Source(b.id, "gpt", (), (key,), 2)], key=lambda s: s.id)
    )
    assert [s.name for s in sources[entry("c").id]] == ["gpt"]


def test_use_after_merging_is_kept_by_the_next_merging() -> None:
    a, b = library(entry("a", "use x", shown=3), runs={"1": 1}), library(entry("b", "use x", shown=4), runs={"2": 1})
    both = merged(a, b)
    (only,) = both
    used = both.apply(Commit("3", 1, (), Tally((only.id,))))
    assert max(known.shown for known in merged(used, library(entry("c")), a)) == 8
    assert merged(used, a, b) == merged(used, merged(a, b))


def test_runs_and_clock_go_on_from_the_latest() -> None:
    a, b = library(entry("a"), seen=9, runs={"1": 9}), library(entry("b"), seen=4, runs={"1": 2, "2": 2})
    result = merged(a, b)
    assert (result.seen, result.runs, result.parent) == (9, {"1": 9, "2": 2}, None)


# -- refusals and conflicts ----------------------------------------------------------------------------------


def test_other_tasks_are_refused_unless_allowed() -> None:
    a, b = library(entry("a")), library(entry("b"), task="u")
    with pytest.raises(ConfigurationError, match="different tasks"):
        merge(a, b)
    assert merge(b, a, any_task=True).library == merge(a, b, any_task=True).library
    assert merge(a, library(entry("b"), task="")).library.task == "t"


def test_names_must_be_as_many_as_libraries() -> None:
    with pytest.raises(ConfigurationError):
        merge(library(), names=("a", "b"))
    with pytest.raises(ConfigurationError):
        merge()


@pytest.mark.parametrize(
    ("golden", "warning", "found"),
    [
        ("Take the limit first.", "take the limit first", "take the limit first"),
        ("Take the limit first.", "Avoid: take the limit first", "take the limit first"),
        ("Take the limit first.", "Never take the limit first.", "take the limit first"),
        ("Disconnect with `A>>B`", "Avoid: `A>>B` gave the wrong reactants", "A>>B"),
        ("Disconnect with `A>>B`", "Instead: disconnect with `A>>B`", None),
        ("Avoid x", "avoid x", None),
        ("Take the limit first.", "Take the sum first.", None),
    ],
)
def test_advice_against_what_another_entry_recommends(golden: str, warning: str, found: str | None) -> None:
    good, bad = entry("good", golden), entry("bad", warning, zone="warning")
    result = merge(library(good), library(bad)).conflicts
    assert [(c.kind, c.about, c.entries, c.against) for c in result] == (
        [("rule", found, (good.id,), (bad.id,))] if found else []
    )
    assert all(good.id in conflict.text() for conflict in result)


def test_one_example_with_two_answers_is_a_conflict() -> None:
    a, b, c = entry("a", precedents=CASES[:1]), entry("b", precedents=CASES[1:2]), entry("c", precedents=CASES[2:3])
    (conflict,) = conflicts(library(a, b, c))
    assert (conflict.kind, conflict.about) == ("answer", "problem 0")
    assert (conflict.entries, conflict.against) == ((a.id,), (b.id,))
