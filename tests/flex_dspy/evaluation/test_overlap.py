"""Whether a problem was learned from, however it is written."""

import json
from pathlib import Path

import dspy
import pytest

from flex_dspy.core.examples import example_id
from flex_dspy.evaluation.overlap import FastKey, common_problems, without_overlap
from flex_dspy.evaluation.problem_text import TEXT_KEY, digits_sketch, normal_text
from flex_dspy.metrics.molecules import canonical_smiles, smiles_sketch
from flex_dspy.tasks.uspto50k import MOLECULE_KEY

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "aime"
needs_real_data = pytest.mark.skipif(not REAL.exists(), reason="the real data is not here")

PROBLEM = r"Let $a \le b$ and $f(x) = \frac{1}{2}x^{10} - 3$. Find ``it's'' $\left( m+n \right)$ ."


@pytest.mark.parametrize(
    "other",
    [
        PROBLEM.replace("Find", "find"),
        PROBLEM.replace(" ", "\n  "),
        PROBLEM.replace("$", ""),
        PROBLEM.replace("$", "$$"),
        PROBLEM.replace(r"\frac", r"\dfrac"),
        PROBLEM.replace(r"\frac{1}{2}", r"\frac12"),
        PROBLEM.replace(r"\le ", r"\leq "),
        PROBLEM.replace(r"\le ", "≤ "),
        PROBLEM.replace(r"\left(", "(").replace(r"\right)", ")"),
        PROBLEM.replace("- 3", r"\, - \; 3"),
        PROBLEM.replace("- 3", "− 3"),
        PROBLEM.replace("it's", "it’s").replace("``", "“").replace("''", "”"),
        PROBLEM.replace("x^{10}", "x^10"),
        PROBLEM.replace("$a", "$a^{}_{}"),
        PROBLEM.replace(" .", ""),
        PROBLEM.replace("$f(x)", r"\(f(x)").replace("- 3$", r"- 3\)"),
    ],
)
def test_another_way_of_writing_is_the_same_problem(other: str) -> None:
    assert common_problems([other], [PROBLEM], TEXT_KEY) == {other}


@pytest.mark.parametrize(
    "other",
    [
        PROBLEM.replace("- 3", "+ 3"),
        PROBLEM.replace("- 3", "- 4"),
        PROBLEM.replace("{10}", "{1} 0"),
        PROBLEM.replace(r"\le", "<"),
        PROBLEM.replace("m+n", "m-n"),
        PROBLEM.replace("x^{10}", "x_{10}"),
    ],
)
def test_another_problem_stays_another(other: str) -> None:
    assert common_problems([other], [PROBLEM], TEXT_KEY) == set()


def test_without_a_key_only_white_space_is_overlooked() -> None:
    assert common_problems(["a  b", "A b"], ["a b"]) == {"a  b"}


def test_molecules_are_the_same_by_their_canonical_smiles_and_case_counts() -> None:
    assert common_problems(["OCC", "[CH3:1][CH2:2][OH:3]", "C1CCCCC1O"], ["CCO"], MOLECULE_KEY) == {
        "OCC",
        "[CH3:1][CH2:2][OH:3]",
    }
    assert common_problems(["c1ccccc1"], ["C1CCCCC1"], MOLECULE_KEY) == set()
    assert common_problems(["C1=CC=CC=C1"], ["c1ccccc1"], MOLECULE_KEY) == {"C1=CC=CC=C1"}
    assert common_problems(["no smiles"], ["no  smiles"], MOLECULE_KEY) == {"no smiles"}


@pytest.mark.parametrize(
    "smiles", ["C[C@H](N)C(=O)O", "c1cc2ccccc2[nH]1", "[Na+].[Cl-]", "OC(=O)C%10CCCC%10", "C1CC1Br"]
)
def test_a_sketch_is_that_of_the_canonical_form(smiles: str) -> None:
    assert smiles_sketch(smiles) == smiles_sketch(canonical_smiles(smiles))


def test_a_key_is_asked_only_of_what_looks_alike() -> None:
    asked = []

    def key(text: str) -> str:
        asked.append(text)
        return text.casefold()

    learned = [f"Problem {i}" for i in range(1000)]
    assert common_problems(["PROBLEM 7", "Problem 8"], learned, FastKey(key, digits_sketch)) == {
        "PROBLEM 7",
        "Problem 8",
    }
    assert set(asked) == {"PROBLEM 7", "Problem 7"}


def test_a_set_is_split_by_texts_and_by_ids() -> None:
    examples = [dspy.Example(question=q).with_inputs("question") for q in ("Add 1", "add 2", "add 3")]
    clean, shared = without_overlap(examples, ["add 1.", example_id(examples[2])], key=TEXT_KEY)
    assert [example.question for example in clean] == ["add 2"]
    assert [example.question for example in shared] == ["Add 1", "add 3"]


def rows(name: str) -> list[str]:
    return [json.loads(line)["question"] for line in (REAL / name).read_text().splitlines()]


@needs_real_data
def test_no_two_real_problems_are_taken_for_one() -> None:
    problems = rows("aime_1983_2023.jsonl") + rows("aime_2024.jsonl")
    assert len({normal_text(problem) for problem in problems}) == 949


@needs_real_data
def test_reformatted_real_problems_are_found() -> None:
    history, training = rows("aime_1983_2023.jsonl"), rows("flex_train49.jsonl")
    assert len(set(training) & set(history)) == 42
    assert common_problems(training, history, TEXT_KEY) == set(training)
