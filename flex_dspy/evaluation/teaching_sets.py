"""Training sets for the critic, the updater and the verifier: examples with the inputs of forward learning.

The critic's examples cost one pass of rejection sampling. The other sets need no attempts. ``save_examples`` stores
examples in a file.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dspy
from pydantic import TypeAdapter
from tqdm.auto import tqdm

from flex_dspy.core.errors import DataError, ModelError
from flex_dspy.core.examples import example_id, problem_of, reference_of
from flex_dspy.core.running import call, raise_if_systemic, run_sync
from flex_dspy.core.scoring import Metric
from flex_dspy.core.secrets import error_text
from flex_dspy.core.settings import accepts
from flex_dspy.core.trajectory import Feedback, Trajectory
from flex_dspy.evaluation.concurrent_calls import gather_calls
from flex_dspy.evaluation.settings import RolloutSettings
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.models.adapter import lean
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.lesson_writer import NEAREST
from flex_dspy.programs.rejection_sampling import RejectionSampling
from flex_dspy.search.nearest import nearest_lessons
from flex_dspy.search.reading import pinned
from flex_dspy.search.retrieval import retrievers

logger = logging.getLogger(__name__)

T = TypeVar("T")

_KINDS: Mapping[str, TypeAdapter[Any]] = {
    "precedent": TypeAdapter(Precedent),
    "trajectory": TypeAdapter(Trajectory | None),
    "lesson": TypeAdapter(Experience),
    "nearest": TypeAdapter(list[Experience]),
    "measured": TypeAdapter(Feedback | None),
}
_CRITIC, _UPDATER = ("precedent", "trajectory"), ("lesson", "nearest")
_VERIFIER = ("problem", "attempt", "measured", "reference")


@accepts(RolloutSettings)
def critic_examples(
    actor: dspy.Module,
    trainset: Sequence[dspy.Example],
    metric: Metric,
    *,
    library: ExperienceLibrary | None = None,
    ledger: Ledger | None = None,
    settings: RolloutSettings | None = None,
    **options: Any,
) -> list[dspy.Example]:
    """Make the critic's examples from rollouts of a training set, with the inputs ``precedent`` and ``trajectory``.

    Args:
        actor: The program that makes the attempts; see ``RejectionSampling``.
        trainset: Examples of the task, with reference answers.
        metric: The task's metric.
        library: The snapshot that the attempts see; None keeps the actor's own library.
        ledger: Tokens are charged to it, in the roles ``actor`` and ``verifier``.
        settings: How to make rollouts.
        **options: Fields of ``RolloutSettings`` to change, such as ``max_rounds``.

    Raises:
        ModelError: If no rollout finished.
        BudgetError: If the ledger's budget is spent.
    """
    settings = RolloutSettings.resolve(settings, options)
    own = retrievers(actor)
    snapshot = (own[0].library if own else ExperienceLibrary()) if library is None else library
    rounds, rollouts = settings.max_rounds, settings.max_rollouts
    sampling = RejectionSampling(actor, metric=metric, max_rounds=rounds, max_rollouts=rollouts)
    ledger = ledger or Ledger()

    async def roll_out(example: dspy.Example) -> list[dspy.Example]:
        with pinned(snapshot, problem=problem_of(example)), ledger.role("actor"):
            return _trajectory_examples(example, await sampling.acall(example=example))

    calls = [functools.partial(roll_out, example) for example in trainset]
    with tqdm(total=len(trainset), desc="attempting", unit="ex", disable=not settings.progress, leave=False) as bar:
        groups = _run_tolerantly(calls, "an example was passed over: %s", settings.concurrency, bar)
    examples = [example for group in groups for example in group]
    if not examples:
        raise ModelError(f"none of {len(trainset)} problems gave a rollout that finished")
    return examples


def _run_tolerantly(
    calls: Sequence[Callable[[], Awaitable[T]]], warning: str, concurrency: int, bar: tqdm[Any] | None = None
) -> list[T]:
    """Make calls and return the results of the successful ones, in order. A failed call gives only a warning.

    Raises:
        FlexError: If an error would make every other call fail too.
    """

    async def attempt(call: Callable[[], Awaitable[T]]) -> list[T]:
        try:
            result = [await call()]
        except Exception as error:
            raise_if_systemic(error)
            logger.warning(warning, error_text(error))
            return []
        if bar is not None:
            bar.update()
        return result

    attempts = [functools.partial(attempt, call) for call in calls]
    with lean():
        results = run_sync(gather_calls(attempts, asyncio.Semaphore(concurrency)))
    return [value for result in results for value in result]


def _trajectory_examples(example: dspy.Example, found: dspy.Prediction) -> list[dspy.Example]:
    """One example for each trajectory without an error."""
    trajectories = [trajectory for trajectory in found.trajectories if not trajectory.error]
    outputs = [name for trajectory in trajectories for round_ in trajectory.rounds for name in round_.outputs]
    answer = reference_of(example, dict.fromkeys(outputs)) or found.answer
    precedent = Precedent(example_id(example), problem_of(example), answer)
    return [
        dspy.Example(precedent=precedent, trajectory=trajectory).with_inputs(*_CRITIC) for trajectory in trajectories
    ]


def updater_examples(
    examples: Sequence[dspy.Example],
    library: ExperienceLibrary,
    critic: Critic | None = None,
    *,
    concurrency: int = 16,
    ledger: Ledger | None = None,
) -> list[dspy.Example]:
    """Make the updater's examples from a critic's lessons, with the inputs ``lesson`` and ``nearest``.

    A lesson without a similar entry in the library is left out, because the updater calls no model for it.

    Args:
        examples: The critic's examples, see ``critic_examples``. Each takes one call of the critic.
        library: The lessons are compared with its entries. ``EditMetric`` must get the same library.
        critic: Writes the lessons; by default a new ``Critic``.
        concurrency: Most calls under way at once.
        ledger: Tokens are charged to it, in the role ``critic``.

    Raises:
        BudgetError: If the ledger's budget is spent.
    """
    writer, charged = critic or Critic(), ledger or Ledger()

    async def write_lesson(example: dspy.Example) -> Experience | None:
        with charged.role("critic"):
            return (await call(writer, **example.inputs())).experience

    calls = [functools.partial(write_lesson, example) for example in examples]
    lessons = _run_tolerantly(calls, "a rollout was passed over: %s", concurrency)
    pairs = [(lesson, nearest_lessons(library, lesson, NEAREST)) for lesson in lessons if lesson is not None]
    return [dspy.Example(lesson=lesson, nearest=near).with_inputs(*_UPDATER) for lesson, near in pairs if near]


def verifier_examples(examples: Sequence[dspy.Example], *, measured: bool = False) -> list[dspy.Example]:
    """Make the verifier's examples from the attempts that the task's metric judged.

    Their inputs are ``problem``, ``attempt``, ``measured`` and ``reference``. Their labels are ``verdict`` (the
    metric's verdict) and ``answer`` (the reference answer).

    Args:
        examples: The critic's examples, see ``critic_examples``.
        measured: If False, the verifier judges without the metric's verdict and the reference answer. If True, it gets
            both and explains them; then only the rejected attempts are used, because only they need a model's call.
    """
    found: list[dspy.Example] = []
    for example in examples:
        rounds = example.trajectory.rounds if example.trajectory else ()
        for round_ in rounds:
            if round_.score is None or (measured and round_.accepted):
                continue
            given = dspy.Example(
                problem=example.precedent.problem,
                attempt="\n".join(f"{name}: {value}" for name, value in round_.outputs.items()),
                measured=Feedback(round_.score) if measured else None,
                reference=example.precedent.answer if measured else "",
                verdict=round_.accepted,
                answer=example.precedent.answer,
            )
            found.append(given.with_inputs(*_VERIFIER))
    return found


def save_examples(examples: Sequence[dspy.Example], path: str | Path) -> None:
    """Write a role's examples into a file, one JSON object on each line.

    Args:
        examples: Examples of one role.
        path: The file. An existing file is replaced.
    """
    lines = [json.dumps({name: _to_json(name, value) for name, value in example.items()}) for example in examples]
    write_atomically(Path(path), "".join(f"{line}\n" for line in lines))


def load_examples(path: str | Path) -> list[dspy.Example]:
    """Read the file that ``save_examples`` wrote.

    Raises:
        DataError: If a line is not an example that ``save_examples`` wrote.
    """
    examples: list[dspy.Example] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            fields = {name: _from_json(name, value) for name, value in json.loads(line).items()}
            inputs = next(kind for kind in (_CRITIC, _UPDATER, _VERIFIER) if set(kind) <= fields.keys())
        except (ValueError, AttributeError, StopIteration) as error:
            raise DataError(f"{path}: line {number} is no example of a role") from error
        examples.append(dspy.Example(**fields).with_inputs(*inputs))
    return examples


def _to_json(name: str, value: Any) -> Any:
    return _KINDS[name].dump_python(value, mode="json", fallback=str) if name in _KINDS else value


def _from_json(name: str, value: Any) -> Any:
    return _KINDS[name].validate_python(value) if name in _KINDS else value
