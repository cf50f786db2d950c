"""Forward learning: the optimizer that fills an experience library.

    trajectories --critic--> lessons --updater--> edits --store--> library --retriever--> actor

Each training example is attempted against a pinned snapshot of the library. Many attempts run at once. Their edits are
committed in the order of the examples. So the library depends on the data, the seed and the models, and not on the
order in which attempts finish. ``flex_dspy.learning.pipeline`` is the engine; ``flex_dspy.learning.attempts`` is the
work of one example.

Source: FLEX, arXiv 2511.06449. Bounded staleness: Ho et al., NeurIPS 2013 (stale synchronous parallel).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import dspy
from dspy.teleprompt import Teleprompter

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.running import run_sync
from flex_dspy.core.scoring import Metric
from flex_dspy.core.settings import accepts
from flex_dspy.evaluation.sampling import Measure
from flex_dspy.learning.events import Listener, StopRule
from flex_dspy.learning.forward_run import ForwardRun, Parts
from flex_dspy.learning.run_folder import RunFolder
from flex_dspy.learning.settings import LearningSettings
from flex_dspy.learning.trackers import Tracker
from flex_dspy.learning.version import Versions
from flex_dspy.libraries.failures import Failure
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import Store
from flex_dspy.models.adapter import lean
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.equip import equip
from flex_dspy.programs.executors import Executor
from flex_dspy.programs.updater import Updater
from flex_dspy.programs.verifier import Verifier
from flex_dspy.search.retrieval import retrievers
from flex_dspy.search.settings import RetrievalSettings


class ForwardLearning(Teleprompter):
    """Learns an experience library for a program: no gradients, no change of weights.

    Args:
        metric: Returns a score, with feedback if possible; see ``flex_dspy.core.scoring.score``.
        settings: The settings; None starts from the defaults.
        library: Where to learn: a store, the path of its file, a ``RunFolder``, or a snapshot to start from in memory.
            None starts in memory from the student's library.
        tracker: Logs every version, with its accuracy; None logs nothing.
        critic: The critic; by default a new ``Critic``.
        updater: The updater; by default a new ``Updater``.
        verifier: The verifier; by default a new ``Verifier``.
        measures: Further measures of validation predictions.
        key: Returns the same value for all ways to write a problem. It finds validation examples that are learned from;
            see ``flex_dspy.evaluation.overlap``.
        ledger: Counts tokens and money by role, and enforces a budget; by default one in memory, without a budget.
        listeners: Called with every event; see ``flex_dspy.learning.events``.
        stop: Rules that end the run early; see ``flex_dspy.learning.stop_rules``.
        executor: Runs the attempts and measures the versions; None does both in this process.
        retrieval: Settings of the retriever for a student without experience; None compares words only.
        **options: Fields of ``LearningSettings`` by name.

    After ``compile``, ``versions`` holds the published versions with their accuracies. ``failures`` holds the examples
    that failed in this call or in an earlier call. ``stopped`` holds the reason of the stop rule that ended the run.

    An example that fails changes nothing in the library. These rules decide when it is attempted again:

    1. A failure is committed only when a later example has succeeded, or a version is due. If ten attempts in a row
       fail because the model does not work, the call ends with ``ModelError``. The next call begins at the first of
       these examples. So an outage of the server does not change one byte of the library.
    2. If a version is due, and the last examples before it failed in an outage, they are attempted once more.
    3. A committed failure is listed in ``failures``, and in ``<library>.failures.jsonl``. The next call with the same
       data and settings attempts these examples again, after the last example and before the last version is published.
       If that version exists already, it is published again. All retries see the library after the last example. Their
       edits are committed in the order of the examples. So a kill at any moment does not change the result. The library
       depends only on the data, the seed, the models, and on which examples failed when.

    Example:
        >>> optimizer = ForwardLearning(metric, library="chemist.json")  # doctest: +SKIP
        >>> learned = optimizer.compile(actor, trainset=train, valset=val)  # doctest: +SKIP
    """

    @accepts(LearningSettings)
    def __init__(
        self,
        metric: Metric,
        *,
        settings: LearningSettings | None = None,
        library: Store | RunFolder | ExperienceLibrary | str | Path | None = None,
        tracker: Tracker | None = None,
        critic: Critic | None = None,
        updater: Updater | None = None,
        verifier: Verifier | None = None,
        measures: Mapping[str, Measure] | None = None,
        key: Callable[[str], str | None] | None = None,
        ledger: Ledger | None = None,
        listeners: Sequence[Listener] = (),
        stop: Sequence[StopRule] = (),
        executor: Executor | None = None,
        retrieval: RetrievalSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.settings = LearningSettings.resolve(settings, options)
        threshold = self.settings.threshold
        if verifier is not None and threshold is not None:
            raise ConfigurationError("give the threshold to the verifier: Verifier(threshold=...)")
        self.metric = metric
        self.library = library
        self.tracker = tracker
        self.critic = critic or Critic()
        self.updater = updater or Updater()
        self.verifier = verifier or Verifier(1.0 if threshold is None else threshold)
        self.measures = dict(measures or {})
        self.key = key
        self.ledger = ledger or Ledger()
        self.listeners = _functions(listeners, "listeners")
        self.stop = _functions(stop, "stop")
        self.executor = executor
        self.retrieval = retrieval
        self.versions = Versions()
        self.failures: list[Failure] = []
        self.stopped = ""

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: list[dspy.Example],
        teacher: dspy.Module | None = None,
        valset: list[dspy.Example] | None = None,
        **kwargs: Any,
    ) -> dspy.Module:
        """Learn a library, and return a copy of the student that reads it.

        An interrupted run continues at the same place, if the library's file, the data and the settings are the same.

        Args:
            student: Any program. ``equip`` gives experience to a program that, unlike ``Actor``, has none yet.
            trainset: Examples, with reference answers unless the settings allow examples without them.
            teacher: Makes the attempts instead of the student. The student gets the library and is measured with it.
            valset: Examples on which every version is measured. Examples that are also in the training set are left
                out, unless the settings allow them. None measures nothing.
            **kwargs: Not supported.

        Returns:
            A copy of the student that reads the learned library.

        Raises:
            ConfigurationError: If the student holds no predictor, the training set is empty, or an argument has the
                wrong type.
            ModelError: If all examples fail, or the model stops working during the run. The same call continues the
                run.
            BudgetError: If the ledger's budget is spent. The learned lessons are kept, and the same call continues the
                run with a larger budget.
            LibraryError: If the library's file cannot be used.
            RunError: If the run folder holds another run.
        """
        if kwargs:
            raise ConfigurationError(f"compile() does not take {', '.join(sorted(kwargs))}")
        if not trainset:
            raise ConfigurationError("the training set is empty")
        _check_kinds([student], dspy.Module, "the student")
        _check_kinds([] if teacher is None else [teacher], dspy.Module, "the teacher")
        _check_kinds(trainset, dspy.Example, "a training example")
        _check_kinds(valset or [], dspy.Example, "a validation example")
        student = with_experience(student, self.retrieval, self.settings.scope)
        actor = student if teacher is None else with_experience(teacher, self.retrieval, self.settings.scope)
        parts = self._parts()
        run = ForwardRun(parts, student, actor, trainset, valset or [])
        self.ledger = parts.ledger
        self.failures = run.failures.log.standing
        with lean():
            library = run_sync(run.learn())
        self.versions, self.stopped = run.log.records, run.listeners.reason
        learned = student.deepcopy()
        for retriever in retrievers(learned):
            retriever.library = library
        # Not marked as compiled, because this mark would freeze the prompts, which learning has not changed.
        return learned

    def run_id(self, actor: dspy.Module, trainset: Sequence[dspy.Example]) -> str:
        """Short hash of exactly the settings that affect the learned library: 12 hexadecimal digits.

        Two runs with the same id and the same start learn the same library if their models are deterministic.

        Args:
            actor: The program that makes the attempts.
            trainset: The training examples.
        """
        return self._parts().run_id(actor, trainset)

    def _parts(self) -> Parts:
        return Parts(**{field.name: getattr(self, field.name) for field in fields(Parts)})


def _functions(values: Any, name: str) -> list[Any]:
    """Return a list of functions from one function or a sequence of functions.

    Raises:
        ConfigurationError: If an element is not callable.
    """
    found = [values] if callable(values) or not isinstance(values, Iterable) else list(values)
    for each in found:
        if not callable(each):
            raise ConfigurationError(f"{name} takes functions of an event, got {type(each).__name__}")
    return found


def _check_kinds(values: Iterable[object], kind: type, name: str) -> None:
    """Refuse values of the wrong type here, because a later error would be less clear."""
    for each in values:
        if not isinstance(each, kind):
            raise ConfigurationError(f"{name} must be a dspy.{kind.__name__}, got {type(each).__name__}")


def with_experience(program: dspy.Module, settings: RetrievalSettings | None = None, scope: str = "") -> dspy.Module:
    """The program itself if it has experience, else a copy with experience.

    Args:
        program: The program.
        settings: The settings of the copy's retriever.
        scope: The scope that the program must read; "" for none.

    Raises:
        ConfigurationError: If the program has experience but does not read the scope.
    """
    if not (own := retrievers(program)):
        scopes = (*(settings.scopes if settings else ()), *((scope,) if scope else ()))
        return equip(program, settings=settings, scopes=scopes) if scopes else equip(program, settings=settings)
    if scope and not any(scope in retriever.scopes for retriever in own):
        raise ConfigurationError(f"the program does not read the scope {scope!r}: equip(..., scopes=({scope!r},))")
    return program
