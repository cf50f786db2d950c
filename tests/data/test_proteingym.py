"""Assays from files, folders, archives and the hub; how they are split, and what their text says."""

import csv
import gzip
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.core.examples import example_id, problem_of, reference_of
from flex_dspy.core.tokens import tokens
from flex_dspy.data import generate_assays, proteingym
from flex_dspy.data.assay_archive import read_assays
from flex_dspy.data.proteingym import HUB, load, shares_of
from flex_dspy.data.reference_formula import reference_weights, weighted_sum
from flex_dspy.data.score_columns import family
from flex_dspy.metrics.formula import parse
from flex_dspy.metrics.formula_values import evaluate

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "proteingym"
real = pytest.mark.skipif(not REAL.exists(), reason="needs the real assays")
ROWS = 150


def made(seed: int = 0, sign: float = 1.0) -> list[dict[str, object]]:
    """Rows of an assay: a good and a bad predictor of known models, and one of an unknown."""
    rng = np.random.default_rng(seed)
    fitness = rng.normal(size=ROWS)
    good, bad, own = (fitness + noise * rng.normal(size=ROWS) for noise in (0.3, 1.0, 2.0))
    return [
        {
            "mutant": f"A{n}C",
            "mutated_sequence": f"SEQ{n}",
            "DMS_score": f"{fitness[n]:.6f}",
            "DMS_score_bin": int(fitness[n] > 0),
            "GEMME": f"{good[n]:.6f}",
            "EVE_ensemble": f"{sign * bad[n]:.6f}",
            "House_model": f"{own[n]:.6f}",
        }
        for n in range(ROWS)
    ]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


# -- shipped ---------------------------------------------------------------------------------------------------


def test_the_generator_makes_the_shipped_files(monkeypatch, capsys):
    rows = {split: generate_assays.generate(split) for split in ("train", "test")}
    monkeypatch.setattr(generate_assays, "generate", lambda split: rows[split])
    assert generate_assays.main(["--check"]) == 0
    rows["test"].pop()
    assert generate_assays.main(["--check"]) == 1
    assert "assays_test.csv is not what the generator makes" in capsys.readouterr().err


def test_the_shipped_splits_are_practice_its_assays_and_others():
    train, val, test = (load(split) for split in ("train", "val", "test"))
    assert (len(train.examples), len(val.examples), len(test.examples)) == (100, 5, 3)
    names = [{example.mutants["assay"] for example in loaded.examples} for loaded in (train, val, test)]
    assert names[0] == names[1]
    assert not names[0] & names[2]
    assert sorted(train.gaps) == ["GEN2_abundance", "GEN4_growth"]
    assert 0.02 < train.gaps["GEN4_growth"]["Coevolution_L"] < 0.12
    assert not train.bad_rows
    problems = [problem_of(example) for loaded in (train, val, test) for example in loaded.examples]
    assert len(set(problems)) == 108
    assert len({example_id(example) for loaded in (train, val) for example in loaded.examples}) == 105


def test_in_the_shipped_assays_some_columns_fall_with_fitness_and_some_are_redundant():
    assay = read_assays(Path(proteingym.__file__).parent / "assays_train.csv")["GEN1_binding"]
    there = dict(zip(assay.table.columns, assay.correlations(np.arange(len(assay.fitness))), strict=True))
    assert there["Energy_soft"] < -0.1 < 0.3 < there["Coevolution_M"]
    place = assay.table.place
    assert assay.likeness[place["Language_1"], place["Language_2"]] > 0.9


# -- one file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["X.csv", "X.csv.gz"])
def test_a_merged_file_is_one_assay(tmp_path, name):
    loaded = load(write(tmp_path / name, made()))
    (example,) = loaded.examples
    assert list(example.inputs()) == ["assay"]
    assert example.assay.startswith("Assay: X\nMutants: 150, 100 of them labelled, 100 of those used here (split 0,")
    assert "- GEMME | GEMME | alignment | greater is fitter | +0.9" in example.assay
    assert "- House_model | House_model | not known | not known | +0." in example.assay
    assert "DMS_score_bin" not in example.assay
    assert reference_of(example, ["formula"]) == example.formula
    assert "GEMME" in parse(example.formula).columns
    assert (loaded.gaps, loaded.notes, loaded.bad_rows) == ({}, {}, [])


def test_the_same_source_gives_the_same_examples_and_another_split_others(tmp_path):
    file = write(tmp_path / "X.csv", made())
    assert load(file).digest == load(file).digest
    assert load(file, split=1).digest == load(f"{file}@split=1").digest != load(file).digest
    first, second = shares_of(load(file).examples[0]), shares_of(load(file, split=1).examples[0])
    assert set(first.held_out) != set(second.held_out)


def test_practice_uses_parts_of_the_labelled_share_of_the_same_split(tmp_path):
    file = write(tmp_path / "X.csv", made())
    whole = shares_of(load(file, split=3).examples[0])
    practice = [shares_of(example) for example in load(f"{file}@practice=6,split=3").examples]
    assert len(practice) == 6
    for shares in practice:
        assert set(shares.shown) < set(whole.labelled)
        assert len(shares.shown) == 67
        assert not set(shares.labelled) & set(whole.held_out)
    assert len({tuple(shares.shown) for shares in practice}) == 6


@pytest.mark.parametrize(("labelled", "count"), [("50", 50), ("40%", 60), ("0.2", 30)])
def test_the_labelled_share_is_a_number_or_a_share(tmp_path, labelled, count):
    (example,) = load(f"{write(tmp_path / 'X.csv', made())}@labelled={labelled}").examples
    assert len(shares_of(example).labelled) == count
    assert len(shares_of(example).held_out) == ROWS - count


def test_a_limit_and_a_seed_choose_examples_and_do_not_change_them(tmp_path):
    source = f"{write(tmp_path / 'X.csv', made())}@practice=9"
    whole = {example.id for example in load(source).examples}
    some = load(source, limit=4, seed=5).examples
    assert [example.id for example in some] == [example.id for example in load(source, limit=4, seed=5).examples]
    assert {example.id for example in some} < whole
    assert [example.id for example in load(source, limit=2).examples] != [example.id for example in some[:2]]


def test_gaps_are_filled_by_the_median_and_reported(tmp_path):
    rows = made()
    for row in rows[::5]:
        row["GEMME"] = ""
    rows[1]["EVE_ensemble"] = "inf"
    for row in rows[:100]:
        row["House_model"] = "nan"
    loaded = load(write(tmp_path / "X.csv", rows))
    assert loaded.gaps == {"X": {"GEMME": 0.2, "EVE_ensemble": pytest.approx(1 / 150)}}
    assert loaded.notes == {"X": ("House_model left out: 67% of its scores are missing",)}
    assert "| 20% |" in loaded.examples[0].assay
    values = read_assays(tmp_path / "X.csv")["X"].table.values[:, 0]
    assert np.isfinite(values).all()
    given = [float(row["GEMME"]) for row in rows if row["GEMME"]]
    assert values[0] == values[5] == pytest.approx(np.median(given))


def test_rows_without_a_measurement_and_repeated_mutants_are_listed(tmp_path):
    rows = made()
    rows[3]["DMS_score"] = ""
    rows[4]["mutant"] = "A0C"
    rows[5]["mutant"] = ""
    loaded = load(write(tmp_path / "X.csv", rows))
    assert [(bad.row, bad.reason) for bad in loaded.bad_rows] == [
        (5, "no DMS_score"), (6, "repeats the mutant A0C"), (7, "no mutant"),
    ]  # fmt: skip
    assert "Mutants: 147," in loaded.examples[0].assay


def test_raw_scores_of_a_model_that_falls_with_fitness_are_turned_and_merged_ones_stay(tmp_path):
    raw, merged = (load(write(tmp_path / f"{s}.csv", made(sign=s))) for s in (-1.0, 1.0))
    assert raw.notes == {"-1.0": ("EVE_ensemble turned: less is fitter in it",)}
    assert merged.notes == {}
    values = [read_assays(tmp_path / f"{s}.csv")[f"{s}"].table.values for s in (-1.0, 1.0)]
    assert np.array_equal(*values)


def test_columns_that_are_no_scores_or_could_not_stand_in_a_prompt_are_left_out(tmp_path):
    rows = made()
    for row in rows:
        row |= {"DMS_binarization": 1, "target_seq": "MKV", 'a"] ## b': row["GEMME"], "Flat": 2, "Unnamed: 0": 4}
    loaded = load(write(tmp_path / "X.csv", rows))
    (assay,) = read_assays(tmp_path / "X.csv").values()
    assert assay.table.columns == ("GEMME", "EVE_ensemble", "House_model")
    assert any("odd characters" in note for note in loaded.notes["X"])
    assert "Flat left out: it is constant" in loaded.notes["X"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere.csv", "no such file or folder"),
        ("X.csv@parts=3", "no option 'parts'; there are practice, labelled, split and scores"),
        ("X.csv@split=two", "split is a number, not 'two'"),
        ("X.csv@labelled=140", "140 of 150 mutants cannot be the labelled ones"),
        ("X.csv@labelled=5%", "8 of 150 mutants cannot be the labelled ones; at least 10 are needed, and 20 others"),
        ("short.csv", "30 usable mutants, at least 40 are needed"),
        ("bare.csv", "no column of scores; ProteinGym's come as CSV files in its archive"),
        (f"{HUB}:DMS_substitutions@train", "no option 'train'"),
        (HUB, f"holds the measured scores alone.*{HUB}@scores=FOLDER"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_says_why(tmp_path, monkeypatch, source, told):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "X.csv", made())
    write(tmp_path / "short.csv", made()[:30])
    write(tmp_path / "bare.csv", [{"mutant": row["mutant"], "DMS_score": row["DMS_score"]} for row in made()])
    with pytest.raises(DataError, match=told):
        load(source)


def test_a_file_that_changed_is_read_anew(tmp_path):
    file = write(tmp_path / "X.csv", made())
    before = load(file).digest
    write(file, made(seed=1)[:-1])
    assert load(file).digest != before


# -- folders ---------------------------------------------------------------------------------------------------


def _measured(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: row[name] for name in ("mutant", "mutated_sequence", "DMS_score", "DMS_score_bin")} for row in rows]


def _archive(folder: Path) -> dict[str, list[dict[str, object]]]:
    """The layout of the archive: raw scores in a folder a model, and a reference file."""
    assays = {"ONE_2020": made(1), "TWO_2021": made(2)}
    reference = [
        {
            "column": "GEMME",
            "input_score_name": "GEMME_score",
            "location": "GEMME",
            "directionality": 1,
            "key": "mutant",
        },
        {
            "column": "EVE_ensemble",
            "input_score_name": "evol",
            "location": "EVE/x",
            "directionality": -1,
            "key": "mutant",
        },
        {
            "column": "ProtGPT2",
            "input_score_name": "s",
            "location": "P",
            "directionality": 1,
            "key": "mutated_sequence",
        },
        {"column": "RITA_s", "input_score_name": "s", "location": "RITA/small", "directionality": 1, "key": "mutant"},
    ]
    write(folder / "ref_zero_shot_model_columns.csv", reference)
    scores = folder / "zero_shot_substitutions_scores"
    for name, rows in assays.items():
        write(folder / "DMS_ProteinGym_substitutions" / f"{name}.csv", _measured(rows))
        write(scores / "GEMME" / f"{name}.csv", [{"mutant": r["mutant"], "GEMME_score": r["GEMME"]} for r in rows[5:]])
        raw = [{"mutant": r["mutant"], "evol": -float(str(r["EVE_ensemble"]))} for r in rows[::-1]]
        write(scores / "EVE" / "x" / f"{name}.csv", raw)
        found = [{"mutated_sequence": r["mutated_sequence"], "s": r["House_model"]} for r in rows]
        write(scores / "P" / f"{name}.csv", found)
    return assays


def test_the_archive_gives_every_assay_the_columns_of_its_models_turned(tmp_path):
    rows = _archive(tmp_path)["TWO_2021"]
    loaded = load(tmp_path)
    assert [example.mutants["assay"] for example in loaded.examples] == ["ONE_2020", "TWO_2021"]
    assert loaded.gaps["TWO_2021"] == {"GEMME": pytest.approx(5 / 150)}
    table = read_assays(tmp_path)["TWO_2021"].table
    assert table.columns == ("GEMME", "EVE_ensemble", "ProtGPT2")
    for column, given in (("EVE_ensemble", "EVE_ensemble"), ("ProtGPT2", "House_model")):
        expected = [float(str(row[given])) for row in rows]
        assert table.values[:, table.place[column]] == pytest.approx(expected)
    assert shares_of(loaded.examples[1]).assay.name == "TWO_2021"


def test_a_folder_of_merged_files_is_an_assay_a_file(tmp_path):
    write(tmp_path / "B_2.csv.gz", made(2))
    write(tmp_path / "A_1.csv", made(1))
    write(tmp_path / "notes.csv", [{"about": "nothing"}])
    write(tmp_path / "C_3.csv", made(3)[:10])
    loaded = load(f"{tmp_path}@practice=2")
    assert [example.mutants["assay"] for example in loaded.examples] == ["A_1", "B_2", "A_1", "B_2"]


def test_the_measurements_of_the_hub_meet_the_predictions_of_a_folder(tmp_path, monkeypatch):
    assays = _archive(tmp_path)
    rows = [{"DMS_id": name, "target_seq": "M", **row} for name, group in assays.items() for row in _measured(group)]
    rows += [{**row, "DMS_id": "THREE_2022"} for row in rows[:ROWS]]
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    loaded = load(f"{HUB}@scores={tmp_path},split=2")
    assert asked == [((HUB, "DMS_substitutions"), {"split": "train"})]
    assert [example.mutants["assay"] for example in loaded.examples] == ["ONE_2020", "TWO_2021"]
    assert loaded.examples[0].assay == load(tmp_path, split=2).examples[0].assay
    assert len(shares_of(loaded.examples[0]).labelled) == 100
    assert len(asked) == 1


def test_an_assay_that_is_too_small_for_the_labelled_share_is_listed_and_left_out(tmp_path):
    write(tmp_path / "A_1.csv", made(1)[:60])
    write(tmp_path / "B_2.csv", made(2))
    loaded = load(tmp_path)
    assert [example.mutants["assay"] for example in loaded.examples] == ["B_2"]
    assert [bad.reason[:48] for bad in loaded.bad_rows] == ["A_1: 100 of 60 mutants cannot be the labelled on"]


def test_a_folder_without_an_assay_is_an_error(tmp_path):
    write(tmp_path / "notes.csv", [{"about": "nothing"}])
    with pytest.raises(DataError, match="no usable assay in 0 files"):
        load(tmp_path)


# -- names, and the reference formula --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("ESM1v_ensemble", ("ESM1v", "sequence", 1)),
        ("esm1v_t33_650M_UR90S_3", ("ESM1v", "sequence", 1)),
        ("DeepSequence_vae_2", ("DeepSequence", "alignment", -1)),
        ("Tranception_L_no_retrieval", ("Tranception_no_retrieval", "sequence", 1)),
        ("Tranception_M_retrieval", ("Tranception", "alignment", 1)),
        ("TranceptEVE_L", ("TranceptEVE", "alignment", 1)),
        ("EVE_single", ("EVE", "alignment", -1)),
        ("ESM-IF1", ("ESM-IF1", "structure", 1)),
        ("Lab_model_v2_large_3", ("Lab_model_v2", "", 0)),
    ],
)
def test_a_column_says_its_family_by_its_name(column, expected):
    found = family(column)
    assert (found.name, found.reads, found.direction) == expected


@real
def test_directions_are_those_of_the_reference_file():
    with (REAL / "ref_zero_shot_model_columns_v1.3.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [family(row["column"]).direction for row in rows] == [int(row["directionality"]) for row in rows]
    assert len(rows) == 97


def test_the_reference_formula_takes_what_helps_and_takes_away_what_misleads():
    # Two columns of signal and bias, one of bias alone, one of nothing.
    likeness = np.array([[1, 0.5, 0.7, 0], [0.5, 1, 0.7, 0], [0.7, 0.7, 1, 0], [0, 0, 0, 1.0]])
    weights = reference_weights(np.array([0.5, 0.5, 0.0, 0.02]), likeness)
    assert weights[0] > 0 < weights[1]
    assert weights[2] < 0
    assert weights[3] == 0
    assert np.abs(weights).max() <= 3
    assert reference_weights(np.zeros(4), likeness).tolist() == [0, 0, 0, 0]


def test_the_reference_formula_has_few_columns_and_its_greatest_weight_is_one():
    weights = reference_weights(np.linspace(0.5, -0.6, 60), np.eye(60))
    assert np.count_nonzero(weights) == 24
    assert weights[-1] == -1 == -np.abs(weights).max()
    assert weights[30] == 0 < weights[0] < 1


def test_the_reference_formula_is_a_ridge_regression_on_the_mutants_shown(tmp_path):
    (example,) = load(f"{write(tmp_path / 'X.csv', made())}@practice=1").examples
    shares = shares_of(example)
    values = shares.assay.table.values
    columns = ((values - values.mean(axis=0)) / values.std(axis=0))[shares.shown]
    fitness = shares.assay.fitness[shares.shown]
    penalty = 0.1 * len(fitness) * np.eye(columns.shape[1])
    columns, fitness = columns - columns.mean(axis=0), (fitness - fitness.mean()) / fitness.std()
    ridge = np.linalg.solve(columns.T @ columns + penalty, columns.T @ fitness)
    fitted = evaluate(parse(example.formula), shares.assay.table)[shares.shown]
    assert np.corrcoef(columns @ ridge, fitted)[0, 1] > 0.999


def test_weights_are_written_as_a_formula():
    text = weighted_sum(["A", "B-1", "C", "D"], [0.5, -2, 0, 1], "rank")
    assert text == '-2*rank("B-1") + rank(D) + 0.5*rank(A)'
    assert weighted_sum(["A"], [0.0], "rank") == ""


def test_the_text_of_an_assay_with_a_hundred_columns_fits_a_prompt(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"Some_long_model_name-650M_{n}" for n in range(97)]
    scores = rng.normal(size=(ROWS, 97))
    rows = [{"mutant": f"A{n}C", "DMS_score": n, **dict(zip(names, scores[n], strict=True))} for n in range(ROWS)]
    (example,) = load(write(tmp_path / "X.csv", rows)).examples
    assert example.assay.count("\n- ") == 97
    assert tokens(example.assay) < 10_000  # a cautious estimate


@real
def test_the_real_assays_load():
    loaded = load(REAL)
    assert {example.mutants["assay"]: example.assay.count("\n- ") for example in loaded.examples} == {
        "BLAT_ECOLX_Stiffler_2015": 13,
        "SYUA_HUMAN_Newberry_2020": 34,
    }
    assert loaded.gaps["BLAT_ECOLX_Stiffler_2015"]["EVmutation"] == pytest.approx(208 / 4996)
    assert not loaded.notes
    assert not loaded.bad_rows
