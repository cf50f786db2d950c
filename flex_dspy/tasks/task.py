"""Tasks: what ties a problem family together.

Example:
    >>> def right(gold, said, trace=None):
    ...     return gold.label == said.label
    >>> reviews = Task("reviews", "text -> label: Literal['good', 'bad']", right)
    >>> data = register(reviews).load("reviews.csv")  # doctest: +SKIP
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError, FlexError
from flex_dspy.core.scoring import Metric
from flex_dspy.data import aime as aime_data
from flex_dspy.data import gsm8k as gsm8k_data
from flex_dspy.data import proteingym as proteingym_data
from flex_dspy.data import uspto50k as uspto50k_data
from flex_dspy.data.custom import by_columns, by_function
from flex_dspy.evaluation.evaluate import Measure
from flex_dspy.evaluation.overlap import FastKey
from flex_dspy.evaluation.problem_text import TEXT_KEY
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.aime import aime, integer_answer
from flex_dspy.metrics.formula import canonical
from flex_dspy.metrics.gsm8k import gsm8k
from flex_dspy.metrics.molecules import canonical_smiles, smiles_sketch
from flex_dspy.metrics.proteingym import held_out, proteingym
from flex_dspy.metrics.uspto50k import maxfrag, rank_of_reference, uspto50k
from flex_dspy.models.lm import is_offline
from flex_dspy.offline.disconnections import BREADTH, DisconnectionTool, suggested
from flex_dspy.programs.actor import Access, Actor, Strategy
from flex_dspy.programs.tools import calculate, check_molecule
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.settings import View
from flex_dspy.signatures.actor import PredictFitness, Retrosynthesis, SolveCompetitionProblem, SolveWordProblem
from flex_dspy.tasks import names as task_names

logger = logging.getLogger(__name__)

# An offline expert weighs hundreds of precedents at no cost; a language model pays for each token.
OFFLINE_RETRIEVAL = BREADTH
_SHIPPED = {"train": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Task:
    """A problem family. Its name, signature and metric are enough.

    Attributes:
        name: Its name on the command line.
        signature: What the actor is given, and what it must answer; may be given as text.
        metric: Score and feedback; see ``flex_dspy.core.scoring.score``.
        load: Reads a source: takes its name, returns examples (or dicts), and may take ``limit`` and ``seed``. It is
            made to take both, and to return ``LoadedData``. By default sources are files and hub ids, with columns
            named as the signature's fields.
        aliases: Other names.
        splits: Default sources of training, validation and test examples; where only ``load`` is given, the names
            ``train``, ``val`` and ``test``.
        offline_splits: The same for an offline expert, where they are others.
        views: The retriever's views.
        expert: Its offline expert, if it has one.
        measures: Further measures of a prediction.
        normalize: One form for all ways of writing an answer, to keep it out of feedback.
        key: One form for all ways of writing a problem, to find those that were learned from.
        tools: What an actor that calls tools is given.
        experience_tools: What it is given besides, unless it is to have no experience: tools that read the library.
        suggest: Makes what writes a number of candidate answers into the prompt, where the task has such a thing.
        threshold: Least score that counts as success.
    """

    name: str
    signature: type[dspy.Signature] | str
    metric: Metric
    load: Callable[..., Any] = by_columns
    aliases: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    offline_splits: Mapping[str, str] = field(default_factory=dict)
    views: Sequence[View] = ("lexical",)
    expert: str | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    normalize: Callable[[str], str | None] | None = None
    key: Callable[[str], str | None] | None = None
    tools: Sequence[Callable[..., Any]] = ()
    experience_tools: Sequence[dspy.Tool] = ()
    suggest: Callable[[int], Callable[[str], str]] | None = None
    threshold: float = 1.0

    def __post_init__(self) -> None:
        if not self.name or any(letter in self.name for letter in ": /\\"):
            raise ConfigurationError(f"a task's name stands on the command line and names folders, got {self.name!r}")
        if not callable(self.metric) or not callable(self.load):
            raise ConfigurationError(f"task {self.name!r}: metric and load must be functions")
        signature = _signature(self.signature, self.name)
        own = self.load is not by_columns
        object.__setattr__(self, "signature", signature)
        object.__setattr__(self, "load", by_function(self.load, signature) if own else by_columns(signature))
        if own and not self.splits:
            object.__setattr__(self, "splits", _SHIPPED)

    def actor(
        self,
        library: ExperienceLibrary | None = None,
        *,
        lm: dspy.LM | None = None,
        strategy: Strategy = "cot",
        experience: Access = "prefetch",
        examples: Sequence[dspy.Example] = (),
        candidates: int = 0,
        **retrieval: Any,
    ) -> Actor:
        """An actor for the task, reading this library.

        Args:
            library: The experiences; none by default.
            lm: The actor's own model; by default it asks the one in ``dspy.settings``.
            strategy: How it attempts a problem; see ``Actor``.
            experience: How it comes by experience; see ``Actor``.
            examples: Worked examples for the ``icl`` strategy.
            candidates: Put so many candidate answers, worked out from the library, into the prompt.
            **retrieval: Settings of the ``ExperienceRetriever``; an offline expert is shown more by default.

        Raises:
            ConfigurationError: If candidates are asked for where there are none, or without experience.
        """
        if candidates and (self.suggest is None or experience == "none"):
            raise ConfigurationError(f"there are no candidates for the task {self.name} with experience={experience!r}")
        model = lm or dspy.settings.lm
        defaults = OFFLINE_RETRIEVAL if model is not None and is_offline(model) else {}
        library = ExperienceLibrary(task=self.name) if library is None else library
        # Measured: with an embedder the two views together find most for texts, and the structural one for molecules.
        dense = retrieval.get("embedder") is not None and "lexical" in self.views
        views = [*self.views, "dense"] if dense else self.views
        retriever = ExperienceRetriever(library, **{"views": views, **defaults, **retrieval})
        actor = Actor(
            self.signature,
            retriever,
            strategy=strategy,
            experience=experience,
            tools=self.tools if experience == "none" else [*self.tools, *self.experience_tools],
            examples=examples,
            suggest=self.suggest(candidates) if self.suggest is not None and candidates else None,
        )
        if lm is not None:
            actor.set_lm(lm)
        return actor


def _signature(given: type[dspy.Signature] | str, task: str) -> type[dspy.Signature]:
    try:
        signature = dspy.ensure_signature(given)
    except (TypeError, ValueError, SyntaxError) as error:
        raise ConfigurationError(f"task {task!r}: {given!r} is no signature: {error}") from error
    if not (isinstance(signature, type) and issubclass(signature, dspy.Signature)):
        raise ConfigurationError(f"task {task!r}: {given!r} is no signature")
    return signature


def _within(k: int) -> Measure:
    def measure(example: dspy.Example, prediction: dspy.Prediction) -> float:
        answers = [prediction.reactants, *(prediction.get("alternatives") or [])][:k]
        return float(rank_of_reference(example, answers) is not None)

    return measure


def _maxfrag(example: dspy.Example, prediction: dspy.Prediction) -> float:
    return float(maxfrag(example, prediction).score)


def _integer(text: str) -> str | None:
    value = integer_answer(text)
    return None if value is None else str(value)


MOLECULE_KEY = FastKey(canonical_smiles, smiles_sketch)

USPTO50K = Task(
    name="uspto50k",
    aliases=("retro", "uspto"),
    signature=Retrosynthesis,
    metric=uspto50k,
    load=uspto50k_data.load,
    splits=_SHIPPED,
    views=("structural",),
    expert="chemist",
    measures={**{f"top_{k}": _within(k) for k in (1, 3, 5, 10)}, "maxfrag": _maxfrag},
    normalize=canonical_smiles,
    key=MOLECULE_KEY,
    tools=(check_molecule,),
    experience_tools=(DisconnectionTool(),),
    suggest=suggested,
)

AIME = Task(
    name="aime",
    aliases=("math",),
    signature=SolveCompetitionProblem,
    metric=aime,
    load=aime_data.load,
    splits={
        "train": "aime-1983-2023",
        "val": "HuggingFaceH4/aime_2024@train",
        "test": "math-ai/aime25@test",
    },
    offline_splits=_SHIPPED,
    expert="mathematician",
    normalize=_integer,
    key=TEXT_KEY,
    tools=(calculate,),
)

GSM8K = Task(
    name="gsm8k",
    signature=SolveWordProblem,
    metric=gsm8k,
    load=gsm8k_data.load,
    splits={
        "train": "openai/gsm8k:main@train[:90%]",
        "val": "openai/gsm8k:main@train[90%:]",
        "test": "openai/gsm8k:main@test",
    },
    normalize=_integer,
    key=TEXT_KEY,
    tools=(calculate,),
)

PROTEINGYM = Task(
    name="proteingym",
    aliases=("fitness",),
    signature=PredictFitness,
    metric=proteingym,
    load=proteingym_data.load,
    splits=_SHIPPED,
    expert="biologist",
    measures={"held_out": held_out},
    normalize=canonical,
)

TASKS = task_names.REGISTERED


def register(task: Task, *, replace: bool = False) -> Task:
    """Make a task known by its name and aliases, to ``get_task`` and to commands that run in this process.

    Args:
        task: The task.
        replace: Take the place of tasks that have one of these names, as when a notebook's cell runs again.

    Returns:
        The task.

    Raises:
        ConfigurationError: If another task has one of its names, or it is no task.
    """
    if not isinstance(task, Task):
        raise ConfigurationError(f"register takes a flex_dspy.Task, got {type(task).__name__}")
    names = (task.name, *task.aliases)
    taken = {name: TASKS[name] for name in names if name in TASKS and TASKS[name] is not task}
    if taken and not replace:
        name, other = next(iter(taken.items()))
        raise ConfigurationError(f"there is a task {name!r} already: choose another name, or say replace=True")
    for other in taken.values():
        for name in (other.name, *other.aliases):
            TASKS.pop(name, None)
    TASKS.update(dict.fromkeys(names, task))
    return task


def get_task(name: str) -> Task:
    """The task with this name or alias: built in, registered, or brought by an installed package.

    Args:
        name: Or ``package.module:attribute``, for a ``Task`` or a function that gives one. The module may lie in the
            current folder.

    Raises:
        ConfigurationError: If there is none, it cannot be imported, or two packages have one of this name.
    """
    if ":" in name:
        return _task(task_names.imported(name), repr(name))
    points = task_names.installed()
    if name in TASKS:
        for point in points.get(name, ()) if name in task_names.BUILT_IN else ():
            logger.warning("%s is left out: a built-in task has this name", task_names.described(point))
        return TASKS[name]
    if name in points:
        return _installed(name, points[name])
    _register_all(points)  # one of them may have it for an alias
    if name not in TASKS:
        raise ConfigurationError(task_names.unknown(name))
    return TASKS[name]


def _installed(name: str, points: Sequence[EntryPoint]) -> Task:
    if len(points) > 1:
        listed = " and ".join(task_names.described(point) for point in points)
        raise ConfigurationError(f"two packages bring a task {name!r}: {listed}; name one as module:attribute")
    (point,) = points
    task = _task(task_names.loaded(point), task_names.described(point))
    if task.name != name:
        raise ConfigurationError(
            f"{task_names.described(point)} calls itself {task.name!r}: the names must be the same"
        )
    return register(task)


def _register_all(points: Mapping[str, Sequence[EntryPoint]]) -> None:
    """Register what installed packages bring; what is broken is said and left out."""
    for name, found in points.items():
        if name not in TASKS:
            try:
                _installed(name, found)
            except ConfigurationError as error:
                logger.warning("left out: %s", error)


def _task(found: Any, where: str) -> Task:
    """A task, or what a function gives for one."""
    if not isinstance(found, Task) and callable(found):
        try:
            found = found()
        except FlexError:
            raise
        except Exception as error:  # whatever that function does
            raise ConfigurationError(f"{where} gives no task: {type(error).__name__}: {error}") from error
    if not isinstance(found, Task):
        raise ConfigurationError(f"{where} is no flex_dspy.Task, but {type(found).__name__}")
    return found


for _built_in in (USPTO50K, AIME, GSM8K, PROTEINGYM):
    register(_built_in, replace=True)
