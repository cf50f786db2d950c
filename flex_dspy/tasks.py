"""Tasks: what ties a problem family together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

from flex_dspy.data import aime as aime_data
from flex_dspy.data import gsm8k as gsm8k_data
from flex_dspy.data import uspto50k as uspto50k_data
from flex_dspy.data.loading import LoadedData
from flex_dspy.errors import ConfigurationError
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.measuring.evaluation import Measure
from flex_dspy.measuring.overlap import canonical_text, normalized_text
from flex_dspy.metrics.aime import aime, integer_answer
from flex_dspy.metrics.gsm8k import gsm8k
from flex_dspy.metrics.uspto50k import maxfrag, rank_of_reference, uspto50k
from flex_dspy.models.lm import is_offline
from flex_dspy.molecules import canonical_smiles
from flex_dspy.programs.actor import Access, Actor, Strategy
from flex_dspy.scoring import Metric
from flex_dspy.search.disconnections import BREADTH, DisconnectionTool, suggested
from flex_dspy.search.retrieval import ExperienceRetriever, View
from flex_dspy.signatures.actor import Retrosynthesis, SolveCompetitionProblem, SolveWordProblem
from flex_dspy.tools import calculate, check_molecule

# An offline expert weighs hundreds of precedents at no cost; a language model pays for each token.
OFFLINE_RETRIEVAL = BREADTH


@dataclass(frozen=True)
class Task:
    """A problem family.

    Attributes:
        name: Its name on the command line.
        signature: What the actor is given, and what it must answer.
        metric: Score and feedback.
        load: Reads examples from a split's name, a file or a hub id.
        aliases: Other names.
        splits: Default sources of training, validation and test examples.
        offline_splits: The same for an offline expert, where they are others.
        views: The retriever's views.
        expert: Its offline expert, if it has one.
        measures: Further measures of a prediction.
        normalize: One form for all ways of writing an answer, to keep it out of feedback.
        key: One form for all ways of writing a problem, to find those that were learned from.
        tools: What an actor that calls tools is given.
        experience_tools: What it is given besides, unless it is to have no experience: tools that read the library.
        suggest: Makes what writes a number of candidate answers into the prompt, where the task has such a thing.
    """

    name: str
    signature: type[dspy.Signature]
    metric: Metric
    load: Callable[..., LoadedData]
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


_SHIPPED = {"train": "train", "val": "val", "test": "test"}

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
    key=canonical_text,
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
    key=normalized_text,
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
    key=normalized_text,
    tools=(calculate,),
)

TASKS = {name: task for task in (USPTO50K, AIME, GSM8K) for name in (task.name, *task.aliases)}


def get_task(name: str) -> Task:
    """The task with this name or alias.

    Raises:
        ConfigurationError: If there is none.
    """
    if name not in TASKS:
        raise ConfigurationError(f"there is no task {name!r}; tasks are {', '.join(TASKS)}")
    return TASKS[name]
