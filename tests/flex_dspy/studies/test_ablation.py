"""A program of which each part of a library makes some examples right."""

from pathlib import Path
from typing import Any

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError, OverlapError
from flex_dspy.core.examples import example_id
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.studies import Ablation, ablation
from flex_dspy.studies.ablation_study import parts
from tests.llm_server import LLMServer

LIBRARY = ExperienceLibrary(
    [
        Experience(zone="golden", method="Sums by oak.", rules=(Rule("Then elm."),), trajectory="First ash."),
        Experience(zone="warning", method="Sums never by fir."),
    ]
)
# How many examples turn on each word: on the golden method, its rule, its instance, and the warning's method.
WORDS = ["oak"] * 12 + ["elm"] * 8 + ["ash"] * 4 + ["fir"] * 6
EXAMPLES = [
    dspy.Example(question=f"Sums {n} want {word.upper()}", answer=word).with_inputs("question")
    for n, word in enumerate(WORDS)
]


def right(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    return bool(example.answer == prediction.answer)


def said(question: str, experiences: str) -> str:
    word = question.rpartition(" ")[2].lower()
    return word if word in experiences else "unknown"


class Reader(dspy.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.retriever = ExperienceRetriever(views=["lexical"], **settings)

    async def aforward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=said(question, self.retriever(question).experiences))


@pytest.fixture(scope="module")
def study() -> Ablation:
    return ablation(Reader(), LIBRARY, EXAMPLES, right, progress=False)


def test_each_part_alone(study: Ablation) -> None:
    solved = {name: round(30 * condition.accuracy) for name, condition in study.conditions.items()}
    assert solved == {
        "whole library": 30,
        "no retrieval": 0,
        "golden only": 24,
        "warning only": 6,
        "method only": 18,
        "rules only": 8,
        "trajectory only": 4,
    }


def test_the_differences_are_paired_with_the_whole_library(study: Ablation) -> None:
    assert study.conditions["whole library"].compared is None
    found = study.conditions["golden only"].compared
    assert found is not None
    assert (found.first, found.second, found.wins, found.losses) == ("whole library", "golden only", 0, 6)
    assert found.gain == pytest.approx(-0.2)
    assert found.p_value == pytest.approx(2 * 0.5**6)
    assert found.p_value <= found.adjusted < 6.1 * found.p_value
    assert len(study.evaluations["golden only"].records) == 30


def test_a_table_a_page_and_json(study: Ablation) -> None:
    frame = study.to_pandas().set_index("condition")
    assert frame.loc["method only", "losses"] == 12
    assert frame.loc["whole library", ["gain", "wins"]].isna().all()
    page = study._repr_html_()
    assert "rules only" in page
    assert "−20.0 (" in page
    assert "Holm's correction for 6 comparisons" in page.replace("&#39;", "'")
    assert Ablation.from_json(study.to_json()) == study
    for text in ("{}", "[1]", "no json"):
        with pytest.raises(ValueError):
            Ablation.from_json(text)


def test_the_figure_names_all_conditions(study: Ablation, tmp_path: Path, drawn: list[Any]) -> None:
    path = study.figure(tmp_path / "ablation.png", title="Sums")
    assert path.read_bytes().startswith(b"\x89PNG")
    (axes,) = drawn
    assert [label.get_text() for label in axes.get_yticklabels()] == list(study.conditions)
    texts = [text.get_text() for text in axes.texts]
    assert {"100.0%", "−20.0", "p = 0.031"} <= {*texts}


def test_the_program_keeps_its_settings_and_lends_them() -> None:
    program = Reader(k=3, levels=["method", "rules"])
    assert list(parts(program, LIBRARY)) == ["golden only", "warning only", "method only", "rules only"]
    ablation(program, LIBRARY, EXAMPLES[:3], right, progress=False)
    assert (program.retriever.levels, program.retriever.zones, program.retriever.k) == (["method", "rules"], None, 3)


def test_conditions_of_ones_own() -> None:
    own = {"one entry": {"k": 1}, "one warning": {"k": 1, "zones": ["warning"]}}
    study = ablation(Reader(), LIBRARY, EXAMPLES, right, conditions=own, progress=False)
    assert list(study.conditions) == ["whole library", "no retrieval", *own]
    assert study.conditions["one warning"].accuracy == pytest.approx(0.2)
    with pytest.raises(ConfigurationError, match="no settings colour"):
        ablation(Reader(), LIBRARY, EXAMPLES, right, conditions={"x": {"colour": "red"}}, progress=False)
    with pytest.raises(ConfigurationError, match="measured anyway: no retrieval"):
        ablation(Reader(), LIBRARY, EXAMPLES, right, conditions={"no retrieval": {}}, progress=False)


def test_an_actor_and_an_equipped_program(llm_server: LLMServer, lm: dspy.LM) -> None:
    def model(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> dict[str, Any]:
        answer = said(inputs["question"], inputs.get("experiences", ""))
        return {"answer": answer, "experiences_used": []} if "experiences" in inputs else {"answer": answer}

    llm_server.script = model
    actor = Actor("question -> answer", ExperienceRetriever(views=["lexical"]), strategy="direct")
    for program in (actor, dspy.Predict("question -> answer")):
        study = ablation(
            program, LIBRARY, EXAMPLES[::6], right, conditions={"w": {"zones": ["warning"]}}, progress=False
        )
        accuracies = [condition.accuracy for condition in study.conditions.values()]
        assert accuracies == [1.0, 0.0, pytest.approx(0.2)]


def test_what_cannot_be_ablated() -> None:
    with pytest.raises(ConfigurationError, match="empty library"):
        ablation(Reader(), ExperienceLibrary(), EXAMPLES, right)
    case = Precedent(example_id(EXAMPLES[0]), EXAMPLES[0].question, "oak")
    learned = ExperienceLibrary([Experience(zone="golden", method="m", precedents=(case,))])
    with pytest.raises(OverlapError):
        ablation(Reader(), learned, EXAMPLES, right, progress=False)
