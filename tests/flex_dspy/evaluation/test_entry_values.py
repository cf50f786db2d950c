"""Estimates and their file."""

from dataclasses import replace
from pathlib import Path

import pytest

from flex_dspy.core.errors import DataError, LibraryError
from flex_dspy.evaluation.entry_values import EntryValue, Valuation, read_valuation, value_file
from flex_dspy.libraries.experience import Commit, Pin, Remove
from tests.planted import planted

LIBRARY = planted(1, 1, 1)
FIRST, SECOND, THIRD = (entry.id for entry in LIBRARY)
BAD = EntryValue(-0.3, -0.4, -0.2, 40, 100, 0.05)
ESTIMATES = {FIRST: BAD, SECOND: EntryValue(-1.0, examples=1, pairs=2), THIRD: EntryValue()}


def test_how_likely_an_effect_is_follows_its_interval() -> None:
    assert BAD.chance() < 1e-6
    assert BAD.chance(-0.3) == pytest.approx(0.5 / 0.9)
    assert BAD.chance(-1.0) == 1.0
    borderline = EntryValue(-0.1, -0.2, 0.0, 200, 500, 0.1 / 2.02)
    assert borderline.chance() == pytest.approx(0.025, rel=0.05)


def test_numbers_that_are_not_known_are_not_numbers() -> None:
    with pytest.raises(ValueError, match="finite"):
        EntryValue(0.1, float("-inf"), float("inf"), 1, 1)


def test_a_valuation_survives_its_file(tmp_path: Path) -> None:
    path = value_file(tmp_path / "library.json")
    made = Valuation.of(LIBRARY, ESTIMATES, task="t", data="val", data_digest="d", calls=40, seed=3)
    made.write(path)
    assert path.name == "library.value.json"
    assert read_valuation(path) == made
    assert made.library == LIBRARY.hash
    assert set(made.estimates) == {FIRST, SECOND}


def test_estimates_are_of_entries_as_they_were() -> None:
    valuation = Valuation.of(LIBRARY, ESTIMATES)
    assert valuation.still_true(LIBRARY) == {FIRST: BAD, SECOND: ESTIMATES[SECOND]}
    assert list(valuation.still_true(LIBRARY.apply(Commit("", 0, (Pin(FIRST),))))) == [SECOND]
    assert list(valuation.still_true(LIBRARY.apply(Commit("", 0, (Remove(SECOND),))))) == [FIRST]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "flex-dspy-value/2"}'])
def test_a_file_of_something_else_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "library.value.json"
    path.write_text(text)
    with pytest.raises(DataError, match="holds no estimates"):
        read_valuation(path)


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "library.value.json"
    Valuation.of(LIBRARY, ESTIMATES).write(path)
    path.write_text(path.read_text().replace('"pairs": 100', '"pairs": "many"'))
    with pytest.raises(DataError, match="pairs"):
        read_valuation(path)
    with pytest.raises(ValueError, match="same entries"):
        replace(Valuation.of(LIBRARY, ESTIMATES), updated={})


def test_a_missing_file_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="flex-dspy library value"):
        read_valuation(tmp_path / "none.json")
    with pytest.raises(LibraryError, match="cannot be written"):
        Valuation.of(LIBRARY, ESTIMATES).write(tmp_path / "none" / "x.json")
