"""``flex-dspy library prune``: removes harmful, unused and redundant entries."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import dspy

from flex_dspy.commands.actions import clusters, roles, sources
from flex_dspy.commands.actions.tables import evaluation_table, print_json, print_table, stdout_for
from flex_dspy.commands.options.library import PruneOptions
from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.core.scoring import ACCURACY
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
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.tracker import MLflowTracker


def run(path: Path, options: PruneOptions) -> None:
    """Plan removals, print them, measure their effect if there is a task, and carry them out.

    Raises:
        ConfigurationError: If the accuracy would fall.
        LibraryError: If the library file does not exist.
    """
    with stdout_for(options.json):
        plan = _prune(path, options)
    if options.json:
        print_json(
            {
                "removals": [asdict(removal) for removal in plan.removals],
                "pinned": [asdict(removal) for removal in plan.pinned],
                "before": len(plan.before),
                "after": len(plan.after),
                "is_done": plan.is_done,
            }
        )


def _prune(path: Path, options: PruneOptions) -> Plan:
    is_learning = journal_of(path).exists()
    if not path.is_file() and not is_learning:
        raise LibraryError(path, "the file", "is no library file", "Import it first, if it is a folder or a version")
    store = LibraryStore(path)
    plan = _plan(path, store.library, options)
    print(plan.text())
    if not plan.removals:
        return plan
    task = get_task(options.task) if options.task else None
    measured = _measure(plan, task, options) if task else None
    if options.pruning.dry_run:
        return plan
    if measured is not None and measured[0].gain[2] < 0:
        raise ConfigurationError(f"{measured[0].score} would fall: nothing was removed")
    done = carry_out(plan, store)
    if not is_learning:  # during a run only the run writes its file, because it needs the snapshots in between
        store.checkpoint(plan.before.hash)
    print(f"{len(done.after)} entries are left\nlibrary  {path}")
    if task is not None and measured is not None and options.tracking.tracking:
        _log(task, store.library, plan, measured, options)
    return done


def _plan(path: Path, library: ExperienceLibrary, options: PruneOptions) -> Plan:
    given = options.pruning
    return prune(
        library,
        _estimates(given.estimates or value_file(path), library) if "value" in given.rules else None,
        min_value=given.min_value,
        confidence=given.confidence,
        stale_after=given.stale_after if "stale" in given.rules else None,
        usage=UsageLog(path).read() if "stale" in given.rules else (),
        redundancy=given.redundancy if "redundant" in given.rules else None,
    )


def _estimates(file: Path, library: ExperienceLibrary) -> dict[str, EntryValue]:
    valuation = read_valuation(file)
    estimates = valuation.still_true(library)
    changed = len(valuation.estimates) - len(estimates)
    if changed:
        print(f"{changed} entries were changed or removed since they were measured: left aside")
    return estimates


def _measure(plan: Plan, task: Task, options: PruneOptions) -> tuple[Comparison, LoadedData]:
    model = roles.actor_model(options, task)
    ledger = roles.ledger(options.budget, {"actor": model})
    given = options.data
    with clusters.executor(options) as executor, dspy.context(lm=model):
        data = sources.examples(task, model, "val", given.data, given.samples, options.actor.seed)
        comparison = compare(
            plan.before,
            plan.after,
            roles.actor(options, task, model),
            sources.measurable(given.overlap, task, data, precedent_problems(plan.before)),
            task.metric,
            measures=task.measures,
            ledger=ledger,
            executor=executor,
            concurrency=options.actor.concurrency,
            progress=not options.quiet,
            allow_overlap=True,  # overlap was handled before
        )
    print_table(evaluation_table({"before": comparison.before, "after": comparison.after}))
    print(f"{comparison.score} {_gain_text(comparison)}")
    roles.print_costs(ledger)
    return comparison, data


def _gain_text(comparison: Comparison) -> str:
    is_share = comparison.score == ACCURACY and comparison.are_shares
    form = "+.1%" if is_share else "+.4g"
    gain, low, high = (format(number, form) for number in comparison.gain)
    return f"{gain} ({low} to {high})"


def _log(
    task: Task, library: ExperienceLibrary, plan: Plan, measured: tuple[Comparison, LoadedData], options: PruneOptions
) -> None:
    """Log the pruned library as a version in MLflow, with the accuracies before and after."""
    comparison, data = measured
    tracker = MLflowTracker(
        options.tracking.experiment or f"flex-{task.name}",
        tracking_uri=options.tracking.tracking_uri,
        registered_name=f"flex-{library.task or task.name}",
    )
    removed = {f"removed_{why}": count for why, count in plan.counts().items()}
    tracker.start({"task": task.name, "pruned_by": ",".join(options.pruning.rules), **removed})
    named = DatasetInfo.of(data.source, data.digest[:16], comparison.before.n, task=task.name).as_validation()
    tracker.log_version(
        Version(library, library.seen, comparison.metrics(), named.name, named.digest, score=comparison.score)
    )
    tracker.finish()
    print(f"MLflow   {tracker.registered_name}@newest")
