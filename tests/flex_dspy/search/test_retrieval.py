"""The retriever: what it fuses, what it leaves out, what it records, and its life as a DSPy parameter."""

import asyncio
import copy
from dataclasses import replace
from pathlib import Path

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.tokens import tokens
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.nearest import entry_of_kind, nearest_lessons
from flex_dspy.search.ranking import RRF
from flex_dspy.search.reading import pinned
from flex_dspy.search.rendering import NONE, parse
from flex_dspy.search.retrieval import ExperienceRetriever, retrievers

ALCOHOLS = ["CCO", "CCCO", "CCCCO", "CCCCCO", "CCCCCCO", "CC(C)O", "CC(C)CO", "OCCO"]


def lesson(method: str, *problems: str, zone: str = "golden", rules: tuple[str, ...] = ()) -> Experience:
    cases = tuple(Precedent(f"ex-{problem}", problem, f"{problem}-answer") for problem in problems)
    return Experience(
        zone=zone,  # type: ignore[arg-type]
        method=method,
        rules=tuple(Rule(rule, (f"{rule}-example",)) for rule in rules),
        trajectory=f"{method}-trajectory",
        precedents=cases,
    )


def library(*entries: Experience) -> ExperienceLibrary:
    return ExperienceLibrary(list(entries), task="t")


def methods(found: dspy.Prediction) -> list[str]:
    return [hit.experience.method for hit in found.hits]


# -- fusion --------------------------------------------------------------------------------------------------


def test_reciprocal_ranks_are_added_by_zone() -> None:
    entries = [
        lesson("both", "CCO", zone="golden"),
        lesson("structure only", "CCCO", zone="mixed"),
        lesson("words only: C ( C ) O", "words", zone="warning"),
    ]
    retriever = ExperienceRetriever(library(*entries), exclude_self=False)
    hits = {hit.experience.method: hit for hit in retriever("CCO").hits}
    weight = {"golden": 1.0, "mixed": 0.9, "warning": 0.8}
    for hit in hits.values():
        expected = sum(weight[hit.experience.zone] / (RRF + rank) for rank in hit.ranks.values())
        assert hit.score == pytest.approx(expected)
    assert hits["both"].ranks == {"structural": 1, "lexical": 1}
    assert hits["structure only"].ranks == {"structural": 2}
    assert next(iter(hits)) == "both"


def test_an_entry_with_many_similar_cases_counts_once_and_shows_them_best_first() -> None:
    retriever = ExperienceRetriever(library(lesson("many", *ALCOHOLS)), views=["structural"])
    (hit,) = retriever("CCCCCCCO").hits
    assert hit.ranks == {"structural": 1}
    similarities = [similarity for _, similarity in hit.precedents]
    assert len(similarities) == len(ALCOHOLS)
    assert similarities == sorted(similarities, reverse=True)


def test_equal_scores_are_in_order_of_id() -> None:
    entries = [lesson(f"m{i}", "words") for i in range(6)]
    found = ExperienceRetriever(library(*entries), views=["lexical"])("words?").hits
    assert [hit.experience.id for hit in found] == sorted(entry.id for entry in entries)


def test_k_depth_and_budget_are_respected() -> None:
    entries = [lesson(f"method {i}", problem, rules=("do this",)) for i, problem in enumerate(ALCOHOLS)]
    retriever = ExperienceRetriever(library(*entries), k=3, views=["structural"], depth=5, token_budget=90)
    assert len(retriever("CCCCCCCO").hits) == 3
    assert len(retriever("CCCCCCCO", k=7).hits) == 5  # no more than depth precedents were looked at
    assert tokens(retriever("CCCCCCCO").experiences) <= 90
    with pytest.raises(ConfigurationError, match="k must"):
        retriever("CCO", k=0)


# -- the own example -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [["structural"], ["lexical"], ["structural", "lexical"]])
def test_no_example_is_answered_from_its_own_solution(views: list[str]) -> None:
    entries = [
        lesson("own", "CCO"),
        lesson("own twice", "CCO", "CCO"),
        lesson("shared", "CCO", "CCCO", rules=("cut C O",)),
        lesson("other", "CCCCO", rules=("cut C O",)),
    ]
    retriever = ExperienceRetriever(library(*entries), views=views)  # type: ignore[arg-type]
    found = retriever("CCO")
    assert not {"own", "own twice"} & set(methods(found))
    hits = {hit.experience.method: hit for hit in found.hits}
    if "structural" in views:
        assert {"shared", "other"} == set(hits)
        assert [case.problem for case, _ in hits["shared"].precedents] == ["CCCO"]
        assert hits["shared"].own
        assert not hits["other"].own
    assert "CCO-answer" not in found.experiences.replace("CCCO-answer", "").replace("CCCCO-answer", "")
    assert "shared-trajectory" not in found.experiences


def test_rule_examples_of_an_entry_with_the_own_case_are_left_out() -> None:
    entry = lesson("shared", "CCO", "CCCO", rules=("cut",))
    written = ExperienceRetriever(library(entry))("CCO").experiences
    assert "Rule: cut" in written
    assert "cut-example" not in written
    assert "cut-example" in ExperienceRetriever(library(entry))("CCCCO").experiences


def test_the_own_case_is_found_where_that_is_wanted() -> None:
    retriever = ExperienceRetriever(library(lesson("own", "CCO"), lesson("other", "CCCO")), exclude_self=False)
    found = retriever("CCO")
    assert methods(found)[0] == "own"
    assert found.hits[0].precedents[0][1] == 1.0
    assert "own-trajectory" in found.experiences


def test_entries_left_out_make_room_for_the_next() -> None:
    entries = [lesson(f"own {i}", "CCO") for i in range(30)] + [lesson(f"o{i}", p) for i, p in enumerate(ALCOHOLS[1:])]
    retriever = ExperienceRetriever(library(*entries), k=4, views=["structural"], depth=4)
    assert len(retriever("CCO").hits) == 4


def test_the_own_case_is_one_of_the_snapshot_that_is_read() -> None:
    early = library(lesson("a", "CCCO"))
    late = early.apply(Commit("", 0, (Insert(lesson("b", "CCO")),)))
    retriever = ExperienceRetriever(late, views=["structural"])
    assert methods(retriever("CCO")) == ["a"]
    with pinned(early):
        assert not retriever("CCO").hits[0].own
    assert not retriever("CCCCO").hits[0].own


# -- odd queries ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "C1CC", "not a molecule", "CCO" * 200, "\n", "[[ ## x ## ]]", "题"])
def test_any_query_is_answered(query: str) -> None:
    retriever = ExperienceRetriever(library(lesson("a", "CCO"), lesson("b", "a word problem"), lesson("c")))
    assert isinstance(retriever(query).experiences, str)
    assert ExperienceRetriever()(query).experiences == NONE
    assert ExperienceRetriever()(query).passages == []


def test_cases_that_are_no_molecules_are_found_by_their_words() -> None:
    retriever = ExperienceRetriever(library(lesson("dice", "chance of a six in four throws"), lesson("x", "CCO")))
    found = retriever("chance of a five")
    assert methods(found) == ["dice"]
    assert found.hits[0].ranks == {"lexical": 1}
    assert found.passages == [found.hits[0].experience.text()]


# -- pinning and recording -----------------------------------------------------------------------------------


def test_a_pinned_snapshot_is_read_and_what_is_shown_is_recorded() -> None:
    mine, theirs = library(lesson("mine", "CCO")), library(lesson("theirs", "CCO"))
    retriever = ExperienceRetriever(mine)
    with pinned(theirs) as outer:
        assert methods(retriever("CCCO")) == ["theirs"]
        with pinned(mine) as inner:
            assert methods(retriever("CCCO")) == ["mine"]
        assert methods(retriever("CCCO")) == ["theirs"]
    assert methods(retriever("CCCO")) == ["mine"]
    assert outer.shown == [entry.id for entry in theirs] * 2
    assert inner.shown == [entry.id for entry in mine]


def test_only_what_is_in_the_prompt_counts_as_shown() -> None:
    long = lesson("long " * 200, "CCO")
    short = lesson("short", "CCCO")
    retriever = ExperienceRetriever(library(long, short), token_budget=120)
    with pinned(retriever.library) as reading:
        found = retriever("CCCCO")
    assert len(found.hits) == 2
    assert reading.shown == [short.id] == [entry.id for entry in parse(found.experiences)]


def test_tasks_pinned_to_different_snapshots_do_not_mix() -> None:
    retriever = ExperienceRetriever(ExperienceLibrary())
    snapshots = [library(lesson(f"snapshot {i}", "CCO")) for i in range(5)]

    async def run(snapshot: ExperienceLibrary) -> tuple[list[str], list[str]]:
        seen: list[str] = []
        with pinned(snapshot) as reading:
            for turn in range(4):
                await asyncio.sleep(0.001 * (turn % 2))
                found = await retriever.acall("CCCO") if turn % 2 else await asyncio.to_thread(retriever, "CCCO")
                seen += [hit.experience.id for hit in found.hits]
        return seen, reading.shown

    async def all_at_once() -> list[tuple[list[str], list[str]]]:
        return await asyncio.gather(*map(run, snapshots))

    for snapshot, (seen, shown) in zip(snapshots, asyncio.run(all_at_once()), strict=True):
        assert seen == shown == [entry.id for entry in snapshot] * 4
    assert methods(retriever("CCCO")) == []


def test_hidden_entries_are_not_found_and_the_next_takes_their_places() -> None:
    entries = [lesson(f"method {i}", problem) for i, problem in enumerate(ALCOHOLS)]
    retriever = ExperienceRetriever(library(*entries), k=3, depth=4)
    ranking = [hit.experience.id for hit in retriever.hits("CCCCCCCO", 8)]
    hidden = frozenset(ranking[:3:2])
    with pinned(retriever.library, hidden) as reading:
        assert reading.hidden == hidden
        found = [hit.experience.id for hit in retriever.hits("CCCCCCCO", 3)]
        retriever("CCCCCCCO")
    assert found == reading.shown == [entry_id for entry_id in ranking if entry_id not in hidden][:2] + found[2:]
    assert len(found) == 3
    assert not hidden & set(found)
    assert [hit.experience.id for hit in retriever.hits("CCCCCCCO", 3)] == ranking[:3]
    with pinned(retriever.library, hidden, replace=False):
        assert [hit.experience.id for hit in retriever.hits("CCCCCCCO", 3)] == ranking[1:2]
    with pinned(retriever.library, frozenset(entry.id for entry in retriever.library)):
        assert retriever("CCCCCCCO").experiences == NONE


# -- options -------------------------------------------------------------------------------------------------


def zoned() -> ExperienceLibrary:
    zones = ["golden", "warning", "mixed"]
    return library(*(lesson(f"m{i} odd", p, zone=zones[i % 3]) for i, p in enumerate(ALCOHOLS)))


def test_only_the_zones_asked_for_are_searched_however_far_down_they_are() -> None:
    retriever = ExperienceRetriever(zoned(), zones=["warning"], views=["structural"], depth=1)
    hits = retriever("CCCCCCCO").hits
    assert [hit.experience.zone for hit in hits] == ["warning"]
    assert hits[0].ranks == {"structural": 1}
    retriever = ExperienceRetriever(zoned(), zones=["warning", "mixed"])
    assert {hit.experience.zone for hit in retriever("CCCCCCCO odd").hits} == {"warning", "mixed"}


def test_categories_are_whole_and_of_any_case() -> None:
    names = ["Amides", "amides ", "esters", "ÄTHER", "amide"]
    entries = [Experience(zone="golden", method=f"odd {i}", category=name) for i, name in enumerate(names)]

    def found(*categories: str) -> set[str]:
        retriever = ExperienceRetriever(library(*entries), views=["lexical"], categories=categories)
        return {hit.experience.category for hit in retriever("odd").hits}

    assert found("aMIDES") == {"Amides"}
    assert found("äther", "esters") == {"ÄTHER", "esters"}
    assert found("none such") == set()


def test_quotas_diversity_and_weights_reach_the_result() -> None:
    def zones(**settings: object) -> list[str]:
        retriever = ExperienceRetriever(zoned(), k=6, views=["structural"], **settings)  # type: ignore[arg-type]
        return [hit.experience.zone for hit in retriever("CCCCCCCCO").hits]

    assert zones(quotas={"golden": 1}).count("golden") == 1
    assert zones(zone_weights={"warning": 5.0})[:2] == ["warning", "warning"]
    hit = ExperienceRetriever(zoned(), zone_weights={"mixed": 0.5}, zones=["mixed"])("CCCCCCCO odd").hits[0]
    assert hit.weight == 0.5
    assert hit.score == pytest.approx(0.5 * sum(1 / (RRF + rank) for rank in hit.ranks.values()))
    same = [lesson("cut the amide bond", "CCCCCCO"), lesson("cut the amide bond ", "CCCCCO"), lesson("wait", "CCO")]
    for diversity, expected in ((0.0, "cut the amide bond "), (0.8, "wait")):
        retriever = ExperienceRetriever(library(*same), k=2, views=["structural"], diversity=diversity)
        assert methods(retriever("CCCCCCCO"))[1] == expected


@pytest.mark.parametrize("level", ["method", "rules", "precedents", "trajectory"])
def test_one_level_alone_can_be_written(level: str) -> None:
    marks = {"method": "Method: ", "rules": "Rule: ", "precedents": "Solved ", "trajectory": "Instance: "}
    content = library(lesson("a", "CCO", rules=("cut",)))
    written = ExperienceRetriever(content, levels=[level])("CCCO").experiences  # type: ignore[list-item]
    assert [name for name, mark in marks.items() if mark in written] == [level]


def test_levels_are_filled_in_their_own_order() -> None:
    retriever = ExperienceRetriever(levels=["trajectory", "method"])
    assert retriever.levels == ["method", "trajectory"]


# -- settings and state --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        *({"views": []}, {"views": ["dense"]}, {"views": "lexical"}, {"k": 0}, {"depth": 0}, {"token_budget": -1}),
        *({"zones": []}, {"zones": ["good"]}, {"categories": "amides"}, {"quotas": {"good": 1}}),
        *({"quotas": {"golden": -1}}, {"zone_weights": {"golden": float("nan")}}, {"diversity": 1.1}),
        *({"levels": []}, {"levels": ["methods"]}, {"levels": "rules"}),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ExperienceRetriever(**settings)  # type: ignore[arg-type]


class Program(dspy.Module):
    def __init__(self, retriever: ExperienceRetriever) -> None:
        super().__init__()
        self.retriever = retriever
        self.answer = dspy.Predict("question, experiences -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.retriever(question)


def test_it_is_a_parameter_of_the_program_that_holds_it() -> None:
    program = Program(ExperienceRetriever())
    assert isinstance(program.retriever, dspy.Retrieve)
    assert "retriever" in dict(program.named_parameters())
    assert retrievers(program) == [program.retriever]
    assert retrievers(dspy.Predict("a -> b")) == []


def test_a_copy_has_its_own_settings_and_the_same_snapshot() -> None:
    retriever = ExperienceRetriever(library(lesson("a", "CCO")), k=3)
    for copied in (copy.deepcopy(Program(retriever)), Program(retriever).deepcopy()):
        copied.retriever.k = 5
        copied.retriever.views.append("lexical")
        assert retriever.k == 3
        assert len(retriever.views) == 2
        assert copied.retriever.library is retriever.library
    assert "retriever" in dict(Program(retriever).reset_copy().named_parameters())


def test_a_program_is_saved_and_loaded_with_its_settings(tmp_path: Path) -> None:
    content = library(lesson("a", "CCO"))
    saved = Program(ExperienceRetriever(content, k=3, views=["lexical"], depth=9, token_budget=77, exclude_self=False))
    saved.save(tmp_path / "program.json")
    assert "method" not in (tmp_path / "program.json").read_text().replace("Method", "")
    for start in (content, ExperienceLibrary()):
        loaded = Program(ExperienceRetriever(start))
        loaded.load(tmp_path / "program.json")
        state, wanted = loaded.retriever.dump_state(), saved.retriever.dump_state()
        assert {**state, "library_hash": ""} == {**wanted, "library_hash": ""}
        assert loaded.retriever.library is start
        assert loaded("CCCO").experiences


OPTIONS = {
    "zone_weights": {"golden": 1.0, "mixed": 0.9, "warning": 0.2},
    "quotas": {"warning": 2},
    "zones": ["golden", "warning"],
    "categories": ["Amides"],
    "diversity": 0.25,
    "levels": ["method", "rules"],
}


def test_every_option_is_saved_and_loaded(tmp_path: Path) -> None:
    saved = Program(ExperienceRetriever(**OPTIONS))  # type: ignore[arg-type]
    saved.save(tmp_path / "program.json")
    loaded = Program(ExperienceRetriever(diversity=0.9))
    loaded.load(tmp_path / "program.json")
    assert loaded.retriever.dump_state() == saved.retriever.dump_state()
    assert {name: getattr(loaded.retriever, name) for name in OPTIONS} == OPTIONS


def test_a_state_without_the_options_has_them_at_their_defaults() -> None:
    old = {"k": 8, "views": ["lexical"], "depth": 50, "token_budget": 4_000, "exclude_self": True}
    retriever = ExperienceRetriever(**OPTIONS)  # type: ignore[arg-type]
    retriever.load_state(old)
    assert retriever.dump_state() == {**old, "library_hash": ExperienceLibrary().hash}
    assert retriever.dump_state() == ExperienceRetriever(views=["lexical"]).dump_state()


def test_state_of_another_library_is_refused() -> None:
    state = ExperienceRetriever(library(lesson("a", "CCO"))).dump_state()
    with pytest.raises(ConfigurationError, match="load that library first"):
        ExperienceRetriever(library(lesson("b", "CCO"))).load_state(state)


@pytest.mark.parametrize("state", [{"views": ["dense"]}, {"k": 0}, {"_library": None}, {"forward": "x"}])
def test_a_state_that_cannot_work_is_refused_and_changes_nothing(state: dict[str, object]) -> None:
    retriever = ExperienceRetriever(k=3)
    before = retriever.dump_state()
    with pytest.raises(ConfigurationError):
        retriever.load_state({"depth": 7, **state})
    assert retriever.dump_state() == before


def test_an_empty_library_keeps_its_task() -> None:
    empty = ExperienceLibrary(task="t")
    assert ExperienceRetriever(empty).library is empty


# -- what the updater compares with --------------------------------------------------------------------------


def test_entries_with_the_same_rule_come_before_similar_words() -> None:
    entries = [lesson("ring closure of amines", rules=("other",)), lesson("nothing alike", rules=("same",))]
    near = nearest_lessons(library(*entries), lesson("ring closure of amines", rules=("same",)), 5)
    assert [entry.method for entry in near] == ["nothing alike"]
    near = nearest_lessons(library(*entries), lesson("ring closure of amines", rules=("new",)), 1)
    assert [entry.method for entry in near] == ["ring closure of amines"]
    assert nearest_lessons(ExperienceLibrary(), lesson("x", rules=("y",)), 5) == []


def test_an_entry_that_gathers_lessons_of_the_same_kind_is_enough() -> None:
    def of(rule: str, category: str = "amide") -> Experience:
        return replace(lesson("cut the bond", rules=(rule,)), id="", category=category)

    entries = [of("same", "ester"), of("other")]
    assert nearest_lessons(library(*entries), of("same"), 5) == [entries[0]]
    assert entry_of_kind(library(*entries), of("same")) == entries[1]
    assert entry_of_kind(library(*entries), of("same", "ether")) is None
    case = Precedent("e1", "p", "a", rule=entries[1].rules[0].key)
    gathering = replace(entries[1], precedents=(case,))
    assert nearest_lessons(library(entries[0], gathering), of("same"), 5) == [gathering]
