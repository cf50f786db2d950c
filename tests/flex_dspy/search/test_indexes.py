"""Indexes: their answers are exact, and depend on a snapshot's content alone."""

import csv
import functools
import math
import random
from collections import Counter
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from flex_dspy.libraries.change_log import Change
from flex_dspy.libraries.experience import (
    Commit,
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
from flex_dspy.metrics.molecules import problem_fingerprint
from flex_dspy.search.bm25 import TermRows
from flex_dspy.search.exact_indexes import ProblemIndex, RuleIndex
from flex_dspy.search.fingerprint_index import FingerprintIndex
from flex_dspy.search.indexes import Match, index_of
from flex_dspy.search.lexical_index import LexicalIndex
from flex_dspy.search.words import words_of

MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048, includeChirality=True)


def shipped_products(count: int) -> list[str]:
    with (resources.files("flex_dspy.data") / "reactions_train.csv").open(encoding="utf-8") as file:
        products = [row["reactants>reagents>production"].rpartition(">")[2] for row in csv.DictReader(file)]
    assert len(set(products[:count])) >= count - 5
    return products[:count]


PRODUCTS = shipped_products(300)
WORDS = ["count", "the", "amide", "ester", "bond", "ring", "cut", "apply", "not", "even", "odd", "prime", "sum", "root"]


def structural(library: ExperienceLibrary, query: str, depth: int = 20, skip: str | None = None) -> list[Match]:
    own = frozenset({skip} - {None})
    return index_of(library, "structural", lambda: FingerprintIndex(problem_fingerprint)).search(
        library, query, depth, skip=own
    )


def lexical(library: ExperienceLibrary, query: str, depth: int = 20) -> list[Match]:
    return index_of(library, "lexical", LexicalIndex).search(library, query, depth)


def case(match: Match) -> Precedent:
    assert match.precedent is not None
    return match.precedent


def lesson(text: str = "method", *precedents: tuple[str, str], rules: tuple[str, ...] = ()) -> Experience:
    cases = tuple(Precedent(f"ex-{problem}", problem, answer) for problem, answer in precedents)
    return Experience(zone="golden", method=text, rules=tuple(map(Rule, rules)), precedents=cases)


def committed(library: ExperienceLibrary, *edits: Edit) -> ExperienceLibrary:
    return library.apply(Commit("", 0, edits))


# -- structural ----------------------------------------------------------------------------------------------


@functools.cache
def bits(smiles: str) -> DataStructs.ExplicitBitVect:
    return MORGAN.GetFingerprint(Chem.MolFromSmiles(smiles))


def brute_force(library: ExperienceLibrary, query: str, depth: int, skip: str | None) -> list[tuple[str, str, float]]:
    wanted = bits(query)
    rows = []
    for entry in library:
        for precedent in entry.precedents:
            if precedent.problem == skip:
                continue
            similarity = DataStructs.TanimotoSimilarity(wanted, bits(precedent.problem))
            if similarity > 0:
                key = (-similarity, precedent.problem, precedent.answer, precedent.example_id, entry.id)
                rows.append((key, (entry.id, precedent.problem, similarity)))
    return [row for _, row in sorted(rows)][:depth]


def test_structural_search_is_the_order_of_tanimoto_similarity() -> None:
    entries = [
        lesson(f"m{i}", *((product, f"a{i}") for product in PRODUCTS[i : i + 3])) for i in range(0, len(PRODUCTS), 3)
    ]
    library = ExperienceLibrary(entries)
    for query in [*PRODUCTS[::25], "CCO", "C", "c1ccccc1"]:
        for depth, skip in ((1, None), (7, query), (50, query), (1_000, None)):
            found = [(m.entry_id, case(m).problem, m.score) for m in structural(library, query, depth, skip)]
            assert found == brute_force(library, query, depth, skip)


def test_ties_are_in_the_order_of_content() -> None:
    cases = [("CCO", "b", "2"), ("CCO", "a", "9"), ("CCO", "a", "1"), ("OCC", "0", "5")]
    entries = [
        Experience(zone="golden", method=f"m{i}", precedents=(Precedent(example, problem, answer),))
        for i, (problem, answer, example) in enumerate(cases)
    ]
    expected = [("CCO", "a", "1"), ("CCO", "a", "9"), ("CCO", "b", "2"), ("OCC", "0", "5")]
    for seed in range(5):
        random.Random(seed).shuffle(entries)
        found = [case(m) for m in structural(ExperienceLibrary(entries), "CCO", 4)]
        assert [(p.problem, p.answer, p.example_id) for p in found] == expected


def test_however_many_cases_are_skipped_the_depth_is_filled() -> None:
    own = [lesson(f"own {i}", ("CCO", f"a{i}")) for i in range(60)]
    others = [lesson(f"other {i}", ("CC" + "C" * i, "b")) for i in range(12)]
    library = ExperienceLibrary(own + others)
    assert len(structural(library, "CCO", 10, skip="CCO")) == 10
    assert all(case(match).problem != "CCO" for match in structural(library, "CCO", 50, skip="CCO"))


@pytest.mark.parametrize("query", ["", " ", "not a molecule", "C1CC", "I have two dice", "CCO\nCCN"])
def test_what_is_no_molecule_finds_nothing_and_is_not_found(query: str) -> None:
    library = ExperienceLibrary([lesson("a", ("CCO", "x"), ("I", "y"), ("I have a die", "z"), ("", "w"))])
    assert structural(library, query) == []
    assert {case(match).problem for match in structural(library, "I", 9)} == {"I"}


def test_a_molecule_that_shares_nothing_is_no_match() -> None:
    assert structural(ExperienceLibrary([lesson("a", ("[Na+].[Cl-]", "x"))]), "c1ccccc1") == []


# -- lexical -------------------------------------------------------------------------------------------------


def bm25(library: ExperienceLibrary, query: str) -> dict[str, float]:
    """The formula of ``LexicalIndex``, entry by entry."""
    documents = {
        entry.id: Counter(words_of("\n".join([entry.text(), *(case.problem for case in entry.precedents[:8])])))
        for entry in library
    }
    mean = max(sum(words.total() for words in documents.values()) / max(len(documents), 1), 1)
    scores: dict[str, float] = {}
    for word in set(words_of(query)):
        holders = [entry_id for entry_id, words in documents.items() if words[word]]
        if len(holders) > max(TermRows.COMMON_FLOOR, TermRows.COMMON_SHARE * len(documents)):
            continue
        weight = math.log(1 + (len(documents) - len(holders) + 0.5) / (len(holders) + 0.5))
        for entry_id in holders:
            count, length = documents[entry_id][word], documents[entry_id].total()
            norm = 1.2 * (1 - 0.75 + 0.75 * length / mean)
            scores[entry_id] = scores.get(entry_id, 0) + weight * count * 2.2 / (count + norm)
    return scores


def random_text(rng: random.Random, most: int = 12) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randrange(1, most)))


def random_edit(rng: random.Random, library: ExperienceLibrary) -> Edit:
    problems = rng.sample([*PRODUCTS[:40], "what is odd?", "no molecule", "count (even) roots"], rng.randrange(5))
    new = Experience(
        zone=rng.choice(["golden", "warning", "mixed"]),
        method=random_text(rng),
        rules=tuple(Rule(random_text(rng, 4)) for _ in range(rng.randrange(4))),
        category=rng.choice(["", "algebra", "amide"]),
        precedents=tuple(Precedent(f"ex{rng.randrange(99)}", p, f"answer {rng.randrange(3)}") for p in problems),
    )
    known = [entry.id for entry in library]
    if not known or rng.random() < 0.35:
        return Insert(new)
    target = library[rng.choice(known)]
    if rng.random() < 0.5:
        return random_edit_by_person(rng, target, new)
    revise = tuple(Revision(rule.text, Rule(random_text(rng, 4))) for rule in target.rules[: rng.randrange(2)])
    method = random_text(rng) if rng.random() < 0.3 else None
    return Merge(target.id, new, add_rules=new.rules[: rng.randrange(3)], revise_rules=revise, method=method)


def random_edit_by_person(rng: random.Random, target: Experience, new: Experience) -> Edit:
    """Removals and revisions of all kinds; also an entry that comes back under its old id, less than it was."""
    return rng.choice(
        [
            Remove(target.id),
            Remove(target.id, force=True),
            Insert(replace(new, id=target.id)),
            Pin(target.id, rng.random() < 0.3),
            Revise(target.id, zone=new.zone),
            Revise(target.id, zone=new.zone, method=new.method, rules=new.rules),
            Revise(target.id, category=new.category, priority=1),
        ]
    )


def random_line(seed: int, commits: int = 14) -> list[ExperienceLibrary]:
    """Every snapshot of a line of random commits, edits and tallies, oldest first."""
    rng = random.Random(seed)
    line = [ExperienceLibrary(task="t")]
    for step in range(1, commits + 1):
        draft, edits = line[-1], []
        for _ in range(rng.randrange(1, 4)):
            edits.append(random_edit(rng, draft))
            draft = committed(ExperienceLibrary(list(draft)), edits[-1])
        shown = tuple(entry.id for entry in line[-1])[:3]
        line.append(line[-1].apply(Commit("run", step, tuple(edits), Tally(shown, shown[:1], shown[1:2]))))
    return line


def answers(library: ExperienceLibrary, seed: int) -> list[object]:
    """All that the four indexes say to a few random questions."""
    rng = random.Random(seed)
    found: list[object] = []
    for _ in range(3):
        molecule, text, depth = rng.choice(PRODUCTS[:60]), random_text(rng), rng.randrange(1, 9)
        found.append(structural(library, molecule, depth, rng.choice([None, molecule])))
        found.append(lexical(library, text, depth))
        found.append(lexical(library, molecule, depth))
        found.append(index_of(library, "problems", ProblemIndex).search(library, molecule))
        wanted = lesson("new", rules=(random_text(rng, 3), *(r.text for e in list(library)[:2] for r in e.rules)))
        found.append(index_of(library, "rules", RuleIndex).search(library, wanted, depth))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_bm25_is_the_documented_formula_at_every_snapshot(seed: int) -> None:
    line = random_line(seed)
    lexical(line[-1], "odd")  # the index has read the whole line before the first question
    for library in line:
        query = random_text(random.Random(seed))
        expected = bm25(library, query)
        found = {match.entry_id: match.score for match in lexical(library, query, 10**6)}
        assert found == pytest.approx(expected, rel=1e-12)
        ordered = sorted(found, key=lambda entry_id: (-found[entry_id], entry_id))
        assert [match.entry_id for match in lexical(library, query, 5)] == ordered[:5]


@pytest.mark.parametrize("floor", [0, 3])
def test_a_common_word_is_passed_over_in_every_snapshot(floor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TermRows, "COMMON_FLOOR", floor)
    monkeypatch.setattr(TermRows, "RAREST", 0)
    for library in random_line(99, commits=20):
        query = "odd even prime bond"
        found = {match.entry_id: match.score for match in lexical(library, query, 10**6)}
        assert found == pytest.approx(bm25(library, query), rel=1e-12)


# -- any index -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_a_snapshot_of_a_line_is_searched_like_its_content_alone(seed: int) -> None:
    """Resuming is deterministic only if the order of arrival, which no file keeps, is no matter."""
    line = random_line(seed)
    when = random.Random(seed)
    early = {i: answers(line[i], seed) for i in range(len(line)) if when.random() < 0.5}
    for number, library in enumerate(line):  # each is asked again when later ones have been read
        shuffled = list(library)
        when.shuffle(shuffled)
        expected = answers(ExperienceLibrary(shuffled), seed)
        assert answers(library, seed) == expected
        assert early.get(number, expected) == expected


def test_a_loaded_library_is_searched_and_grown_like_the_one_that_was_saved(tmp_path: Path) -> None:
    for seed in range(6):
        live = random_line(seed)[-1]
        live.save(tmp_path / "library.json")
        loaded = ExperienceLibrary.load(tmp_path / "library.json")
        assert answers(loaded, seed) == answers(live, seed)
        commit = Commit("run", 99, tuple(random_edit(random.Random(seed), live) for _ in range(3)))
        assert answers(loaded.apply(commit), seed) == answers(live.apply(commit), seed)


def test_two_children_of_a_snapshot_do_not_see_each_other() -> None:
    base = committed(ExperienceLibrary(), Insert(lesson("base", ("CCO", "x"), rules=("shared",))))
    answers(base, 0)
    left = committed(base, Insert(lesson("left odd", ("CCN", "l"), rules=("shared",))))
    right = committed(base, Insert(lesson("right odd", ("CCN", "r"), rules=("shared",))))
    for child, other in ((left, right), (right, left), (left, right)):
        others = {entry.id for entry in other} - {entry.id for entry in base}
        seen = {match.entry_id for match in structural(child, "CCN") + lexical(child, "odd shared")}
        seen |= index_of(child, "problems", ProblemIndex).search(child, "CCN")
        held = index_of(child, "rules", RuleIndex).search(child, lesson("n", rules=("shared",)), 9)
        seen |= {entry.id for entry in held}
        assert seen == {entry.id for entry in child}
        assert not seen & others
    assert [match.entry_id for match in structural(base, "CCN")] == [next(iter(base)).id]


def test_an_interrupt_while_an_index_reads_leaves_no_half_read_index(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ExperienceLibrary([lesson("a", ("CCO", "x"), ("CCN", "y")), lesson("b", ("CCC", "z"))])
    read = FingerprintIndex.read

    def interrupted(self: FingerprintIndex, number: int, change: Change) -> None:
        read(self, number, change)
        raise KeyboardInterrupt

    monkeypatch.setattr(FingerprintIndex, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        structural(library, "CCO")
    monkeypatch.undo()
    assert len(structural(library, "CCO")) == 3


def test_what_was_removed_is_found_by_the_old_snapshot_alone() -> None:
    base = ExperienceLibrary([lesson("odd", ("CCO", "x"), rules=("r",)), lesson("even", ("CCN", "y"), rules=("r",))])
    gone, kept = (entry.id for entry in base)
    answers(base, 0)  # every index is up to date before the removal, and reads that alone
    later = committed(base, Remove(gone))

    def found(library: ExperienceLibrary) -> list[set[str]]:
        holders = index_of(library, "rules", RuleIndex).search(library, lesson("q", rules=("r",)), 9)
        problems = index_of(library, "problems", ProblemIndex)
        return [
            {match.entry_id for match in structural(library, "CCO")},
            {match.entry_id for match in lexical(library, "odd even")},
            {entry.id for entry in holders},
            set(problems.search(library, "CCO") | problems.search(library, "CCN")),
        ]

    for _ in range(2):
        assert found(later) == [{kept}] * 4
        assert found(base) == [{gone, kept}] * 4
    assert later.log is base.log
    back = committed(later, Insert(lesson("odd", ("CCO", "x"), rules=("r",))))
    assert found(back) == [{gone, kept}] * 4
    assert found(later) == [{kept}] * 4


def test_a_removal_is_read_once_and_rebuilds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ExperienceLibrary([lesson(f"m{i}", (product, "a")) for i, product in enumerate(PRODUCTS)])
    answers(library, 0)
    read: list[Change] = []
    for kind in (FingerprintIndex, LexicalIndex, RuleIndex, ProblemIndex):
        original = kind.read

        def noted(self, number, change, original=original) -> None:
            read.append(change)
            original(self, number, change)

        monkeypatch.setattr(kind, "read", noted)
    answers(committed(library, Remove(next(iter(library)).id)), 0)
    assert [change.removed for change in read] == [True] * 4


def test_a_depth_is_filled_from_what_is_left() -> None:
    library = ExperienceLibrary([lesson(f"m{i}", ("CC" + "C" * i, "a")) for i in range(40)])
    for entry in list(library)[:30]:
        library = committed(library, Remove(entry.id))
    assert len(structural(library, "CCCCC", 10)) == 10
    assert {match.entry_id for match in structural(library, "CCCCC", 99)} == {entry.id for entry in library}


# -- rules ---------------------------------------------------------------------------------------------------


def test_the_holder_of_the_first_rule_in_the_own_zone_is_never_crowded_out() -> None:
    avoid = [lesson(f"m{i}", rules=(f"rule {i}", "avoid")) for i in range(50)]
    zones = ["warning", "golden", "mixed"]
    same = [Experience(zone=zone, method="t", rules=(Rule("main"),)) for zone in zones]  # type: ignore[arg-type]
    library = ExperienceLibrary(avoid + same)
    new = Experience(zone="mixed", method="n", rules=(Rule("main"), Rule("avoid")))
    found = index_of(library, "rules", RuleIndex).search(library, new, 5)
    assert [entry.zone for entry in found[:3]] == ["mixed", "golden", "warning"]
    assert [entry.id for entry in found[3:]] == sorted(entry.id for entry in avoid)[:2]


def test_an_entry_that_changed_its_zone_is_found_in_the_new_one_alone() -> None:
    base = ExperienceLibrary([lesson("a", rules=("r",)), lesson("b", rules=("r",))])
    first, second = (entry.id for entry in base)
    later = committed(base, Revise(first, zone="warning"))
    index = index_of(later, "rules", RuleIndex)
    wanted = Experience(zone="warning", method="q", rules=(Rule("r"),))
    assert [entry.id for entry in index.search(later, wanted, 1)] == [first]
    assert [entry.id for entry in index.search(later, replace(wanted, zone="golden"), 1)] == [second]
    assert [entry.id for entry in index.search(base, wanted, 5)] == sorted([first, second])


def test_a_rule_that_was_revised_away_is_not_found() -> None:
    base = ExperienceLibrary([lesson("a", rules=("old",))])
    target = next(iter(base)).id
    later = committed(base, Merge(target, lesson("n"), revise_rules=(Revision("old", Rule("new")),)))
    search = index_of(later, "rules", RuleIndex).search
    assert [len(search(later, lesson("q", rules=(rule,)), 5)) for rule in ("old", "new")] == [0, 1]
    assert [len(search(base, lesson("q", rules=(rule,)), 5)) for rule in ("old", "new")] == [1, 0]


def test_a_library_of_few_words_is_searched_too() -> None:
    """Where every word of the query is common, the rarest few still find what holds most of them."""
    library = ExperienceLibrary()
    kinds = ("even", "odd")
    lessons = [Experience(zone="golden", method=f"count the {kinds[n % 2]} numbers case{n}") for n in range(1_500)]
    library = library.apply(Commit("", 0, tuple(Insert(entry) for entry in lessons)))
    found = LexicalIndex.search(index_of(library, "lexical", LexicalIndex), library, "even numbers here", 10)
    assert len(found) == 10
    assert all("even" in library[match.entry_id].method for match in found)
