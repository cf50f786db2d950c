"""``flex-dspy learn --traces`` and ``--requests``: learns from rated past answers of a program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import dspy

from flex_dspy.commands.actions import clusters, roles
from flex_dspy.commands.actions.learn import flat
from flex_dspy.commands.actions.trackers import make_tracker
from flex_dspy.commands.arguments import read_scale
from flex_dspy.commands.options.learn import LearnOptions
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.trajectory import RELIED_ON
from flex_dspy.data.loading import content_id
from flex_dspy.learning.rated_files import RatedFile
from flex_dspy.learning.rated_requests import RatedRequest, RatedRequests
from flex_dspy.learning.run_folder import RunFolder
from flex_dspy.learning.trace_learner import TraceLearner
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.registry import read_library
from flex_dspy.tracking.traces import traces

_UNUSED = {"train": "data", "val": "data", "study": "learning", "dry_run": "run"}


def run(task_name: str | None, options: LearnOptions) -> None:
    """Learn from rated requests.

    Raises:
        ConfigurationError: If an option is only for learning from examples, or there is no request to infer the task.
    """
    _refuse_options(options)
    requests = _requests(options)
    task = get_task(task_name) if task_name else _task_of(requests)
    lms = roles.models(options.models, options.teachers, task=task)
    roles.check_keys(lms)
    with dspy.context(lm=lms["actor"]), clusters.executor(options) as executor:
        folder, store = _open(options, task, requests, named=task_name)
        learner = _learner(options, task, lms, folder, store)
        learner.executor = executor or learner.executor
        before = learner.library
        print(f"{task.name}: learning from {requests.name} with {lms['critic'].model}")
        try:
            learner.learn(requests, poll_seconds=options.requests.poll_seconds if options.requests.follow else None)
        finally:
            roles.print_costs(learner.ledger)
            _print(learner, before.seen, folder)


def _refuse_options(options: LearnOptions) -> None:
    given = options.requests
    if given.traces is not None and given.requests is not None:
        raise ConfigurationError("--traces and --requests exclude each other: give one of them")
    for name, group in _UNUSED.items():
        if getattr(getattr(options, group), name):
            option = name.replace("_", "-")
            raise ConfigurationError(f"--{option} belongs to learning from examples: leave it out with rated requests")


def _requests(options: LearnOptions) -> RatedRequests:
    given = options.requests
    scale = read_scale(given.scale) if given.scale else None
    if given.requests is not None:
        return RatedFile(given.requests, scale)
    uri = options.tracking.tracking_uri
    return traces(given.traces or "", given.filter, assessment=given.assessment, scale=scale, tracking_uri=uri)


def _task_of(requests: RatedRequests) -> Task:
    """Task with the fields of the first request."""
    first = next((some[0] for some in requests.look(frozenset()) if some), None)
    if first is None:
        raise ConfigurationError(f"{requests.name} holds no rated request yet: name a task to wait for one")
    name = re.sub(r"[\s:/\\]+", "-", requests.name.partition(":")[2])
    return Task(name or "requests", _signature_of(first), lambda example, prediction, trace=None: 0.0)


def _signature_of(request: RatedRequest) -> type[dspy.Signature]:
    """Signature with the fields of a request, as text."""
    outputs = [name for name in request.outputs if name != RELIED_ON]
    sides = [", ".join(re.sub(r"\W", "_", name) for name in names) for names in (request.inputs, outputs)]
    return cast(type[dspy.Signature], dspy.Signature(" -> ".join(sides)))


def _open(
    options: LearnOptions, task: Task, requests: RatedRequests, *, named: str | None
) -> tuple[RunFolder, LibraryStore]:
    """Open the run's folder and its library, and write the options and, if the user named it, the task."""
    place = options.run
    start = read_library(place.start_from, options.tracking.tracking_uri) if place.start_from else None
    run_id = content_id("requests", task.name, requests.name, start.hash if start else "")
    folder = RunFolder(place.out or Path("exps") / f"{task.name}-{run_id}", place.library)
    store = folder.open(run_id, task=task.name, start_from=start, resume=place.resume, fresh=place.fresh)
    folder.write_note(run_id, {**({"task": named} if named else {}), **flat(options)})
    return folder, store


def _learner(
    options: LearnOptions, task: Task, lms: Mapping[str, dspy.LM], folder: RunFolder, store: LibraryStore
) -> TraceLearner:
    given = options.learning
    teachers: dict[str, Any] = dict(roles.teachers(options, task, lms))
    return TraceLearner(
        roles.actor(options, task, lms["actor"]),
        library=store,
        tracker=make_tracker(options, task.name, folder),
        ledger=folder.ledger(roles.ledger(options.budget, lms)),
        threshold=task.threshold,
        concurrency=options.actor.concurrency,
        window=given.window,
        publish_every=given.checkpoint_every,
        lessons_from=given.lessons_from,
        review=given.review,
        scope=given.write_scope,
        **teachers,
    )


def _print(learner: TraceLearner, seen_before: int, folder: RunFolder) -> None:
    library = learner.library
    print(f"\nlearned from {library.seen - seen_before} requests; {len(library)} entries")
    if library.waiting:
        print(f"waiting for approval: {len(library.waiting)} (flex-dspy library review {folder.library})")
    if learner.failures:
        last = learner.failures[-1]
        print(f"gave nothing: {len(learner.failures)}; the last, {last.example_id}: {last.error[:200]}")
    print(f"library  {folder.library}")
    print(f"again    flex-dspy learn --config {folder.configuration}")
