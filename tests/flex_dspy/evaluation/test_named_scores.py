"""A graded metric's score has its own name and unit wherever a person reads it."""

from __future__ import annotations

import pathlib
from typing import Any

import dspy
import pytest

from flex_dspy.commands.actions.compare import metrics_of
from flex_dspy.commands.actions.tables import evaluation_table
from flex_dspy.core.scoring import named_score
from flex_dspy.core.tables import table_text
from flex_dspy.display.comparison_figure import draw
from flex_dspy.display.comparisons import comparison_html
from flex_dspy.evaluation.comparison import Comparison, compare
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.version import VersionRecord, Versions
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.studies import ablation, inheritance, measure_scaling

NAME = "|Spearman|"
LIBRARY = ExperienceLibrary([Experience("golden", "Look at the charge.")])


@named_score(NAME)
def correlation(example: dspy.Example, prediction: dspy.Prediction) -> float:
    return float(prediction.answer)


def evaluation(*scores: float, score: str = NAME) -> Evaluation:
    return Evaluation(tuple(Record(f"e{n}", "?", "", {}, each) for n, each in enumerate(scores)), score)


class Guesser(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.retriever = ExperienceRetriever(views=["lexical"])

    async def aforward(self, problem: str) -> dspy.Prediction:
        return dspy.Prediction(answer=0.1 * len(problem))


EXAMPLES = [dspy.Example(problem="x" * n).with_inputs("problem") for n in (3, 4, 5, 6)]


def test_an_evaluation() -> None:
    measured = evaluation(0.6, 0.7, 0.8)
    assert str(measured).startswith("|Spearman| 0.700 (0.452 to 0.948), n = 3")
    assert "|Spearman| 0.700 (0.452 to 0.948) on 3 examples" in measured._repr_html_()
    table = table_text(evaluation_table({"old": evaluation(0.6, 0.7, 0.8, score="accuracy"), "new": measured}))
    assert "|Spearman|" in table.splitlines()[0]
    assert "70.0%" not in table


def test_a_comparison(tmp_path: pathlib.Path) -> None:
    both = Comparison((Side("old", evaluation(0.2, 0.3, 0.4)), Side("new", evaluation(0.4, 0.5, 0.7))))
    assert both.score == NAME
    assert "new beside old: +0.233 (-0.343 to +0.623), sign flips" in both.text()
    assert Comparison.from_json(both.to_json()) == both
    assert both.summary()["score"] == NAME
    page = comparison_html(both)
    assert "|Spearman| (95% interval)" in page
    assert "0.533 (" in page
    assert "accuracy" not in page
    assert draw(both, tmp_path / "c.png").exists()
    assert metrics_of(both)["Spearman_new"] == pytest.approx(0.5333, abs=1e-4)


def test_it_comes_from_the_metric() -> None:
    found = compare(ExperienceLibrary(), LIBRARY, Guesser(), EXAMPLES, correlation, progress=False)
    assert (found.score, found.before.score) == (NAME, NAME)


@pytest.fixture
def studies() -> list[Any]:
    options: dict[str, Any] = {"progress": False, "validation": EXAMPLES}
    libraries = dict.fromkeys((2, 4, 8), LIBRARY)
    return [
        ablation(Guesser(), LIBRARY, EXAMPLES, correlation, progress=False, conditions={}),
        inheritance({"charge": LIBRARY}, {"guesser": Guesser()}, EXAMPLES, correlation, progress=False),
        measure_scaling(Guesser(), libraries, correlation, **options),
    ]


def test_studies(studies: list[Any], tmp_path: pathlib.Path) -> None:
    for study in studies:
        frame = study.to_pandas()
        assert NAME in frame
        assert "accuracy" not in frame
        page = study._repr_html_()
        assert NAME in page
        assert "0.450" in page
        assert "45.0%" not in page
        assert type(study).from_json(study.to_json()).to_pandas().equals(frame)
        assert study.figure(tmp_path / "study.png").exists()


def test_versions_of_a_run() -> None:
    measured = {"accuracy": 0.674, "accuracy_low": 0.549, "accuracy_high": 0.8, "n": 5.0}
    versions = Versions([VersionRecord.of("run", 5, LIBRARY, measured, NAME)])
    assert versions[0].score_text() == "|Spearman| 0.674"
    assert versions.to_pandas()["|Spearman|_low"][0] == 0.549
    page = versions._repr_html_()
    assert "|Spearman| (95% interval)" in page
    assert "0.674 (0.549 to 0.800) on 5" in page
