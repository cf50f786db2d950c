"""Measures a library with Syntheseus's evaluator of single-step models, and with ours, on the same products.

    python -m tests.benchmarks.bench_syntheseus --train train.csv.gz --valid valid.csv.gz --library library.json

The library is studied from a tenth of the training reactions if the file does not exist.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import dspy
from syntheseus.cli.eval_single_step import compute_metrics
from syntheseus.reaction_prediction.data.dataset import DataFold, DiskReactionDataset
from syntheseus.reaction_prediction.data.reaction_sample import ReactionSample

from flex_dspy import ExperienceLibrary, ForwardLearning, evaluate, get_task, language_model
from flex_dspy.evaluation.intervals import wilson
from flex_dspy.integrations.syntheseus import ExperienceModel
from flex_dspy.models.lm import close

TASK = get_task("uspto50k")
TOP = (1, 3, 5, 10)


def main() -> None:
    """Print both rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--valid", required=True)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--reactions", type=int, default=3_986, help="to study, if there is no library yet")
    parser.add_argument("--products", type=int, default=500)
    arguments = parser.parse_args()
    lm = language_model("offline", expert=TASK.expert)
    dspy.configure(lm=lm)
    if not arguments.library.exists():
        _study(arguments.train, arguments.reactions, arguments.library)
    library = ExperienceLibrary.load(arguments.library)
    examples = TASK.load(arguments.valid, limit=arguments.products, seed=0).examples
    print(f"{len(library)} entries, {library.hash[:12]}; {len(examples)} products")
    for name, measure in (("Syntheseus", _theirs), ("ours", _ours)):
        start = time.perf_counter()
        _print(name, measure(library, examples), len(examples), time.perf_counter() - start)
    close(lm)


def _study(train: str, count: int, file: Path) -> None:
    examples = TASK.load(train, limit=count, seed=0).examples
    with tempfile.TemporaryDirectory() as folder:  # a study that is interrupted leaves no file behind
        learned = Path(folder) / "library.json"
        learning = ForwardLearning(TASK.metric, library=learned, study=True, progress=False, window=64, concurrency=64)
        learning.compile(TASK.actor(), trainset=examples)
        file.write_bytes(learned.read_bytes())


def _theirs(library: ExperienceLibrary, examples: list[dspy.Example]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{example.reactants}>>{example.product}\n" for example in examples]
        (Path(folder) / "val.smi").write_text("".join(lines), encoding="utf-8")
        data = DiskReactionDataset(folder, sample_cls=ReactionSample)
        found = compute_metrics(
            ExperienceModel(library), data, num_dataset_truncation=None, num_top_results=50, fold=DataFold.VALIDATION
        )
    print(f"mean reciprocal rank {found.mrr:.3f}; {found.mean_num_predictions:.1f} proposals a product")
    return [found.top_k[k - 1] for k in TOP]


def _ours(library: ExperienceLibrary, examples: list[dspy.Example]) -> list[float]:
    measured = evaluate(
        TASK.actor(library), examples, TASK.metric, measures=TASK.measures, progress=False, allow_overlap=True
    )
    found = measured.metrics()
    return [found[f"top_{k}"] for k in TOP]


def _print(name: str, top: list[float], count: int, seconds: float) -> None:
    low, high = wilson(round(top[0] * count), count)
    values = "  ".join(f"{100 * value:.1f}" for value in top)
    interval = f"top-1 {100 * low:.1f} to {100 * high:.1f}"
    print(f"{name:<12} top-{'/'.join(map(str, TOP))}: {values}  ({interval}; {seconds:.0f} s)")


if __name__ == "__main__":
    main()
