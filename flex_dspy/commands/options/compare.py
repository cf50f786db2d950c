"""The options of ``flex-dspy compare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands.arguments import NotNegative, Positive, PrintJson, default_of
from flex_dspy.commands.options.shared import DATA, MEASURING, OUTPUT, ActorRun, ExampleOptions
from flex_dspy.evaluation.settings import EvaluationSettings


@Parameter(name="*", group=DATA)
@dataclass(frozen=True)
class ComparisonData(ExampleOptions):
    """The examples to compare on."""

    task: str | None = None
    """The task (default: that of the first library)."""
    train: str | None = None
    """Where the worked examples of --actor icl come from."""
    pass_at: Annotated[Positive, Parameter(group=MEASURING)] = default_of(EvaluationSettings, "samples")
    """Independent samples an example."""


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True)
class ComparisonOutput:
    """How the comparison is shown."""

    name: Annotated[tuple[str, ...], Parameter(name="--name")] = ()
    """Names for the first source, the second, and so on. May be repeated."""
    examples: NotNegative = 10
    """Most wins, and most losses, that the page shows of each."""
    json: PrintJson = False
    out: Path | None = None
    """Folder for the page, the figure, JSON and records (default: exps/compare-...)."""


@Parameter(name="*")
@dataclass(frozen=True)
class CompareOptions(ActorRun):
    """All options of ``compare``."""

    data: ComparisonData = ComparisonData()
    output: ComparisonOutput = ComparisonOutput()
