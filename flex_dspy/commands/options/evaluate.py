"""The options of ``flex-dspy eval``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands.arguments import Overlap, Positive, PrintJson, default_of
from flex_dspy.commands.options.shared import DATA, MEASURING, OUTPUT, ActorRun
from flex_dspy.evaluation.settings import EvaluationSettings


@Parameter(name="*", group=DATA)
@dataclass(frozen=True)
class EvaluationData:
    """The library and the examples to measure it on."""

    library: str | None = None
    """A library file, a folder of them, or NAME@alias or NAME/version in MLflow."""
    data: Annotated[str | None, Parameter(name=("--data", "--val", "--test"))] = None
    """Examples: a split, a file (csv, jsonl, parquet, .gz) or a hub id (default: test)."""
    samples: Annotated[Positive | None, Parameter(name=("--samples", "--val-samples"))] = None
    """Measure on a random N of them."""
    train: str | None = None
    """Where the worked examples of --actor icl come from."""
    overlap: Overlap = "refuse"
    """Measured examples that were learned from: leave them out, stop, or keep them."""


@Parameter(name="*", group=MEASURING)
@dataclass(frozen=True)
class MeasuringOptions:
    """How the library is measured."""

    pass_at: Positive = default_of(EvaluationSettings, "samples")
    """Independent samples an example: mean@n, majority vote and pass@k."""
    baseline: Annotated[bool, Parameter(negative="--no-baseline")] = True
    """Measure the actor without a library too."""
    equal_compute: bool = False
    """Measure the actor without a library too, with as many samples as the library's tokens pay for."""
    traces: str | None = None
    """Write the library's scores beside the traces of the same problems in this MLflow experiment."""


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True)
class EvaluationOutput:
    """Where the results go."""

    out: Path | None = None
    """Folder for the records (default: exps/eval-TASK-...)."""
    json: PrintJson = False


@Parameter(name="*")
@dataclass(frozen=True)
class EvaluateOptions(ActorRun):
    """All options of ``eval``."""

    data: EvaluationData = EvaluationData()
    measuring: MeasuringOptions = MeasuringOptions()
    output: EvaluationOutput = EvaluationOutput()
