import json
import math
import re
from collections import Counter

import pytest

from flex_dspy.data import aime
from flex_dspy.data import problem_answers as answers
from flex_dspy.data.aime import SHIPPED
from flex_dspy.data.generate_problems import SIZES, as_jsonl, generate, main
from flex_dspy.data.problem_families import FAMILIES

WORDINGS = [(family, wording) for family in FAMILIES for wording in family.wordings]


@pytest.fixture(scope="module")
def rows():
    texts = {split: path.read_text(encoding="utf-8") for split, path in SHIPPED.items()}
    return {split: [json.loads(line) for line in text.splitlines()] for split, text in texts.items()}


def test_the_generator_makes_the_shipped_files(monkeypatch, capsys):
    splits = generate()
    for split, path in SHIPPED.items():
        assert as_jsonl(split, splits[split]).encode() == path.read_bytes()
    monkeypatch.setattr("flex_dspy.data.generate_problems.generate", lambda: splits)
    assert main(["--check"]) == 0
    splits["val"].pop()
    assert main(["--check"]) == 1
    assert "problems_val.jsonl is not what" in capsys.readouterr().err


def test_another_seed_makes_other_problems():
    assert generate(1)["val"] != generate()["val"]


def test_the_loader_reads_every_shipped_row():
    loaded = {split: aime.load(path) for split, path in SHIPPED.items()}
    assert {split: len(data.examples) for split, data in loaded.items()} == SIZES
    assert all(not data.bad_rows for data in loaded.values())
    assert all(0 < example.answer <= 999 for data in loaded.values() for example in data.examples)


def test_no_problem_is_there_twice(rows):
    together = [row for split in rows.values() for row in split]
    assert len({row["id"] for row in together}) == len(together)
    # Not even with other names or in other words.
    numbers = [(row["family"], tuple(sorted(re.findall(r"\d+", row["question"])))) for row in together]
    texts = {row["question"] for row in together}
    assert len(texts) == len(together)
    assert max(Counter(numbers).values()) <= 2  # (a, b) and (b, a) are two problems
    by_split = [{row["question"] for row in split} for split in rows.values()]
    assert not by_split[0] & by_split[1]
    assert not by_split[0] & by_split[2]
    assert not by_split[1] & by_split[2]


def test_every_family_is_in_every_split_and_every_wording_in_training(rows):
    for split, minimum in (("train", 3), ("val", 1), ("test", 1)):
        counts = Counter(row["family"] for row in rows[split])
        assert all(counts[family.name] >= minimum for family in FAMILIES if len(family.wordings) > 1)
    for _, wording in WORDINGS:
        pieces = [re.escape(piece) for piece in re.split(r"\{+\w+\}+", wording)]
        pattern = re.compile(r"\S+?".join(pieces).replace(r"\}\}", r"\}"))
        assert sum(bool(pattern.search(row["question"])) for row in rows["train"]) >= 2, wording
    assert len({row["family"] for row in rows["train"][:25]}) > 12


def test_families_are_named_apart():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 12
    assert len({wording for _, wording in WORDINGS}) == len(WORDINGS)
    assert all(len(family.wordings) <= 3 for family in FAMILIES)


@pytest.mark.parametrize(
    ("counted", "by_formula"),
    [
        (answers.either(6, 10, 1000), 1000 // 6 + 1000 // 10 - 1000 // 30),
        (answers.neither(6, 10, 1000), 1000 - (1000 // 6 + 1000 // 10 - 1000 // 30)),
        (answers.one_only(6, 10, 1000), 1000 // 6 - 1000 // 30),
        (answers.power_rest(7, 2024, 1000), pow(7, 2024, 1000)),
        (answers.paths(7, 5), math.comb(12, 5)),
        (answers.choices(12, 5), math.comb(12, 5)),
        (answers.divisors(720), 30),
        (answers.least_with_rests(2, 5, 3, 7), 17),
        (answers.least_with_rests(2, 5, 2, 7), None),
        (answers.greatest_with_rest(100, 8, 3), 99),
        (answers.times_in_factorial(5, 100), 24),
        (answers.shares(4, 10, 0), math.comb(13, 3)),
        (answers.shares(4, 10, 1), math.comb(9, 3)),
        (answers.diagonals(12), 54),
        (answers.term(1, 2, 1, 10, 1000), 23),
        (answers.least_squares(12, 18), 6),
        (answers.together(12, 18), 36),
        (answers.coprime(30, 300), 80),
        (answers.prime_sum(30), 129),
        (answers.four_legged(10, 28), 4),
        (answers.four_legged(10, 29), None),
        (answers.lcm_of_product(216, 6), 36),
        (answers.between(14, 70, 7), 9),
        (answers.committees(6, 5, 3, 2), 200),
        (answers.squares_or_cubes(100), 12),
        (answers.digit_sum(2048), 14),
    ],
)
def test_what_is_counted_out_is_what_the_formula_gives(counted, by_formula):
    assert counted == by_formula
