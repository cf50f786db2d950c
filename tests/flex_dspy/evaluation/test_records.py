"""Records: written whole, read back the same, and refused with the line where they are damaged."""

import json
from dataclasses import asdict

import dspy
import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.record_files import as_lines, read_records, write_records, write_rescored
from flex_dspy.evaluation.records import Record, vote_of

NEW = ("inputs", "labels", "sample", "vote", "prompt_tokens", "completion_tokens", "usd")


def record(name: str = "e", sample: int = 0, score: float = 1.0, **details) -> Record:
    outputs = {"reasoning": "because é", "answer": 3}
    given = {"inputs": {"question": "q"}, "labels": {"answer": 3, "id": "7"}, "shown": ("a", "b"), "vote": "3"}
    return Record(name, f"the problem {name}", "3", outputs, score, "fine", sample=sample, **{**given, **details})


def test_what_is_written_is_read_back(tmp_path) -> None:
    records = tuple(record(name, sample, usd=0.25) for name in ("a", "b") for sample in range(2))
    write_records(tmp_path, Evaluation(records))
    assert read_records(tmp_path) == read_records(tmp_path / "records.jsonl") == records
    assert json.loads((tmp_path / "metrics.json").read_text())["samples"] == 2
    example = read_records(tmp_path)[0].example()
    assert example.toDict() == {"question": "q", "answer": 3, "id": "7"}
    assert list(example.inputs().keys()) == ["question"]


def test_a_page_holds_all_samples_of_an_example_and_twins_have_their_own(tmp_path) -> None:
    records = (record("a", 0, 1.0), record("a", 1, 0.5, prompt_tokens=1234), record("a"), record("a", 1))
    write_records(tmp_path, Evaluation(records))
    assert {page.name for page in (tmp_path / "logs").iterdir()} == {"a.md", "a-2.md"}
    page = (tmp_path / "logs" / "a.md").read_text()
    assert page.startswith("# a: score 1, 0.5")
    for part in ("the problem a", "# Sample 0: score 1", "# Sample 1: score 0.5", "because é", "1,234 + 0 tokens"):
        assert part in page


def test_what_json_has_no_form_for_is_written_as_text() -> None:
    line = json.loads(as_lines([record(labels={"odd": {1, 2}, "kind": dspy})]))
    assert line["labels"]["odd"] == [1, 2]
    assert "dspy" in line["labels"]["kind"]


def test_records_of_the_first_version_are_read(tmp_path) -> None:
    old = {name: value for name, value in asdict(record()).items() if name not in NEW}
    (tmp_path / "records.jsonl").write_text(json.dumps(old) + "\n")
    (found,) = read_records(tmp_path)
    assert (found.example_id, found.sample, found.inputs) == ("e", 0, {})
    with pytest.raises(ValueError, match="does not hold its example"):
        found.example()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        ("", "holds no record"),
        (as_lines([record()]) + '{"example_id": "x"', "line 2 is no record"),
        (as_lines([record()]).replace('"score": 1.0', '"score": "high"'), "line 1 is no record: score"),
        (as_lines([record()]).replace('"score"', '"skore"'), "line 1 is no record: (score|skore)"),
        (as_lines([record()]) + "\n", "line 2 is no record"),
        (as_lines([record(sample=1)]), "one before is missing"),
        (as_lines([record(), record("b", 1)]), "one before is missing"),
        (as_lines([record(), record(sample=1), record("b")]), "1 samples and another has 2"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_the_place(tmp_path, content, words) -> None:
    path = tmp_path / "records.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_records(path)
    assert str(path) in str(caught.value)


def test_rescored_records_never_replace_any(tmp_path) -> None:
    for expected in ("records.rescored.jsonl", "records.rescored.2.jsonl", "records.rescored.3.jsonl"):
        assert write_rescored(tmp_path, [record()]).name == expected
    assert read_records(tmp_path / "records.rescored.2.jsonl") == (record(),)


def test_votes_are_equal_for_equal_answers() -> None:
    example = dspy.Example(question="q", answer=3).with_inputs("question")

    def vote(answer, normalize=None) -> str:
        return vote_of(example, dspy.Prediction(reasoning="long", answer=answer), normalize)

    assert vote(" 3 ") == vote(3) == "3"
    assert vote(None) == ""
    assert vote("?", lambda text: None) == ""
    assert vote("X", str.lower) == "x"
