import csv
import gzip
import json
from types import SimpleNamespace

import dspy
import pyarrow
import pyarrow.parquet
import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.data import aime
from flex_dspy.data.hub import HubAddress
from flex_dspy.data.loading import BadRow, digest, load_examples, sample

ROWS = [{"id": str(i), "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(5)]


def write(path, rows=ROWS):
    """Write rows in the format that the name says."""
    opener = gzip.open if path.suffix == ".gz" else open
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        elif kind == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            json.dump(rows, file)
    return path


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "jsonl.gz", "json", "json.gz", "parquet"])
def test_every_format_gives_the_same_examples(tmp_path, ending):
    loaded = aime.load(write(tmp_path / f"problems.{ending}"))
    assert [example.answer for example in loaded.examples] == [1, 2, 3, 4, 5]
    assert loaded.bad_rows == []
    assert loaded.source.endswith(ending)
    assert loaded.digest == aime.load(write(tmp_path / "other.jsonl")).digest
    assert list(loaded.examples[0].inputs().keys()) == ["problem"]


def test_bad_json_lines_are_listed_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "mixed.jsonl"
    good = [json.dumps(row) for row in ROWS[:2]]
    lines = [good[0], "{broken", "", "[1]", json.dumps({"question": "no answer"}), good[1]]
    path.write_bytes("\n".join(lines).encode() + b'\n{"question": "\xff", "answer": "1"}\n')
    loaded = aime.load(path)
    assert [example.id for example in loaded.examples] == ["0", "1"]
    assert [bad.row for bad in loaded.bad_rows] == [2, 4, 5, 7]
    assert loaded.bad_rows[1:] == [
        BadRow(4, "expected an object, found list"),
        BadRow(5, "no integer answer"),
        BadRow(7, "not UTF-8"),
    ]


def test_bad_csv_rows_are_listed_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "mixed.csv"
    path.write_text('\ufeffid,question,answer\n1,a,2\n2,b\n3,c,x\n\n4,"d, or\nd",5\n5,e,6,7\n', encoding="utf-8")
    loaded = aime.load(path)
    assert [example.problem for example in loaded.examples] == ["a", "d, or\nd"]
    assert [bad.row for bad in loaded.bad_rows] == [3, 4, 8]
    assert "2 values for 3 columns" in loaded.bad_rows[0].reason


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.csv", None, "no such file"),
        ("empty.csv", "", "is empty. Expected the columns problem"),
        ("empty.jsonl", "\n\n", "is empty"),
        ("header.csv", "question,answer\n", "is empty"),
        ("other.csv", "a,b\n1,2\n", "row 2: no problem.*columns seen: a, b"),
        ("bad.json", "{", "no JSON"),
        ("bad.json", '{"a": 1}', "expected a list"),
        ("bad.parquet", "rubbish", "no Parquet file"),
        ("bad.csv.gz", "rubbish", "cannot be read to its end"),
        ("notes.txt", "x", "must end in .csv"),
        ("rows.parquet.gz", "x", "must end in .csv"),
    ],
)
def test_a_useless_file_says_why(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words) as caught:
        aime.load(str(path))
    assert name in str(caught.value)


def test_a_truncated_archive_is_an_error_not_a_short_data_set(tmp_path):
    path = write(tmp_path / "rows.jsonl.gz", ROWS * 200)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="to its end"):
        aime.load(path)


def test_a_folder_and_a_word_are_no_source(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        aime.load(tmp_path)
    with pytest.raises(DataError, match="give one of train, val, test, a file, or owner/name"):
        aime.load("training")


def test_repeated_ids_become_distinct_whatever_is_drawn(tmp_path):
    rows = [{**row, "id": "patent"} for row in ROWS]
    path = write(tmp_path / "patents.csv", rows)
    whole = {example.problem: example.id for example in aime.load(path).examples}
    assert list(whole.values()) == ["patent", "patent#2", "patent#3", "patent#4", "patent#5"]
    for example in aime.load(path, limit=3, seed=5).examples:
        assert example.id == whole[example.problem]


def test_rows_without_ids_get_stable_ones_and_repeats_are_listed(tmp_path):
    rows = [{"question": row["question"], "answer": row["answer"]} for row in [*ROWS, ROWS[0]]]
    loaded = aime.load(write(tmp_path / "a.jsonl", rows))
    backwards = aime.load(write(tmp_path / "b.jsonl", rows[4::-1]))
    assert len({example.id for example in loaded.examples}) == 5
    assert {example.id for example in backwards.examples} == {example.id for example in loaded.examples}
    assert "repeats" in loaded.bad_rows[0].reason
    assert loaded.digest != backwards.digest


def test_limit_and_seed(tmp_path):
    path = write(tmp_path / "rows.csv")
    assert [example.id for example in aime.load(path, limit=2).examples] == ["0", "1"]
    drawn = [example.id for example in aime.load(path, limit=3, seed=1).examples]
    assert drawn == [example.id for example in aime.load(path, limit=3, seed=1).examples]
    assert drawn == [example.id for example in sample(aime.load(path).examples, 3, 1)]
    with pytest.raises(DataError, match="limit"):
        aime.load(path, limit=0)


def test_sample_is_a_permutation_that_the_seed_fixes():
    assert sorted(sample(range(50), None, 1)) == list(range(50))
    assert sample(range(50), 7, 1) == sample(range(50), None, 1)[:7]
    assert sample(range(50), None, 1) != sample(range(50), None, 2)


def test_digest_sees_fields_and_order():
    one, two = dspy.Example(a=1, b=2), dspy.Example(b=2, a=1)
    assert digest([one]) == digest([two])
    assert digest([one, dspy.Example(a=2)]) != digest([dspy.Example(a=2), one])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("math-ai/aime25@test", HubAddress("math-ai/aime25", None, "test")),
        ("openai/gsm8k:main@train[:10%]", HubAddress("openai/gsm8k", "main", "train[:10%]")),
        ("owner/name", HubAddress("owner/name")),
        ("/owner/name", None),
        ("owner", None),
        ("a/b/c", None),
    ],
)
def test_hub_addresses(source, expected):
    assert HubAddress.parse(source) == expected


def fake_hub(monkeypatch, answer):
    calls = []

    def load_dataset(*args, **kwargs):
        calls.append((args, kwargs))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(__import__("sys").modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return calls


def test_a_hub_data_set_is_read_by_its_address(monkeypatch):
    calls = fake_hub(monkeypatch, ROWS)
    assert len(aime.load("owner/name:main@test", limit=2).examples) == 2
    assert calls == [(("owner/name", "main"), {"split": "test"})]


def test_the_only_split_needs_no_name_and_several_do(monkeypatch):
    fake_hub(monkeypatch, {"train": ROWS})
    assert len(aime.load("owner/name").examples) == 5
    fake_hub(monkeypatch, {"train": ROWS, "test": ROWS})
    with pytest.raises(DataError, match=r"train, test: name one, as in owner/name@train"):
        aime.load("owner/name")


def test_an_unreachable_hub_is_a_data_error(monkeypatch):
    fake_hub(monkeypatch, ConnectionError("no route\nmore"))
    with pytest.raises(DataError, match=r"cannot be loaded from the hub: ConnectionError: no route$"):
        aime.load("owner/name@test")


def test_any_other_error_of_a_converter_is_not_swallowed(tmp_path):
    with pytest.raises(ZeroDivisionError):
        load_examples(write(tmp_path / "rows.csv"), lambda cells: 1 / 0, expected="nothing")
