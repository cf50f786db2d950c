"""``flex-dspy library prune``: take out entries that do harm, are out of use, or are said twice."""

from __future__ import annotations

import argparse
from pathlib import Path

import dspy

from flex_dspy.commands import roles, sources
from flex_dspy.commands.table import table
from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.data.loading import LoadedData
from flex_dspy.evaluation.comparison import Comparison, compare
from flex_dspy.evaluation.entry_values import EntryValue, read_valuation, value_file
from flex_dspy.evaluation.overlap import precedent_problems
from flex_dspy.evaluation.pruning import Plan, carry_out, prune
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.learning.version import Version
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore, journal_of
from flex_dspy.tasks.registry import get_task
from flex_dspy.tracking.tracker import MLflowTracker


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    path: Path = arguments.library
    if not path.is_file() and not journal_of(path).exists():
        raise LibraryError(path, "the file", "is no library file", "Import it first, if it is a folder or a version")
    is_learning = journal_of(path).exists()
    store = LibraryStore(path)
    plan = _plan(arguments, store.library)
    print(plan.text())
    if not plan.removals:
        return
    measured = _measured(arguments, plan) if arguments.task else None
    if arguments.dry_run:
        return
    if measured is not None and measured[0].gain[2] < 0:
        raise ConfigurationError("accuracy would fall: nothing was removed")
    done = carry_out(plan, store)
    if not is_learning:  # in the middle of a run, only the run may write its file: it needs the snapshots between
        store.checkpoint(plan.before.hash)
    print(f"{len(done.after)} entries are left\nlibrary  {path}")
    if measured is not None and not arguments.no_tracking:
        _log(arguments, store.library, plan, *measured)


def _plan(arguments: argparse.Namespace, library: ExperienceLibrary) -> Plan:
    by = arguments.by
    return prune(
        library,
        _estimates(arguments, library) if "value" in by else None,
        min_value=arguments.min_value,
        confidence=arguments.confidence,
        stale_after=arguments.stale_after if "stale" in by else None,
        usage=UsageLog(arguments.library).read() if "stale" in by else (),
        redundancy=arguments.redundancy if "redundant" in by else None,
    )


def _estimates(arguments: argparse.Namespace, library: ExperienceLibrary) -> dict[str, EntryValue]:
    valuation = read_valuation(arguments.estimates or value_file(arguments.library))
    estimates = valuation.still_true(library)
    changed = len(valuation.estimates) - len(estimates)
    if changed:
        print(f"{changed} entries were changed or removed since they were measured: left aside")
    return estimates


def _measured(arguments: argparse.Namespace, plan: Plan) -> tuple[Comparison, LoadedData]:
    task = get_task(arguments.task)
    model = roles.models(arguments, task)["actor"]
    roles.check_keys({"actor": model})
    ledger = roles.ledger(arguments, {"actor": model})
    with dspy.context(lm=model):
        data = sources.examples(task, model, "val", arguments.data, arguments.samples, arguments.seed)
        examples = sources.measurable(arguments.overlap, task, data, precedent_problems(plan.before))
        comparison = compare(
            plan.before,
            plan.after,
            roles.actor(arguments, task, model),
            examples,
            task.metric,
            measures=task.measures,
            ledger=ledger,
            concurrency=arguments.concurrency,
            progress=not arguments.quiet,
            allow_overlap=True,  # decided before
        )
    print(table({"before": comparison.before, "after": comparison.after}))
    form = "+.1%" if all(0 <= record.score <= 1 for record in comparison.before.records) else "+.4g"
    gain, low, high = (format(number, form) for number in comparison.gain)
    print(f"accuracy {gain} ({low} to {high})")
    roles.say_what_it_cost(ledger)
    return comparison, data


def _log(
    arguments: argparse.Namespace, library: ExperienceLibrary, plan: Plan, comparison: Comparison, data: LoadedData
) -> None:
    """Make the pruned library a version in MLflow, with both accuracies."""
    task = get_task(arguments.task).name  # it may have been named as module:attribute
    tracker = MLflowTracker(
        arguments.experiment or f"flex-{task}",
        tracking_uri=arguments.tracking_uri,
        registered_name=f"flex-{library.task or task}",
    )
    removed = {f"removed_{why}": count for why, count in plan.counts().items()}
    tracker.start({"task": task, "pruned_by": ",".join(arguments.by), **removed})
    tracker.log_version(Version(library, library.seen, comparison.metrics(), data.source, data.digest[:16]))
    tracker.finish()
    print(f"MLflow   {tracker.registered_name}@newest")
