"""``flex-dspy library value``: what each entry adds to the score, by trials with it and without it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import dspy

from flex_dspy.commands import outputs, roles, sources
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.entry_values import EntryValue, Valuation, value_file
from flex_dspy.evaluation.overlap import precedent_problems
from flex_dspy.evaluation.value import value
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.paths import mode_beside
from flex_dspy.models.spending import columns
from flex_dspy.tasks.registry import get_task
from flex_dspy.tracking.registry import read_library


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    task = get_task(arguments.task)
    library = read_library(arguments.library, arguments.tracking_uri)
    out = _out(arguments)
    outputs.check_file(out)
    model = roles.models(arguments, task)["actor"]
    roles.check_keys({"actor": model})
    ledger = roles.ledger(arguments, {"actor": model})
    with dspy.context(lm=model):
        data = sources.examples(task, model, "val", arguments.data, arguments.samples, arguments.seed)
        examples = sources.measurable(arguments.overlap, task, data, precedent_problems(library))
        try:
            estimates = value(
                roles.actor(arguments, task, model),
                examples,
                task.metric,
                library,
                budget=arguments.calls,
                seed=arguments.seed,
                ledger=ledger,
                concurrency=arguments.concurrency,
                confidence=arguments.confidence,
                progress=not arguments.quiet,
                allow_overlap=True,  # decided before
            )
        finally:
            roles.say_what_it_cost(ledger)
    Valuation.of(
        library,
        estimates,
        confidence=arguments.confidence,
        task=task.name,
        data=data.source,
        data_digest=data.digest,
        calls=arguments.calls,
        seed=arguments.seed,
    ).write(out, mode_beside(arguments.library))
    print(table(library, estimates, arguments.top))
    print(f"\nestimates  {out}")


def _out(arguments: argparse.Namespace) -> Path:
    if arguments.out is not None:
        return Path(arguments.out)
    if not Path(arguments.library).is_file():
        raise ConfigurationError(f"{arguments.library} is no file: say with --out where the estimates should be")
    return value_file(arguments.library)


def table(library: ExperienceLibrary, estimates: Mapping[str, EntryValue], top: int) -> str:
    """The entries that add least and those that add most, a row each, and how many were not measured.

    Args:
        library: Where the entries are.
        estimates: By entry id.
        top: Most entries at each end.
    """
    shown = [(entry_id, e, e.effect) for entry_id, e in estimates.items() if e.effect is not None]
    ranked = sorted(shown, key=lambda row: row[2])
    left_out = max(len(ranked) - 2 * top, 0)
    picked = ranked if not left_out else ranked[:top] + ranked[len(ranked) - top :]
    rows = [["entry", "zone", "category", "examples", "effect (interval)"]]
    for entry_id, estimate, _ in picked:
        entry = library[entry_id]
        category = entry.category if len(entry.category) <= 30 else entry.category[:27] + "..."
        rows.append([entry_id, entry.zone, category, str(estimate.examples), str(estimate)])
    lines = columns(rows)
    if left_out:
        lines.insert(top + 1, f"... {left_out} entries between ...")
    return "\n".join([*lines, f"{len(ranked)} of {len(library)} entries were shown in trials"])
