"""Rescoring: another metric on saved records, no model asked."""

import json

import dspy
import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.evaluation.record_files import read_records, write_records
from flex_dspy.evaluation.rescoring import rescore
from tests.flex_dspy.evaluation.test_records import NEW

EXAMPLES = [dspy.Example(question=f"q{i}", answer=str(i)).with_inputs("question") for i in range(6)]


class Echo(dspy.Module):
    """Answers 0 to 2 as they are, 3 and 4 with a point, and fails at 5."""

    async def aforward(self, question: str) -> dspy.Prediction:
        if question == "q5":
            raise ValueError("no idea")
        return dspy.Prediction(answer=question[1:] + ("." if question >= "q3" else ""))


def exact(example, prediction) -> bool:
    return example.answer == prediction.answer


def lenient(example, prediction) -> dspy.Prediction:
    right = example.answer == prediction.answer.rstrip(".")
    return dspy.Prediction(score=float(right and example.answer != "0"), feedback="looked again")


@pytest.fixture
def folder(tmp_path):
    write_records(tmp_path, evaluate(Echo(), EXAMPLES, exact, progress=False))
    return tmp_path


def test_it_says_how_many_verdicts_changed_and_which_way(folder) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("*.json*")}
    found = rescore(folder, lenient, {"length": lambda example, prediction: len(prediction.answer)})
    assert (found.gained, found.lost, found.changed) == (2, 1, 3)
    assert (found.before.accuracy, found.after.accuracy) == (0.5, pytest.approx(4 / 6))
    assert [record.score for record in found.after.records] == [0, 1, 1, 1, 1, 0]
    assert found.after.records[5].error == "ValueError: no idea"
    assert found.after.records[1].feedback == "looked again"
    assert found.after.metrics()["length"] == pytest.approx((3 * 1 + 2 * 2) / 6)
    assert {path.name: path.read_bytes() for path in folder.glob("*.json*")} == before
    assert read_records(found.write()) == found.after.records
    assert (folder / "records.jsonl").read_bytes() == before["records.jsonl"]


def test_the_same_metric_changes_nothing(folder) -> None:
    found = rescore(folder, exact)
    assert found.changed == 0
    assert found.after == found.before


def test_votes_are_counted_anew_with_another_normal_form(folder) -> None:
    found = rescore(folder, lenient, normalize=lambda text: text.rstrip("."))
    assert [record.vote for record in found.after.records] == ["0", "1", "2", "3", "4", ""]


def test_records_of_the_first_version_need_their_examples(folder) -> None:
    path = folder / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k not in NEW}) + "\n" for line in lines))
    with pytest.raises(DataError, match=r"records.jsonl: line 1: .*give the examples"):
        rescore(folder, lenient)
    assert (found := rescore(folder, lenient, examples=EXAMPLES)).gained == 2
    assert found.after.records[0].labels == {"answer": "0"}
    with pytest.raises(DataError, match="line 2"):
        rescore(path, lenient, examples=EXAMPLES[:1])


def test_a_metric_of_another_task_is_an_error_that_names_the_line(folder) -> None:
    with pytest.raises(DataError, match=r"line 1: the metric cannot judge this record"):
        rescore(folder, lambda example, prediction: example.reactants == prediction.reactants)
