"""Ranking by what was measured: shrunk, explored by a seed, and explained."""

import contextlib
import io
import subprocess
import sys
from types import SimpleNamespace

import dspy
import numpy as np
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.entry_values import EntryValue
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.experience import Commit, Experience, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.equip import equip
from flex_dspy.search.retrieval import ExperienceRetriever, retrievers, search_library
from flex_dspy.search.settings import RetrievalSettings
from flex_dspy.search.utility import UtilityRanking, shrink, usage_lifts

QUERY = "a lesson about dice"


def entry(name: str, shown: int = 0, helped: int = 0, hurt: int = 0) -> Experience:
    return Experience(
        id=name, zone="golden", method=f"{QUERY} {name}", shown=shown, helped=helped, hurt=hurt, category="dice"
    )


def library(*special: Experience, others: int = 10) -> ExperienceLibrary:
    """Entries that help in four of ten showings, give or take one, and some special ones."""
    usual = [entry(f"usual{n}", 100, 30 + 2 * n) for n in range(others)]
    return ExperienceLibrary([*usual, *special])


def order(entries: ExperienceLibrary, query: str = QUERY, **settings) -> list[str]:
    hits = ExperienceRetriever(entries, views=["lexical"], k=50, **settings).hits(query, 50)
    return [hit.experience.id for hit in hits]


def test_two_showings_are_not_judged_like_two_hundred() -> None:
    entries = [*library(), entry("few", 2, 0), entry("many", 200, 0), entry("never")]
    found = UtilityRanking(1, None, {}).utilities(QUERY, entries)
    assert found["many"].lift < 4 * found["few"].lift < 0
    assert (found["never"].lift, found["never"].factor) == (0, 1)
    assert found["many"].factor == pytest.approx(np.exp(found["many"].lift))


def test_what_does_not_differ_more_than_by_chance_is_left_as_it_is() -> None:
    draw = np.random.default_rng(0)
    entries = [entry(f"e{n}", 50, int(draw.binomial(50, 0.4))) for n in range(40)]
    lifts, _ = usage_lifts(entries)
    assert np.exp(np.abs(lifts)).max() < 1.25
    assert not shrink(np.array([0.1, 0.1]), np.array([0.1, 0.2]))[1].any()
    assert not shrink(np.array([0.1]), np.array([0.1]))[1].any()
    for rate in (0, 50):
        assert not usage_lifts([entry("a", 50, rate), entry("b", 20, rate * 20 // 50), entry("c")])[0].any()
    assert not usage_lifts([])[0].any()


def test_lifts_come_near_the_truth_where_the_mean_of_each_entry_does_not() -> None:
    draw = np.random.default_rng(1)
    rates, shown = draw.beta(4, 6, 300), draw.integers(1, 40, 300)
    entries = [
        entry(f"e{n}", int(s), int(draw.binomial(s, p))) for n, (p, s) in enumerate(zip(rates, shown, strict=True))
    ]
    plain = np.array([e.helped / e.shown for e in entries])
    mean, deviations, errors = shrink(plain, np.sqrt(0.24 / shown))
    shrunk = mean + deviations
    assert ((shrunk - rates) ** 2).mean() < 0.6 * ((plain - rates) ** 2).mean()
    assert 0.9 < (np.abs(shrunk - rates) < 2 * errors).mean() < 0.99


def test_a_harmful_entry_that_fits_best_falls_behind() -> None:
    entries = library(entry("bad", 200, 2, 150))
    assert order(entries, f"{QUERY} bad")[0] == "bad"
    assert order(entries, f"{QUERY} bad", utility=0.3)[-1] == "bad"


def test_the_reason_says_what_utility_did() -> None:
    entries = library(entry("bad", 200, 2, 150))
    hit = next(hit for hit in search_library(entries, QUERY, 50, utility=0.3) if hit.experience.id == "bad")
    assert "helped 2 of 200 shown)" in hit.why()
    assert f"utility x {hit.utility.factor:.2f} (odds x {np.exp(hit.utility.lift):.2f}: " in hit.why()
    assert all(hit.utility is None and "utility" not in hit.why() for hit in search_library(entries, QUERY, 50))


def test_trials_count_in_place_of_usage() -> None:
    entries = library(entry("proven", 200, 2), entry("once"))
    effects = {"proven": EntryValue(0.3, 0.2, 0.4, 40, 60, 0.05), "once": EntryValue(0.9, examples=1, pairs=1)}
    effects |= {f"usual{n}": EntryValue(n / 50 - 0.1, -0.2, 0.2, 40, 60, 0.05) for n in range(5)}
    retriever = ExperienceRetriever(entries, views=["lexical"], k=50, utility=1, effects=effects)
    hits = {hit.experience.id: hit.utility for hit in retriever.hits(QUERY, 50)}
    assert (hits["proven"].reason, hits["once"].reason) == ("effect +0.30 in trials", "helped 0 of 0 shown")
    assert hits["proven"].lift > 1
    assert hits["usual7"].reason == "helped 44 of 100 shown"

    copy = ExperienceRetriever(entries)
    copy.load_state(retriever.dump_state())
    assert [hit.why() for hit in copy.hits(QUERY, 50)] == [hit.why() for hit in retriever.hits(QUERY, 50)]


# -- exploration -------------------------------------------------------------------------------------------


def test_exploration_is_the_same_in_every_process() -> None:
    code = (
        "from flex_dspy.libraries.experience import Experience as E\n"
        "from flex_dspy.search.utility import UtilityRanking\n"
        "entries = [E('golden', f'{n}', id=f'{n}', shown=100, helped=30 + 5 * n) for n in range(5)]\n"
        "print(UtilityRanking(0.3, SEED, {}).utilities('dice', entries))"
    )
    command = [sys.executable, "-c", code.replace("SEED", "7")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == in_this_process(code, 7) == in_this_process(code, 7)
    assert said != in_this_process(code, 8) != in_this_process(code, None)


def in_this_process(code: str, seed: int | None) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code.replace("SEED", str(seed)), {})
    return said.getvalue()


def test_an_entry_that_nobody_knows_is_tried_and_a_bad_one_is_not() -> None:
    entries = library(entry("new"), entry("bad", 200, 2))
    ranks = {
        name: [order(entries, utility=1, exploration=seed).index(name) for seed in range(60)] for name in ("new", "bad")
    }
    assert min(ranks["new"]) == 0
    assert max(ranks["new"]) >= 9
    assert min(ranks["bad"]) >= 9


# -- settings ----------------------------------------------------------------------------------------------


def test_ranking_by_fit_alone_is_the_default() -> None:
    entries = library(entry("bad", 200, 2))
    assert order(entries) == order(entries, utility=0)
    assert {"utility", "exploration", "effects"}.isdisjoint(ExperienceRetriever(entries).dump_state())
    saved = ExperienceRetriever(entries, utility=0.3, exploration=7).dump_state()
    assert (saved["utility"], saved["exploration"]) == (0.3, 7)
    with pytest.raises(ConfigurationError, match="utility must be at least 0"):
        RetrievalSettings(utility=-1)


def test_programs_and_learners_take_the_setting() -> None:
    program = dspy.Predict("question -> answer")
    assert retrievers(equip(program, library(), utility=0.3))[0].utility == 0.3
    optimizer = ForwardLearning(
        lambda example, prediction: 1.0,
        retrieval=RetrievalSettings(utility=0.3, exploration=0),
        critic=SimpleNamespace(),
    )
    assert optimizer.retrieval.utility == 0.3


def test_what_a_program_is_shown_changes_with_its_usage() -> None:
    """The counts that learning keeps are those that the ranking reads."""
    entries = library(others=10)
    known = [entry.id for entry in entries]
    tallies = [Tally(tuple(known), helped=tuple(known[1:])) for _ in range(100)]
    used = entries.apply(Commit("run", 1, tally=tallies[0]))
    for step, tally in enumerate(tallies[1:], start=2):
        used = used.apply(Commit("run", step, tally=tally))
    assert order(used, utility=1)[-1] == known[0]
