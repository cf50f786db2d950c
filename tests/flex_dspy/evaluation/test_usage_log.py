"""The outcomes of retrievals: what is counted, and what survives a crash and company."""

from pathlib import Path

import dspy
import pytest

from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord, UsageTotal, usage_of_evaluation, usage_of_step, usage_totals
from flex_dspy.libraries.experience import Tally
from tests.planted import planted, problems, program, right
from tests.reliability import kills

ONE = UsageRecord("v1", "e1", ("a", "b"), 1.0, relied=("a",))
TWO = UsageRecord("v1", "e2", ("b", "c"), 0.5, relied=("c",))


@pytest.fixture
def log(tmp_path: Path) -> UsageLog:
    return UsageLog(tmp_path / "library.json")


def test_outcomes_are_read_back_as_they_were_written(log: UsageLog) -> None:
    log.add([ONE])
    log.add([TWO, ONE])
    assert log.path.name == "library.outcomes.jsonl"
    assert UsageLog(log.path.with_name("library.json")).read() == [ONE, TWO, ONE]


def test_without_a_file_there_are_none(log: UsageLog) -> None:
    log.add([])
    assert log.read() == []
    assert not log.path.exists()


def test_use_is_counted_by_entry_and_version() -> None:
    other = UsageRecord("v2", "e1", ("a",), 0.0, relied=("a",))
    found = usage_totals([ONE, TWO, other])
    assert list(found) == ["v1", "v2"]
    assert found["v1"] == {"a": UsageTotal(1, 1, 0, 1.0), "b": UsageTotal(2, 0, 0, 1.5), "c": UsageTotal(1, 0, 1, 0.5)}
    assert found["v2"] == {"a": UsageTotal(1, 0, 1, 0.0)}
    assert usage_totals([TWO], solved=0.5)["v1"]["c"] == UsageTotal(1, 1, 0, 0.5)


def test_a_resumed_run_counts_no_example_twice() -> None:
    step = UsageRecord("v1", "e1", ("a",), 1.0, source="learn r 1")
    again = UsageRecord("v1", "e1", ("a",), 1.0, source="learn r 2")
    assert usage_totals([step, step, again])["v1"]["a"].shown == 2
    assert usage_totals([ONE, ONE])["v1"]["a"].shown == 2


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_short_costs_that_line_alone(log: UsageLog, cut: int) -> None:
    log.add([ONE, TWO])
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    log.add([ONE])
    assert log.read() == ([ONE, TWO, ONE] if cut == 1 else [ONE, ONE])


def test_a_line_behind_the_piece_of_a_killed_process_is_read(log: UsageLog) -> None:
    log.add([ONE, TWO])
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[0][:30] + lines[1])
    assert log.read() == [TWO]


def test_damage_is_an_error_that_names_the_line(log: UsageLog) -> None:
    log.add([ONE, TWO])
    log.path.write_text(log.path.read_text().replace('"e2"', "17"))
    with pytest.raises(LibraryFormatError, match="line 2: is no outcome"):
        log.read()


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="cannot be written"):
        UsageLog(tmp_path / "missing" / "library.json").add([ONE])


def _append(path: Path, name: str) -> None:
    log = UsageLog(path)
    for n in range(100):
        log.add([UsageRecord("v", f"{name}{n}", ("entry",) * 50, 1.0)])


def test_processes_do_not_mix_their_lines(log: UsageLog) -> None:
    context = kills.processes()
    path = log.path.with_name("library.json")
    processes = [context.Process(target=_append, args=(path, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = [outcome.example for outcome in log.read()]
    assert sorted(found) == sorted(f"{name}{n}" for name in "abc" for n in range(100))
    for name in "abc":
        assert [e for e in found if e[0] == name] == [f"{name}{n}" for n in range(100)]


def test_an_evaluation_gives_its_outcomes() -> None:
    library = planted(2, 2, 6)
    examples = problems(4, library, shown=3)
    evaluation = evaluate(program(library), examples, right, progress=False)
    found = list(usage_of_evaluation(library.hash, evaluation.records, "eval"))
    assert [outcome.example for outcome in found] == [record.example_id for record in evaluation.records]
    assert all(len(outcome.shown) == 3 and outcome.version == library.hash for outcome in found)
    assert [outcome.score for outcome in found] == [record.score for record in evaluation.records]


def test_a_training_example_gives_its_outcome() -> None:
    tally = Tally(("a", "b", "c"), helped=("a",), hurt=("b", "a"))
    made = usage_of_step("v", "e", tally, True, "learn r 1")
    assert made == UsageRecord("v", "e", ("a", "b", "c"), 1.0, ("a", "b"), "learn r 1")
    assert usage_of_step("v", "e", tally, None).score == 0.0


def test_only_shown_entries_count_as_relied_on_and_failures_not_at_all() -> None:
    class Claims(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = program(planted(1, 1, 0))

        def forward(self, question: str) -> dspy.Prediction:
            if question.startswith("0/1"):
                raise ValueError("no idea")
            shown = [hit.experience.id for hit in self.inner.retriever(question).hits]
            return dspy.Prediction(answer="0", experiences_used=[shown[0], "made up"])

    evaluation = evaluate(Claims(), problems(2, planted(1, 1, 0), shown=2), right, progress=False)
    (outcome,) = usage_of_evaluation("v", evaluation.records)
    assert outcome.relied == outcome.shown[:1]
    assert outcome.score == 1.0
