"""A ranking fitted to a library: what is fitted, the file, and how the chemist comes by it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from flex_dspy.cli import call
from flex_dspy.commands.actions import fit as action
from flex_dspy.commands.actions.rankings import expert_for
from flex_dspy.commands.options.library import FitOptions
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.paths import ranking_of
from flex_dspy.models.lm import language_model
from flex_dspy.offline import chemist, evidence, fitting
from flex_dspy.offline.descriptors import PLACES, Descriptors, describe
from flex_dspy.offline.engine import AsyncOfflineEngine, OfflineEngine, make_engines
from flex_dspy.offline.evidence import COEFFICIENTS
from flex_dspy.offline.experts import RANKING_FILE
from flex_dspy.offline.fitting import Fit, Score, _Likelihood, choose_precedents, fit_ranking, read_choices
from flex_dspy.offline.general import generalize
from flex_dspy.offline.ranking import TERMS, UNFITTED, Choice, Ranking, read_ranking
from flex_dspy.offline.reactions import Case, ReactionAdvice, extract_template, rank_candidates
from flex_dspy.tasks.registry import get_task

AMIDES = [(f"{acid}(=O)NC{'C' * n}", f"{acid}(=O)O.{'C' * n}CN") for n in range(1, 8) for acid in ("CC", "CCC")]


@pytest.fixture(autouse=True)
def _one_penalty(monkeypatch):
    monkeypatch.setattr(action, "PENALTIES", (0.01,))
    monkeypatch.setattr(fitting.fit_ranking, "__defaults__", ((0.01,),))


def general(terms: np.ndarray) -> np.ndarray:
    """The weights by the coefficients for many cases."""
    return terms[:, : len(COEFFICIENTS)] @ np.array(list(COEFFICIENTS.values()), np.float32)


def choices(count: int, seed: int = 0) -> list[Choice]:
    """Products with six proposals each, where only the right one has the descriptor at place 7."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        right = int(random.integers(6))
        places = random.integers(100, 600, size=(6, 20), dtype=np.int32)
        places[right, 0] = 7
        terms = random.normal(size=(6, len(TERMS))).astype(np.float32)
        descriptors = Descriptors(places.ravel(), np.ones(120, np.float32), np.full(6, 20, np.int32))
        found.append(Choice(terms, descriptors, general(terms), right))
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
    assert max(fitted.ranking.numbers, key=fitted.ranking.numbers.get) == 7
    assert fitted.score.first - fitted.general.first == fitted.score.gained - fitted.score.lost


@pytest.mark.parametrize(("gained", "lost", "sure"), [(0, 0, False), (5, 3, False), (9, 1, True), (1, 9, False)])
def test_a_fit_must_be_surely_better(gained, lost, sure):
    general, fitted = Score(100, 50, 0, 0), Score(100, 50 + gained - lost, gained, lost)
    assert Fit(UNFITTED, fitted, general, penalty=1.0, products=500).is_better == sure


def test_a_product_without_a_right_proposal_counts_as_missed():
    some = choices(150)
    fitted = fit_ranking([None if n % 10 == 0 else choice for n, choice in enumerate(some)])
    assert fitted.score.products == 30
    assert fitted.score.first <= 15


def test_the_slope_is_that_of_the_likelihood():
    likelihood = _Likelihood.of(choices(5))
    solution = np.random.default_rng(1).normal(size=len(TERMS) + PLACES) / 10
    _, slope = likelihood.loss(solution)
    for place in (0, 5, len(TERMS) + 7):
        step = np.zeros_like(solution)
        step[place] = 1e-2
        rise = (likelihood.loss(solution + step)[0] - likelihood.loss(solution - step)[0]) / 2e-2
        assert rise == pytest.approx(slope[place], abs=1e-4)


def test_too_few_products_are_an_error():
    with pytest.raises(ValueError, match="only 24 products have a right proposal"):
        fit_ranking(choices(40))


def test_an_unfitted_ranking_ranks_as_the_general_coefficients(monkeypatch):
    monkeypatch.setattr(evidence, "FEW", 1e-9)  # any case is many
    monkeypatch.setattr(evidence, "MANY", 2e-9)
    product, lessons = question()
    general, unfitted = rank_candidates(product, lessons), rank_candidates(product, lessons, ranking=UNFITTED)
    assert [found.reactants for found in general] == [found.reactants for found in unfitted]
    assert [found.score for found in general] == pytest.approx([found.score for found in unfitted], rel=1e-4)
    assert len(general) > 1


def test_numbers_of_descriptors_change_the_order():
    product, lessons = question()
    best, second, *_ = rank_candidates(product, lessons)
    (best_form, second_form) = (generalize(found.template) or found.template for found in (best, second))
    terms = np.zeros((len(TERMS), 1), np.float32)
    own = set(describe(product, [best.reactants], [best_form], terms).places.tolist())
    shared = set(describe(product, [second.reactants], [second_form], terms).places.tolist())
    against = replace(UNFITTED, numbers=dict.fromkeys(own - shared, -9.0))
    assert rank_candidates(product, lessons, ranking=against)[0].reactants == second.reactants


def test_a_product_never_learns_from_its_own_case():
    own = library()
    precedents = choose_precedents(own, 3, seed=0)
    found = list(read_choices(own, precedents))
    assert [precedent.problem for precedent in precedents] == [p.problem for p in choose_precedents(own, 3, seed=0)]
    assert all(choice is not None for choice in found)
    first = next(iter(own))
    one = replace(first, precedents=first.precedents[:1])
    alone = ExperienceLibrary(task="uspto50k").apply(Commit("run", 1, (Insert(one),)))
    assert list(read_choices(alone, one.precedents)) == [None]


def test_the_file_holds_the_numbers_and_where_they_come_from(tmp_path):
    path = tmp_path / "library.ranking.json"
    ranking = replace(UNFITTED, numbers={3: 0.25, PLACES - 1: -1.5}, fitted_on={"library": "abc"})
    path.write_text(ranking.text())
    read = read_ranking(path)
    assert (read.coefficients, read.numbers) == (ranking.coefficients, ranking.numbers)
    assert read.fitted_on == {"library": "abc"}
    assert read_ranking(path) is read


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "flex-dspy ranking 1"}, "its format is"),
        ({"format": "flex-dspy ranking 1", "lost": [0.5]}, "its format is"),
        ({"format": [1]}, "its format is"),
        ({"numbers": {str(PLACES): 0.5}}, f"numbers beyond place {PLACES - 1}"),
        ({"numbers": {"-1": 0.5}}, "is damaged: numbers.-1"),
        ({"coefficients": {"luck": 1.0}}, "other terms"),
        ({"numbers": {"5": "x"}}, "is damaged: numbers.5"),
        ({"numbers": {"5": float("nan")}}, "is damaged"),
        ({"numbers": {"5": 1e300}}, "is damaged: numbers.5"),
        ({"coefficients": dict.fromkeys(TERMS, -1e300)}, "is damaged: coefficients"),
        ({"surprise": 1}, "is damaged: surprise"),
    ],
)
def test_a_file_that_is_no_ranking_is_an_error(tmp_path, change, complaint):
    path = tmp_path / "ranking.json"
    path.write_text(UNFITTED.text())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigurationError, match=complaint):
        read_ranking(path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"fitted_on": ' + "[" * 100_000, ""], ids=["lists", "a field", "empty"]
)
def test_a_file_that_cannot_be_parsed_is_an_error(tmp_path, text):
    path = tmp_path / "ranking.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is damaged"):
        read_ranking(path)


def test_a_model_is_named_with_its_ranking(tmp_path):
    path = tmp_path / "ranking.json"
    path.write_text(UNFITTED.text())
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
    path.write_text(UNFITTED.text())
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
    monkeypatch.setattr(action, "read_choices", lambda library, precedents, workers: iter(choices(150)))
    action.run(str(source), out, FitOptions())
    about = read_ranking(out).fitted_on
    assert (about["library"], about["products"]) == (library().hash, 150)
    assert f"offline/chemist:{out}" in capsys.readouterr().out.replace("\n", "")


def test_eval_uses_the_ranking_beside_its_library(tmp_path, caplog):
    source, task = tmp_path / "library.json", get_task("uspto50k")
    library().save(source)
    assert expert_for(task, str(source), library()) == "chemist"
    path = ranking_of(source)
    path.write_text(replace(UNFITTED, fitted_on={"library": library().hash}).text())
    assert expert_for(task, str(source), library()) == f"chemist:{path}"
    assert expert_for(get_task("aime"), str(source), library()) == "mathematician"
    assert expert_for(task, str(source), library(), "local:2") == f"chemist:{path}"
    assert not caplog.records
    assert expert_for(task, str(source), library(), "tcp://node:8786") == "chemist"
    assert "the cluster may not have it" in caplog.text
    assert expert_for(task, str(source), ExperienceLibrary(task="uspto50k")) == "chemist"
    assert "it was fitted to version" in caplog.text


def test_a_damaged_ranking_beside_a_library_stops_no_model_that_is_named(tmp_path):
    source = tmp_path / "library.json"
    library().save(source)
    ranking_of(source).write_text("{")
    words = ["eval", "uspto50k", "--library", str(source), "--samples", "3", "--no-tracking", "--out"]
    call([*words, str(tmp_path / "named"), "--lm", "offline/chemist"])
    with pytest.raises(ConfigurationError, match=r"is damaged: the file.*delete it, or fit it anew"):
        call([*words, str(tmp_path / "own")])


def test_processes_read_the_same_proposals_in_the_same_order():
    own = library()
    precedents = choose_precedents(own, 14, seed=0)
    alone, together = list(read_choices(own, precedents)), list(read_choices(own, precedents, workers=2))
    assert len(alone) == len(together) == 14
    for one, other in zip(alone, together, strict=True):
        assert one is not None
        assert other is not None
        assert one.right == other.right
        np.testing.assert_array_equal(one.terms, other.terms)
        np.testing.assert_array_equal(one.descriptors.places, other.descriptors.places)


def test_the_best_proposals_are_kept_with_the_right_one():
    choice = choices(1)[0]
    terms = np.zeros_like(choice.terms)
    terms[:, 2] = np.arange(6)  # "the most alike changes": the last proposal is the best
    kept = fitting._best_of(choice._replace(terms=terms, general=terms[:, 2], right=1), 3)
    assert kept.terms[:, 2].tolist() == [1, 3, 4, 5]
    assert kept.right == 0
    numbers = np.zeros(PLACES, np.float32)
    numbers[choice.descriptors.places[20:40]] = 1.0
    assert kept.descriptors.weigh(numbers).argmax() == 0


def test_a_pair_tells_a_proposal_by_what_else_the_product_has():
    form = "[C:1][N:2]>>[C:1]O.[N:2]"
    terms = np.zeros((len(TERMS), 1), np.float32)
    plain, amine = (describe(p, [f"CC(=O)O.{p}"], [form], terms) for p in ("CC(=O)NCC", "CC(=O)NCCN"))
    again = describe("CC(=O)NCC", ["CC(=O)O.CC(=O)NCC"], [form], terms)
    np.testing.assert_array_equal(plain.places, again.places)
    assert set(amine.places.tolist()) - set(plain.places.tolist())
    assert set(amine.strengths.tolist()) == {0.5, 1.0, 2.0}


def test_a_term_has_its_own_number_in_each_range_of_values():
    product, forms = "CC(=O)NCC", ["[C:1][N:2]>>[C:1]O.[N:2]"] * 3
    terms = np.zeros((len(TERMS), 3), np.float32)
    terms[2] = (0.3, 0.4, 5.0)  # two in one band, one in another
    outcomes = ["CC(=O)O.CC(=O)NCC"] * 3
    near, same, far = np.split(describe(product, outcomes, forms, terms).places, 3)
    assert set(near) == set(same)
    assert len(set(far) - set(near)) == 2  # the value, and its distance from the largest
    last = len(TERMS) - 1
    numbers = np.zeros(PLACES, np.float32)
    numbers[list(set(far) - set(near))] = 1.0
    assert describe(product, outcomes, forms, terms).weigh(numbers).argmax() == 2
    moved = terms.copy()
    moved[last] = 5.0  # all alike: the value changes, its distance does not
    assert len(set(describe(product, outcomes, forms, moved).places) - set(near) - set(far)) == 1


def test_the_command_writes_nothing_that_is_no_better(tmp_path, monkeypatch):
    source, out = tmp_path / "library.json", tmp_path / "library.ranking.json"
    library().save(source)
    easy = [choice._replace(terms=_right(choice), general=general(_right(choice))) for choice in choices(150)]
    monkeypatch.setattr(action, "read_choices", lambda library, precedents, workers: iter(easy))
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


def test_an_error_says_to_read_more_precedents_where_the_library_has_them(tmp_path, monkeypatch, capsys):
    entries = [replace(e, precedents=tuple(Precedent(f"{'C' * n}O", "CO", f"{n}") for n in range(1, 70)))
               for e in list(library())[:1]]  # fmt: skip
    ExperienceLibrary().apply(Commit("run", 1, tuple(map(Insert, entries)))).save(tmp_path / "library.json")
    monkeypatch.setattr(action, "read_choices", lambda library, precedents, workers: iter(choices(len(precedents))))
    with pytest.raises(ConfigurationError, match=r"raise --examples, as the library has 69 precedents$"):
        action.run(str(tmp_path / "library.json"), tmp_path / "out.json", FitOptions(examples=20))
    assert "choosing the penalty" not in capsys.readouterr().err


def test_a_library_without_reactions_is_named_as_such(tmp_path):
    entry = Experience(zone="golden", method="Count.", precedents=(Precedent("How many divisors has 6?", "4", "1"),))
    source = tmp_path / "library.json"
    ExperienceLibrary(task="aime").apply(Commit("run", 1, (Insert(entry),))).save(source)
    with pytest.raises(ConfigurationError, match=r"needs a library of reactions, .* the task of this one is aime$"):
        action.run(str(source), tmp_path / "out.json", FitOptions())
