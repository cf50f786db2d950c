"""``flex-dspy library value``: measures the effect of each entry on the score, by trials with and without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import dspy
from rich.table import Table

from flex_dspy.commands.actions import clusters, roles, sources
from flex_dspy.commands.actions.tables import print_json, print_table, stdout_for
from flex_dspy.commands.options.library import ValueOptions
from flex_dspy.core.tables import build_table
from flex_dspy.evaluation.entry_values import EntryValue, Valuation
from flex_dspy.evaluation.overlap import precedent_problems
from flex_dspy.evaluation.value import value
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.paths import mode_beside
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.executors import Executor
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.registry import read_library


def run(library_name: str, task_name: str, calls: int, out: Path, options: ValueOptions) -> None:
    """Measure the entries, write the estimates, and print the most helpful and the most harmful entries."""
    task = get_task(task_name)
    library = read_library(library_name, options.tracking.tracking_uri)
    model = roles.actor_model(options, task)
    ledger = roles.ledger(options.budget, {"actor": model})
    with stdout_for(options.json), clusters.executor(options) as executor, dspy.context(lm=model):
        valuation = _measure(library, task, calls, options, ledger, executor)
    valuation.write(out, mode_beside(library_name))
    if options.json:
        print_json({entry_id: asdict(estimate) for entry_id, estimate in valuation.estimates.items()})
        return
    _print(library, valuation.estimates, options.top)
    print(f"\nestimates  {out}")


def _measure(
    library: ExperienceLibrary,
    task: Task,
    calls: int,
    options: ValueOptions,
    ledger: Ledger,
    executor: Executor | None,
) -> Valuation:
    given, acting = options.data, options.actor
    model = dspy.settings.lm
    data = sources.examples(task, model, "val", given.data, given.samples, acting.seed)
    try:
        estimates = value(
            roles.actor(options, task, model),
            sources.measurable(given.overlap, task, data, precedent_problems(library)),
            task.metric,
            library,
            budget=calls,
            seed=acting.seed,
            ledger=ledger,
            executor=executor,
            concurrency=acting.concurrency,
            confidence=options.confidence,
            progress=not options.quiet,
            allow_overlap=True,  # overlap was handled before
        )
    finally:
        roles.print_costs(ledger)
    about = {"task": task.name, "data": data.source, "data_digest": data.digest}
    return Valuation.of(library, estimates, confidence=options.confidence, calls=calls, seed=acting.seed, **about)


def _print(library: ExperienceLibrary, estimates: Mapping[str, EntryValue], top: int) -> None:
    table, measured = effect_table(library, estimates, top)
    print_table(table)
    print(f"{measured} of {len(library)} entries were shown in trials")


def effect_table(library: ExperienceLibrary, estimates: Mapping[str, EntryValue], top: int) -> tuple[Table, int]:
    """Table of the entries with the lowest and the highest effects, and the number of measured entries.

    Args:
        library: The library of the entries.
        estimates: Estimates by entry id.
        top: Most entries with the lowest effects, and with the highest.
    """
    effects = [(entry_id, e, e.effect) for entry_id, e in estimates.items() if e.effect is not None]
    ranked = sorted(effects, key=lambda row: row[2])
    rows = [_row(library, entry_id, estimate) for entry_id, estimate, _ in ranked]
    left_out = len(ranked) - 2 * top
    if left_out > 0:
        rows[top : top + left_out] = [(f"... {left_out} entries between ...", "", "", "", "")]
    return build_table(["entry", "zone", "category", "examples", "effect (interval)"], rows, left=3), len(ranked)


def _row(library: ExperienceLibrary, entry_id: str, estimate: EntryValue) -> tuple[str, str, str, str, str]:
    entry = library[entry_id]
    return entry_id, entry.zone, entry.category, str(estimate.examples), str(estimate)
