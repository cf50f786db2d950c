"""A task ties a problem family together: its signature, metric, loader, views and offline expert.

Example:
    >>> from flex_dspy.tasks.registry import register
    >>> def right(gold, said, trace=None):
    ...     return gold.label == said.label
    >>> reviews = Task("reviews", "text -> label: Literal['good', 'bad']", right)
    >>> data = register(reviews).load("reviews.csv")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import Metric
from flex_dspy.data.custom import by_columns, by_function
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import is_offline
from flex_dspy.offline.experts import BREADTH
from flex_dspy.programs.actor import Access, Actor, Strategy
from flex_dspy.search.retrieval import ExperienceRetriever

if TYPE_CHECKING:
    from flex_dspy.evaluation.evaluate import Measure

# An offline expert can use hundreds of precedents at no cost; for a language model each token costs money.
OFFLINE_RETRIEVAL = BREADTH
SHIPPED_SPLITS: Mapping[str, str] = MappingProxyType({"train": "train", "val": "val", "test": "test"})


@dataclass(frozen=True)
class Task:
    """A problem family. Its name, signature and metric are enough.

    Attributes:
        name: Its name on the command line.
        signature: The actor's inputs and outputs; may be given as text.
        metric: Score and feedback; see ``flex_dspy.core.scoring.score``.
        load: Reads a source. The function takes the source's name and returns examples (or dicts); it may also take
            ``limit`` and ``seed``. The attribute is a wrapper that takes both and returns ``LoadedData``. By default
            sources are files and hub ids whose columns are named like the signature's fields.
        aliases: Other names.
        splits: Default sources of training, validation and test examples. If only ``load`` is given, they are
            ``train``, ``val`` and ``test``.
        offline_splits: Default sources for an offline expert, if they differ.
        views: The retriever's views; see ``flex_dspy.search.views``.
        expert: The task's offline expert, if it has one.
        measures: Additional measures of a prediction.
        normalize: Maps all spellings of an answer to one form, so that the answer can be removed from feedback.
        key: Maps all spellings of a problem to one form, to find the problems that were learned from.
        tools: Tools for an actor that calls tools.
        experience_tools: Further tools, which read the library; an actor without experience does not get them.
        suggest: Factory: ``suggest(n)`` returns a function that formats n candidate answers for a problem; None if
            unsupported.
        threshold: Lowest score that counts as success.
    """

    name: str
    signature: type[dspy.Signature] | str
    metric: Metric
    load: Callable[..., Any] = by_columns
    aliases: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    offline_splits: Mapping[str, str] = field(default_factory=dict)
    views: Sequence[str] = ("lexical",)
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
        signature = _as_signature(self.signature, self.name)
        own = self.load is not by_columns
        object.__setattr__(self, "signature", signature)
        object.__setattr__(self, "load", by_function(self.load, signature) if own else by_columns(signature))
        if own and not self.splits:
            object.__setattr__(self, "splits", SHIPPED_SPLITS)

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
        """An actor for the task that reads ``library``.

        Args:
            library: The experiences; an empty library by default.
            lm: The actor's own model; by default the model in ``dspy.settings``.
            strategy: How it attempts a problem; see ``Actor``.
            experience: How it gets experience; see ``Actor``.
            examples: Worked examples for the ``icl`` strategy.
            candidates: Number of candidate answers to put into the prompt. They are derived from the library.
            **retrieval: Settings of the ``ExperienceRetriever``. By default an offline expert gets more entries.

        Raises:
            ConfigurationError: If ``candidates`` is set for a task that has none, or for an actor without experience.
        """
        if candidates and (self.suggest is None or experience == "none"):
            raise ConfigurationError(f"there are no candidates for the task {self.name} with experience={experience!r}")
        model = lm or dspy.settings.lm
        defaults = OFFLINE_RETRIEVAL if model is not None and is_offline(model) else {}
        library = ExperienceLibrary(task=self.name) if library is None else library
        # Measured: with an embedder, words and embeddings together find most for texts; fingerprints alone find most
        # for the problems that have them.
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


def _as_signature(given: type[dspy.Signature] | str, task: str) -> type[dspy.Signature]:
    try:
        signature = dspy.ensure_signature(given)
    except (TypeError, ValueError, SyntaxError) as error:
        raise ConfigurationError(f"task {task!r}: {given!r} is no signature: {error}") from error
    if not (isinstance(signature, type) and issubclass(signature, dspy.Signature)):
        raise ConfigurationError(f"task {task!r}: {given!r} is no signature")
    return signature
