"""The frames: a row each, with what one looks for in them."""

import pytest

from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.version import Versions
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Commit, Tally
from flex_dspy.libraries.library import ExperienceLibrary


def test_a_row_an_entry(library, amide):
    frame = library.to_pandas()
    assert list(frame.index) == [entry.id for entry in library]
    row = frame.loc[amide.id]
    assert (row.zone, row.helped, row.pinned, row.rules) == ("mixed", 9, True, [amide.rules[0].text])
    assert set(frame[frame.helped > frame.hurt].category) == {"amide formation", "probability"}
    assert list(frame.explode("precedents").precedents.dropna()) == ["one", "two"]


def test_a_row_a_record_joins_the_entries():
    records = [
        Record("one", "p", "r", {"answer": "x"}, 1.0, measures={"top_5": 1.0}, shown=("a", "b")),
        Record("two", "p", "r", {}, 0.0, error="broken"),
    ]
    frame = Evaluation(tuple(records)).to_pandas()
    assert list(frame.example_id) == ["one", "two"]
    assert frame["outputs.answer"][0] == "x"
    assert frame["measures.top_5"].sum() == 1.0
    assert frame.score.mean() == 0.5
    assert list(frame.explode("shown").shown.dropna()) == ["a", "b"]


def test_a_row_a_difference(library, amide):
    gone = next(entry for entry in library if entry.zone == "warning")
    counted = next(entry for entry in library if entry.zone == "golden")
    newer = library.veto(gone.id).revise(amide.id, category="amides", rules=())
    newer = newer.apply(Commit("run", 1, (), Tally((counted.id,), (counted.id,))))
    frame = newer.diff(library).to_pandas()
    assert dict(frame.change) == {gone.id: "removed", amide.id: "revised", counted.id: "record"}
    assert frame.loc[amide.id, "fields"] == ["category"]
    assert frame.loc[amide.id, "rules_removed"] == 1
    assert (frame.loc[counted.id, "shown"], frame.loc[counted.id, "helped"], frame.loc[gone.id, "shown"]) == (1, 1, 0)
    assert sorted(library.diff(newer).to_pandas().change) == ["added", "record", "revised"]


def test_a_row_a_version(library):
    log = VersionLog(None, "run")
    log.add(0, ExperienceLibrary(), {})
    log.add(50, library, {"accuracy": 0.5})
    frame = log.records.to_pandas()
    assert list(frame.step) == [0, 50]
    assert list(frame.entries) == [0, 3]
    assert list(frame.mixed) == [0, 1]
    assert frame.accuracy.isna().tolist() == [True, False]


@pytest.mark.parametrize("frame", [ExperienceLibrary().to_pandas, Versions().to_pandas])
def test_nothing_is_a_frame_of_no_rows(frame):
    assert len(frame()) == 0
    assert "precedents" in frame().columns


def test_no_difference_is_a_frame_of_no_rows(library):
    assert len(library.diff(library).to_pandas()) == 0
