"""Fitness prediction by formulas with the offline biologist: the tables of docs/results.md.

    python -m tests.benchmarks.bench_proteingym shipped
    python -m tests.benchmarks.bench_proteingym real --data FOLDER     a folder of merged CSV files
    python -m tests.benchmarks.bench_proteingym real --data FOLDER --half 1
    python -m tests.benchmarks.bench_proteingym hostile

Each seed is a split into labelled and held-out mutants, from which the biologist learns by practice on the labelled
ones. Beside it stand, chosen or fitted on the same labelled mutants: the best single column, the equal-weight mean of
ranks, ridge regression on the standardized columns with its penalty by leave-one-out; and the best column by the
held-out mutants themselves, which nobody could know. `carried` has learned from all other assays, and not from this
one. Ridge is the baseline to reach: `learned - ridge` is the mean of the paired differences. Intervals are 95%
(Student's t over seeds). `--half 1` uses only the mutants that no setting of the biologist was chosen on; half 0 is the
other half.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import tempfile
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import dspy
import numpy as np
from scipy import stats

from flex_dspy import ForwardLearning
from flex_dspy.data import proteingym as data
from flex_dspy.data.assays import Assay
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.metrics.formula import FormulaError, parse
from flex_dspy.metrics.formula_values import Table, spearman
from flex_dspy.metrics.formula_values import evaluate as value_of
from flex_dspy.offline.engine import AsyncOfflineEngine, OfflineEngine
from flex_dspy.programs import Actor
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.tasks.proteingym import PredictFitness, proteingym, score_held_out
from flex_dspy.tasks.task import OFFLINE_RETRIEVAL
from tests.hostile_formulas import hostile

_OTHERS = ("ridge", "best single")
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)


def main() -> None:
    """Print the table that is asked for."""
    arguments = _arguments()
    engines = {"engine": OfflineEngine("biologist"), "async_engine": AsyncOfflineEngine(expert="biologist")}
    dspy.configure(lm=dspy.LM("offline/biologist", **engines, cache=False))
    if arguments.table == "hostile":
        _hostile(arguments.count)
    elif arguments.table == "shipped":
        _shipped(arguments.seeds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            halved = arguments.half is not None
            _real(_half(arguments.data, Path(folder), arguments.half) if halved else arguments.data, arguments.seeds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("shipped", "real", "hostile"))
    parser.add_argument("--data", type=Path, help="a folder of merged CSV files")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--half", type=int, choices=(0, 1), help="a half of the mutants; all by default")
    parser.add_argument("--count", type=int, default=1_000, help="hostile formulas")
    return parser.parse_args()


def _shipped(seeds: int) -> None:
    curve: dict[int, list[float]] = {}
    rows: dict[str, list[float]] = {}
    for seed in range(seeds):
        train, val = (data.load(name, split=seed).examples for name in ("train", "val"))
        learning, learned = _learned(train, val, seed)
        for version in learning.versions:
            curve.setdefault(version.step, []).append(version.metrics["held_out"])
        for name, source in (("five assays", "val"), ("three others", "test")):
            examples = data.load(source, split=seed).examples
            _note(rows, name, _baselines(examples))
            _note(rows, name, {"without": _measured(_actor(), examples), "learned": _measured(learned, examples)})
            _compare(rows, name)
    print("held-out |Spearman| of the five assays, by examples learned from")
    for step, values in curve.items():
        print(f"  {step:>4}  {_told(values)}")
    _print(rows)


def _real(folder: Path, seeds: int) -> None:
    rows: dict[str, list[float]] = {}
    files = _assay_files(folder)
    for seed in range(seeds):
        for file in files:
            own = data.load(file, split=seed).examples
            name = own[0].mutants["assay"]
            practice = data.load(f"{file}@practice", split=seed).examples
            _, learned = _learned(practice, [], seed)
            others = [e for f in files if f != file for e in data.load(f"{f}@practice", split=seed).examples]
            _, carried = _learned(others, [], seed)
            _note(rows, name, _baselines(own))
            _note(rows, name, {"without": _measured(_actor(), own), "learned": _measured(learned, own)})
            _compare(rows, name)
            _note(rows, name, {"carried": _measured(carried, own)})
    _print(rows)


def _half(folder: Path, to: Path, half: int) -> Path:
    """A folder with one half of the mutants of each file."""
    for file in _assay_files(folder):
        with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8", newline="") as text:
            header, *rows = csv.reader(text)
        order = np.random.default_rng(20251106).permutation(len(rows))
        with (to / file.name.removesuffix(".gz")).open("w", encoding="utf-8", newline="") as text:
            csv.writer(text).writerows([header, *(rows[number] for number in sorted(order[half::2]))])
    return to


def _assay_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.csv*")) if not file.name.startswith("ref_")]


def _learned(train: list[dspy.Example], val: list[dspy.Example], seed: int) -> tuple[ForwardLearning, dspy.Module]:
    learning = ForwardLearning(proteingym, measures={"held_out": score_held_out}, progress=False, seed=seed)
    return learning, learning.compile(_actor(), trainset=train, valset=val)


def _actor() -> Actor:
    return Actor(PredictFitness, ExperienceRetriever(views=["lexical"], **OFFLINE_RETRIEVAL))


def _measured(program: dspy.Module, examples: list[dspy.Example]) -> float:
    measured: Evaluation = evaluate(
        program, examples, proteingym, measures={"held_out": score_held_out}, progress=False, allow_overlap=True
    )
    return measured.metrics()["held_out"]


# -- baselines -------------------------------------------------------------------------------------------------


def _baselines(examples: Iterable[dspy.Example]) -> dict[str, float]:
    """Means over the examples' assays."""
    rows = [_baseline(data.shares_of(example)) for example in examples]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _baseline(shares: data.Shares) -> dict[str, float]:
    assay, labelled, rest = shares.assay, shares.labelled, shares.held_out
    measured = assay.fitness[rest]
    there = assay.correlations(labelled)
    # A column whose direction nobody knows is turned as the labelled mutants have it.
    known = np.array([data.family(name).is_known for name in assay.table.columns])
    equal = (assay.table.ranks[rest] - 0.5) @ np.where(known, 1.0, np.sign(there))
    return {
        "best single": abs(spearman(assay.table.values[rest, int(np.argmax(np.abs(there)))], measured)),
        "equal weights": abs(spearman(equal, measured)),
        "ridge": abs(spearman(_ridge(assay, labelled)[rest], measured)),
        "oracle column": float(np.abs(assay.correlations(rest)).max()),
    }


def _ridge(assay: Assay, labelled: data.Rows) -> np.ndarray:
    """Ridge regression on the labelled mutants, its penalty by leave-one-out; its values for all mutants."""
    values = assay.table.values
    columns = (values - values.mean(axis=0)) / values.std(axis=0)
    columns = columns - columns[labelled].mean(axis=0)
    x, y = columns[labelled], assay.fitness[labelled] - assay.fitness[labelled].mean()
    best = (np.inf, np.zeros(x.shape[1]))
    for penalty in PENALTIES:
        inverse = np.linalg.inv(x.T @ x + penalty * np.eye(x.shape[1]))
        hat = x @ inverse @ x.T
        left_out = (y - hat @ y) / (1 - np.diag(hat) - 1 / len(y))
        best = min(best, (float((left_out**2).mean()), inverse @ x.T @ y), key=lambda pair: pair[0])
    return columns @ best[1]


# -- hostile formulas ------------------------------------------------------------------------------------------


def _hostile(count: int) -> None:
    columns = tuple(f"C{number}" for number in range(97))
    table = Table(columns, np.random.default_rng(0).normal(size=(5_000, 97)))
    table.ranks  # noqa: B018  (made once an assay)
    seconds, bytes_, refused = [], [], 0
    for text in hostile(count, seed=0, columns=columns):
        refused += _run(text, table)
        start = time.thread_time()  # not what other processes take
        _run(text, table)
        seconds.append(time.thread_time() - start)
        tracemalloc.start()
        _run(text, table)
        bytes_.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    print(f"{count} formulas on 5,000 mutants: {refused} refused, {count - refused} bounded; longest ", end="")
    print(f"{1_000 * max(seconds):.1f} ms (median {1_000 * np.median(seconds):.2f}), most {max(bytes_) / 1e6:.1f} MB")


def _run(text: str, table: Table) -> bool:
    """Whether it is refused."""
    try:
        values = value_of(parse(text, table.columns), table)
    except FormulaError:
        return True
    assert np.isfinite(values).all(), text
    return False


# -- printing --------------------------------------------------------------------------------------------------


def _note(rows: dict[str, list[float]], name: str, values: dict[str, float]) -> None:
    for kind, value in values.items():
        rows.setdefault(f"{name} | {kind}", []).append(value)


def _compare(rows: dict[str, list[float]], name: str) -> None:
    """Note the last differences between the learned formula and ridge, and the best single column."""
    learned = rows[f"{name} | learned"][-1]
    _note(rows, name, {f"learned - {other}": learned - rows[f"{name} | {other}"][-1] for other in _OTHERS})


def _print(rows: dict[str, list[float]]) -> None:
    for name, values in rows.items():
        print(f"{name:<52} {_told(values)}")


def _told(values: list[float]) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
    return f"{np.mean(values):.3f} ({np.mean(values) - half:.3f} to {np.mean(values) + half:.3f})"


if __name__ == "__main__":
    main()
