"""A ranking fitted to a library: what is fitted, the file, and how the chemist comes by it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from flex_dspy.commands.actions import fit as action
from flex_dspy.commands.options.library import FitOptions
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import language_model
from flex_dspy.offline import chemist, fitting
from flex_dspy.offline.changes import ENVIRONMENTS, GAINED, LOST, changes
from flex_dspy.offline.engine import AsyncOfflineEngine, OfflineEngine, make_engines
from flex_dspy.offline.experts import RANKING_FILE
from flex_dspy.offline.fitting import Fit, Score, _Likelihood, choose_precedents, fit_ranking, read_choices
from flex_dspy.offline.ranking import TERMS, UNFITTED, Choice, Ranking, environments_of, read_ranking
from flex_dspy.offline.reactions import Case, ReactionAdvice, extract_template, rank_candidates

AMIDES = [(f"{acid}(=O)NC{'C' * n}", f"{acid}(=O)O.{'C' * n}CN") for n in range(1, 8) for acid in ("CC", "CCC")]


@pytest.fixture(autouse=True)
def _one_penalty(monkeypatch):
    monkeypatch.setattr(fitting, "PENALTIES", (0.01,))


def choices(count: int, seed: int = 0) -> list[Choice]:
    """Products with six proposals each, where the right one loses a certain environment."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        sets = random.random((6, 4, ENVIRONMENTS)) < 0.02
        right = int(random.integers(6))
        sets[:, LOST, 7] = np.arange(6) == right
        terms = random.normal(size=(6, len(TERMS))).astype(np.float32)
        found.append(Choice(terms, np.packbits(sets, axis=-1).view(np.uint64), right))
    return found


def library() -> ExperienceLibrary:
    by_template: dict[str, list[Precedent]] = {}
    for n, (product, reactants) in enumerate(AMIDES):
        template = extract_template(product, reactants)
        assert template is not None
        by_template.setdefault(template.smarts, []).append(Precedent(f"p{n}", product, reactants))
    entries = [
        Experience(
            zone="golden",
            method="Disconnect the amide.",
            rules=(Rule(f"Disconnect with the retro template `{smarts}`"),),
            precedents=tuple(known),
        )
        for smarts, known in by_template.items()
    ]
    return ExperienceLibrary(task="uspto50k").apply(Commit("run", 1, tuple(map(Insert, entries))))


def question() -> tuple[str, list[ReactionAdvice]]:
    """A product, with lessons that propose several ways to make it."""
    (product, _), *others = AMIDES
    solved = [(product, "CCN.CC(=O)Cl"), *others]
    templates = [extract_template(*pair) for pair in solved]
    return product, [
        ReactionAdvice(str(n), (template.smarts,), (), (Case(*pair, similarity=0.5),))
        for n, (pair, template) in enumerate(zip(solved, templates, strict=True))
        if template is not None
    ]


def test_a_fit_finds_the_group_that_reacts_first():
    fitted = fit_ranking(choices(150))
    assert fitted.is_better
    assert fitted.score.products == 30
    assert fitted.score.first > 24 > 15 > fitted.general.first
    assert np.argmax(fitted.ranking.lost) == 7
    assert fitted.score.first - fitted.general.first == fitted.score.gained - fitted.score.lost


@pytest.mark.parametrize(("gained", "lost", "sure"), [(0, 0, False), (5, 3, False), (9, 1, True), (1, 9, False)])
def test_a_fit_must_be_surely_better(gained, lost, sure):
    general, fitted = Score(100, 50, 0, 0), Score(100, 50 + gained - lost, gained, lost)
    assert Fit(UNFITTED, fitted, general, penalty=1.0).is_better == sure


def test_a_product_without_a_right_proposal_counts_as_missed():
    some = choices(150)
    fitted = fit_ranking([None if n % 10 == 0 else choice for n, choice in enumerate(some)])
    assert fitted.score.products == 30
    assert fitted.score.first <= 15


def test_the_slope_is_that_of_the_likelihood():
    likelihood = _Likelihood.of(choices(5))
    numbers = np.random.default_rng(1).normal(size=len(TERMS) + 2 * ENVIRONMENTS) / 10
    _, slope = likelihood.loss(numbers)
    for place in (0, 5, len(TERMS) + 7):
        step = np.zeros_like(numbers)
        step[place] = 1e-5
        rise = (likelihood.loss(numbers + step)[0] - likelihood.loss(numbers - step)[0]) / 2e-5
        assert rise == pytest.approx(slope[place], abs=1e-7)


def test_too_few_products_are_an_error():
    with pytest.raises(ValueError, match="only 24 products have a right proposal"):
        fit_ranking(choices(40))


def test_environments_stand_where_the_changes_have_them():
    sets = choices(1)[0].changes
    row = environments_of(sets)[0]
    assert row.sum() == np.bitwise_count(sets[0, [LOST, GAINED]]).sum()


def test_an_unfitted_ranking_ranks_as_the_general_coefficients():
    product, lessons = question()
    general, unfitted = rank_candidates(product, lessons), rank_candidates(product, lessons, ranking=UNFITTED)
    assert [found.reactants for found in general] == [found.reactants for found in unfitted]
    assert [found.score for found in general] == pytest.approx([found.score for found in unfitted], rel=1e-4)
    assert len(general) > 1


def test_numbers_of_environments_change_the_order():
    product, lessons = question()
    best, second, *_ = rank_candidates(product, lessons)
    against = replace(UNFITTED, gained=tuple(-9.0 * bit for bit in _gained(product, best.reactants)))
    assert rank_candidates(product, lessons, ranking=against)[0].reactants == second.reactants


def _gained(product: str, reactants: str) -> list[float]:
    return environments_of(changes(product, [reactants]))[0, ENVIRONMENTS:].tolist()


def test_a_product_never_learns_from_its_own_case():
    own = library()
    precedents = choose_precedents(own, 3, seed=0)
    found = read_choices(own, precedents)
    assert [precedent.problem for precedent in precedents] == [p.problem for p in choose_precedents(own, 3, seed=0)]
    assert all(choice is not None for choice in found)
    first = next(iter(own))
    one = replace(first, precedents=first.precedents[:1])
    alone = ExperienceLibrary(task="uspto50k").apply(Commit("run", 1, (Insert(one),)))
    assert read_choices(alone, one.precedents) == [None]


def test_the_file_holds_the_numbers_and_where_they_come_from(tmp_path):
    path = tmp_path / "library.ranking.json"
    ranking = replace(UNFITTED, lost=(0.25,) * ENVIRONMENTS, fitted_on={"library": "abc"})
    ranking.write(path)
    read = read_ranking(path)
    assert (read.coefficients, read.lost, read.gained) == (ranking.coefficients, ranking.lost, ranking.gained)
    assert read.fitted_on == {"library": "abc"}
    assert read_ranking(path) is read


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "flex-dspy ranking 0"}, "its format is"),
        ({"lost": [0.0]}, "environments"),
        ({"coefficients": {"luck": 1.0}}, "other terms"),
        ({"lost": ["x"]}, "is damaged: lost.0"),
        ({"lost": [float("nan")] * ENVIRONMENTS}, "is damaged"),
        ({"surprise": 1}, "is damaged: surprise"),
    ],
)
def test_a_file_that_is_no_ranking_is_an_error(tmp_path, change, complaint):
    path = tmp_path / "ranking.json"
    UNFITTED.write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigurationError, match=complaint):
        read_ranking(path)


def test_a_model_is_named_with_its_ranking(tmp_path):
    path = tmp_path / "ranking.json"
    UNFITTED.write(path)
    lm = language_model(f"offline/chemist:{path}")
    assert lm.model == f"offline/chemist:{path}"
    engine, async_engine = make_engines(f"chemist:{path}")
    assert OfflineEngine.load_state(engine.dump_state()).ranking == str(path)
    assert AsyncOfflineEngine.load_state(async_engine.dump_state()).ranking == str(path)
    assert OfflineEngine().dump_state() == {"expert": "chemist"}


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("chemist:nowhere.json", "nowhere.json cannot be read"),
        ("biologist:nowhere.json", "only the chemist takes a ranking"),
        ("alchemist:nowhere.json", "no offline expert 'alchemist'"),
    ],
)
def test_a_ranking_that_cannot_be_used_is_an_error_at_once(name, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        make_engines(name)


def test_the_chemist_answers_by_the_ranking_it_is_given(tmp_path, monkeypatch):
    path = tmp_path / "ranking.json"
    UNFITTED.write(path)
    given: list[Ranking | None] = []

    def rank(product, lessons, limit, ranking):
        given.append(ranking)
        return []

    monkeypatch.setattr(chemist, "rank_candidates", rank)
    chemist.act({"product": "CCO", "experiences": "", RANKING_FILE: str(path)})
    chemist.act({"product": "CCO", "experiences": ""})
    assert given == [read_ranking(path), None]


def test_the_command_writes_a_ranking_that_is_better(tmp_path, monkeypatch, capsys):
    source, out = tmp_path / "library.json", tmp_path / "library.ranking.json"
    library().save(source)
    monkeypatch.setattr(action, "read_choices", lambda library, precedents: choices(150))
    action.run(str(source), out, FitOptions())
    assert read_ranking(out).fitted_on["library"] == library().hash
    assert f"offline/chemist:{out}" in capsys.readouterr().out.replace("\n", "")


def test_the_command_writes_nothing_that_is_no_better(tmp_path, monkeypatch):
    source, out = tmp_path / "library.json", tmp_path / "library.ranking.json"
    library().save(source)
    easy = [choice._replace(terms=_right(choice)) for choice in choices(150)]
    monkeypatch.setattr(action, "read_choices", lambda library, precedents: easy)
    with pytest.raises(ConfigurationError, match="not surely better than the general ranking"):
        action.run(str(source), out, FitOptions())
    assert not out.exists()


def _right(choice: Choice) -> np.ndarray:
    """Terms under which the general coefficients find every right proposal."""
    terms = np.zeros_like(choice.terms)
    terms[choice.right] = [np.sign(coefficient) * 9 for coefficient in UNFITTED.coefficients.values()]
    return terms


def test_a_library_with_too_few_reactions_cannot_be_fitted(tmp_path):
    source = tmp_path / "library.json"
    library().save(source)
    with pytest.raises(ConfigurationError, match="learn from more reactions"):
        action.run(str(source), tmp_path / "out.json", FitOptions(examples=4))
