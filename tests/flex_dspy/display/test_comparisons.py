"""The page of a comparison, its figure and its frame."""

from __future__ import annotations

from pathlib import Path

import pytest

from flex_dspy.display.comparison_figure import draw
from flex_dspy.display.comparisons import comparison_html
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record

HOSTILE = "<script>alert(1)</script>"
AMIDE, CHLORIDE, ACID = "CC(=O)NC", "CC(=O)Cl.CN", "CC(=O)O.CN"


def made(name: str, answers: list[str], **fields: object) -> Side:
    records = tuple(
        Record(
            f"e{n}", AMIDE, CHLORIDE, {"reactants": answer, "experiences_used": ["one"]}, float(answer == CHLORIDE),
            labels={"reactants": CHLORIDE}, shown=("one", "two"), measures={"top_3": 1.0},
        )
        for n, answer in enumerate(answers)
    )  # fmt: skip
    return Side(name, Evaluation(records), **fields)  # type: ignore[arg-type]


@pytest.fixture
def comparison() -> Comparison:
    """Three wins, one loss and a tie."""
    old = made("old", [ACID, ACID, ACID, CHLORIDE, CHLORIDE])
    new = made("new", [CHLORIDE] * 3 + [ACID, CHLORIDE], library="3f2a" * 16, size=7, entries={"one": "golden: amides"})
    return Comparison((old, new), about={"task": "retro"})


def test_the_page_shows_wins_and_losses_as_molecules(comparison: Comparison) -> None:
    page = comparison_html(comparison)
    assert "new is better than old on 3 examples" in page
    assert "new is worse than old on 1 example" in page
    assert page.count("<details") == 4
    assert page.count("<svg") == 4 * (1 + 3 * 2)  # a product, and two reactants in the reference and each answer
    assert "golden: amides" in page
    assert "40.0%" in page
    assert "80.0%" in page
    assert comparison.gain_text(comparison.differences()[0]) in page


def test_the_page_is_bounded_and_says_what_it_leaves_out(comparison: Comparison) -> None:
    page = comparison_html(comparison, examples=1)
    assert page.count("<details") == 2
    assert "and 2 more" in page
    assert comparison_html(comparison, examples=0).count("<svg") == 0


def test_no_text_becomes_markup() -> None:
    record = Record(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, 0.0, shown=(HOSTILE,), error=HOSTILE)
    sides = [
        Side(HOSTILE + str(score), Evaluation((Record(**{**fields, "score": score}),)), HOSTILE, 1, {HOSTILE: HOSTILE})
        for fields in [{name: getattr(record, name) for name in Record.__slots__}]
        for score in (0.0, 0.5, 1.0)
    ]
    comparison = Comparison(tuple(sides), about={HOSTILE: HOSTILE})
    for text in (comparison_html(comparison), comparison._repr_html_()):
        assert "<script" not in text
        assert "&lt;script" in text


def test_a_cell_is_a_fragment_of_the_page(comparison: Comparison) -> None:
    cell = comparison._repr_html_()
    assert "<html" not in cell
    assert "new beside old" in cell


def test_several_have_a_matrix(comparison: Comparison) -> None:
    third = Comparison((*comparison.sides, made("newer", [CHLORIDE] * 5)))
    page = comparison_html(third)
    assert "Each beside each" in page
    assert "Holm" in page
    assert "newer is better than old on 3 examples" in page
    assert "Each beside each" not in comparison_html(comparison)


def test_samples_are_shown_with_how_often_each_answer_came() -> None:
    def sampled(name: str, *answers: str) -> Side:
        records = [
            Record("e", AMIDE, CHLORIDE, {"reactants": a}, float(a == CHLORIDE), labels={"reactants": "x"}, sample=n)
            for n, a in enumerate(answers)
        ]
        return Side(name, Evaluation(tuple(records)))

    page = comparison_html(Comparison((sampled("old", ACID, ACID, CHLORIDE), sampled("new", *[CHLORIDE] * 3))))
    assert "0 × 2" in page
    assert "1 × 3" in page
    assert "0.333 → 1" in page


def test_a_frame_has_a_row_an_example(comparison: Comparison) -> None:
    frame = comparison.to_pandas()
    assert list(frame["new.score"] - frame["old.score"]) == [1, 1, 1, -1, 0]
    assert frame.loc["e0", "old.answer"] == ACID
    assert frame.loc["e0", "new.shown"] == ["one", "two"]


def test_the_figure_is_a_picture_and_grows_with_the_sides(comparison: Comparison, tmp_path: Path) -> None:
    def height(path: Path) -> int:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        return int.from_bytes(content[20:24])

    more = Comparison((*comparison.sides, made("newer", [CHLORIDE] * 5), made("newest", [ACID] * 5)))
    graded = Comparison(
        tuple(
            Side(n, Evaluation((Record("e", "", "", {}, s), Record("f", "", "", {}, -s))))
            for n, s in (("a", 3), ("b", 9))
        )
    )
    two, four = (height(draw(c, tmp_path / f"{len(c.sides)}.png")) for c in (comparison, more))
    assert 100 < two < four
    assert height(draw(graded, tmp_path / "graded.png")) == two
