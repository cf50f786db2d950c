"""A strong and a weak scripted model: what the strong one learns lifts the weak one, and not the other way round.

The operation is the product plus one. The strong model knows it for every second problem; told of a mistake, it finds
the rule, and its critic writes it down. The weak model never finds it, but can follow it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError, OverlapError
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.studies import Inheritance, inheritance
from tests.llm_server import LLMServer, Script

RULE = "a # b is the product plus one"


def questions(start: int, count: int) -> list[dspy.Example]:
    pairs = [(n, n + 3) for n in range(start, start + count)]
    return [dspy.Example(question=f"What is {a} # {b}?", answer=a * b + 1).with_inputs("question") for a, b in pairs]


TRAIN, VAL = questions(2, 6), questions(20, 16)


def right(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    return bool(example.answer == prediction.answer)


def model(*, strong: bool) -> Script:
    def says(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> dict[str, Any]:
        if role == "verifier":
            return {"accepted": False, "feedback": "That is not what # does."}
        if role == "critic":
            method = RULE if strong else "a # b is hard, be careful"
            return {"lesson": {"category": "hash", "method": method, "rules": []}}
        if role == "updater":
            return {"decision": {"action": "insert"}}
        first, second = map(int, re.findall(r"\d+", inputs["question"]))
        knows = strong and (first % 2 == 0 or inputs["earlier_attempts"] != "none")
        follows = RULE in inputs["experiences"]
        answer = first * second + 1 if knows or follows else first + second
        return {"answer": answer, "experiences_used": []}

    return says


def actor() -> Actor:
    return Actor("question -> answer: int", ExperienceRetriever(views=["lexical"]), strategy="direct")


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, dspy.LM]]:
    with LLMServer(model(strong=False)) as weak, LLMServer(model(strong=True)) as strong:
        yield {
            name: dspy.LM(f"openai/{name}", api_base=server.url, api_key="test-key", cache=False, num_retries=0)
            for name, server in (("weak", weak), ("strong", strong))
        }


@pytest.fixture(scope="module")
def libraries(models: dict[str, dspy.LM]) -> dict[str, ExperienceLibrary]:
    learned = {}
    for name, lm in models.items():
        with dspy.context(lm=lm):
            optimizer = ForwardLearning(right, max_rounds=2, max_rollouts=1, progress=False)
            learned[f"of the {name}"] = optimizer.compile(actor(), trainset=TRAIN).retriever.library
    return learned


@pytest.fixture(scope="module")
def study(models: dict[str, dspy.LM], libraries: dict[str, ExperienceLibrary]) -> Inheritance:
    return inheritance(libraries, models, VAL, right, program=actor(), progress=False)


def test_the_library_of_the_strong_lifts_the_weak(study: Inheritance) -> None:
    accuracies = {name: [cell.accuracy for cell in row.values()] for name, row in study.cells.items()}
    assert list(study.cells["weak"]) == ["no library", "of the weak", "of the strong"]
    assert accuracies == {"weak": [0.0, 0.0, 1.0], "strong": [0.5, 0.5, 1.0]}


def test_gains_are_paired_and_corrected_for_the_matrix(study: Inheritance) -> None:
    lifted, idle = (study.cells["weak"][f"of the {name}"].compared for name in ("strong", "weak"))
    assert lifted is not None
    assert idle is not None
    assert (lifted.wins, lifted.losses, lifted.gain) == (16, 0, 1.0)
    assert lifted.p_value == pytest.approx(2 * 0.5**16)
    assert lifted.adjusted == pytest.approx(4 * lifted.p_value)  # the smallest of four
    assert (idle.gain, idle.p_value, idle.adjusted) == (0.0, 1.0, 1.0)
    assert study.cells["weak"]["no library"].compared is None


def test_a_table_a_page_and_json(study: Inheritance) -> None:
    frame = study.to_pandas()
    assert len(frame) == 6
    lifted = frame[(frame.actor == "strong") & (frame.library == "of the strong")].iloc[0]
    assert (lifted["accuracy"], lifted["gain"], lifted["wins"], lifted["n"]) == (1.0, 0.5, 8, 16)
    page = study._repr_html_()
    assert "of the strong (" in page
    assert "+100.0 (" in page
    assert Inheritance.from_json(study.to_json()) == study
    with pytest.raises(ValueError, match="no inheritance study"):
        Inheritance.from_json("[]")


def test_the_heat_map_says_what_the_cells_hold(study: Inheritance, tmp_path: Path, drawn: list[Any]) -> None:
    path = study.figure(tmp_path / "matrix.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    texts = [text.get_text() for text in drawn[0].texts]
    assert texts.count("100.0%") == 2
    assert "+100.0, p < 0.001" in texts
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == ["weak", "strong"]


def test_programs_are_actors_too(models: dict[str, dspy.LM], libraries: dict[str, ExperienceLibrary]) -> None:
    own = actor()
    own.set_lm(models["weak"])
    study = inheritance({"it": libraries["of the strong"]}, {"own": own}, VAL[:4], right, progress=False)
    assert [cell.accuracy for cell in study.cells["own"].values()] == [0.0, 1.0]


def test_what_cannot_be_compared(models: dict[str, dspy.LM], libraries: dict[str, ExperienceLibrary]) -> None:
    with pytest.raises(ConfigurationError, match="at least one library"):
        inheritance({}, models, VAL, right, program=actor())
    with pytest.raises(ConfigurationError, match="'no library'"):
        inheritance({"no library": libraries["of the weak"]}, models, VAL, right, program=actor())
    with pytest.raises(ConfigurationError, match="'weak' is a language model"):
        inheritance(libraries, models, VAL, right)
    with pytest.raises(OverlapError):
        inheritance(libraries, models, TRAIN, right, program=actor())
