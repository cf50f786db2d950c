"""A run: every method learns and answers in its turn."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import dspy

from flex_dspy.core.errors import FlexError
from flex_dspy.libraries.library_file import write_atomically
from tests.benchmarks.language_model.answers import measure
from tests.benchmarks.language_model.catalogue import METHODS, Method
from tests.benchmarks.language_model.examples import Data, load
from tests.benchmarks.language_model.figure import draw
from tests.benchmarks.language_model.report import Report, Result, in_order
from tests.benchmarks.language_model.settings import Settings
from tests.benchmarks.language_model.tasks import BenchTask, bench_task
from tests.benchmarks.language_model.workspace import Workspace

logger = logging.getLogger(__name__)


def run(settings: Settings, methods: Sequence[Method]) -> tuple[Report, list[str]]:
    """Let methods learn and answer, and write the report after each.

    A method that fails is named in the log, and the others go on.

    Args:
        settings: The settings.
        methods: At least one.

    Returns:
        The report, and the names of the methods that failed.

    Raises:
        FlexError: If the task or the data cannot be used.
        NoAnswerError: If the model gives no answers. What was done is kept.
    """
    task = bench_task(settings.task, settings.data)
    data = load(task, settings)
    report, failed = Report(_about(settings, data), ()), []
    for method in methods:
        try:
            result = _result(method, task, data, settings)
        except Exception as error:
            unexpected = not isinstance(error, FlexError)
            logger.error("%s failed, and the next one goes on: %s", method.name, error, exc_info=unexpected)
            failed.append(method.name)
            continue
        report = Report(report.about, in_order([*report.results, result], [each.name for each in METHODS]))
        _write(report, settings)
    return report, failed


def _result(method: Method, task: BenchTask, data: Data, settings: Settings) -> Result:
    workspace = Workspace(method, task, settings, data.learned_from)
    workspace.claim()
    learned = method.learn(task.program(), data, workspace)
    terminal = sys.stderr
    with workspace.quiet(), dspy.context(lm=workspace.answerer):
        evaluation = measure(
            learned.program,
            data.test,
            task.metric,
            workspace.path("records.jsonl"),
            concurrency=settings.concurrency,
            label=f"{method.name} answers",
            terminal=terminal,
        )
    return Result(method.name, method.family, evaluation, learned.spent, learned.seconds, learned.note)


def _about(settings: Settings, data: Data) -> dict[str, Any]:
    further = dict.fromkeys(name for method in METHODS for name in method.depends)
    test = settings.test.name if settings.test else "of the validation file"
    digests = {"learned_from": data.learned_from, "tested_on": data.tested_on}
    return {**settings.identity(*further), "test_examples": len(data.test), "test": test, **digests}


def _write(report: Report, settings: Settings) -> None:
    write_atomically(settings.out / "report.md", report.text())
    write_atomically(settings.out / "report.json", report.to_json())
    draw(report, settings.out / "report.png")
