"""Bringing fitting experiences to the actor: a DSPy retriever over an experience library."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import dspy

from flex_dspy.errors import ConfigurationError
from flex_dspy.experience import Experience, Precedent
from flex_dspy.indexes import LexicalIndex, Match, ProblemIndex, RuleIndex, StructuralIndex, index_of
from flex_dspy.library import ExperienceLibrary
from flex_dspy.rendering import Hit, arrange, block

View = Literal["structural", "lexical"]
# Cormack, Clarke and Buettcher, SIGIR 2009: the constant of reciprocal rank fusion.
RRF = 60


@dataclass
class Reading:
    """What one run of a program reads: the snapshot it is pinned to, and the entries it was shown."""

    library: ExperienceLibrary
    shown: list[str] = field(default_factory=list)


_READING: ContextVar[Reading | None] = ContextVar("flex_dspy_reading", default=None)


@contextlib.contextmanager
def pinned(library: ExperienceLibrary) -> Iterator[Reading]:
    """Within this block every retriever reads this snapshot, and what it shows is recorded.

    Example:
        >>> from flex_dspy import ExperienceLibrary
        >>> with pinned(ExperienceLibrary()) as reading:
        ...     pass  # call a program here
        >>> reading.shown
        []
    """
    reading = Reading(library)
    token = _READING.set(reading)
    try:
        yield reading
    finally:
        _READING.reset(token)


class ExperienceRetriever(dspy.Retrieve):
    """Finds the experiences that fit a problem, and writes them for the prompt.

    Each view ranks entries on its own; reciprocal rank fusion makes one ranking of them, weighted by the entry's
    zone (golden 1.0, mixed 0.9, warning 0.8, as in the FLEX release).

    Args:
        library: The snapshot to read when none is pinned.
        k: Most entries to bring.
        views: ``structural`` compares molecules, ``lexical`` compares texts.
        depth: How many precedents (structural) or entries (lexical) each view looks at.
        token_budget: Most tokens that the rendered block may take.
        exclude_self: Leave out solved cases of the very problem that is asked, and entries that rest on them
            alone, so that no example is answered from its own solution. Switch it off in deployment, where a
            known answer is welcome.

    Raises:
        ConfigurationError: If a view is unknown, or a number is not positive.
    """

    ZONE_WEIGHT = {"golden": 1.0, "mixed": 0.9, "warning": 0.8}  # noqa: RUF012

    def __init__(
        self,
        library: ExperienceLibrary | None = None,
        *,
        k: int = 8,
        views: Sequence[View] = ("structural", "lexical"),
        depth: int = 50,
        token_budget: int = 4_000,
        exclude_self: bool = True,
    ) -> None:
        super().__init__(k=k)
        # An empty library is false, and yet may be the first snapshot of a task.
        self._library = ExperienceLibrary() if library is None else library
        self._set(k=k, views=views, depth=depth, token_budget=token_budget, exclude_self=exclude_self)

    def _set(self, *, k: int, views: Sequence[View], depth: int, token_budget: int, exclude_self: bool) -> None:
        if isinstance(views, str) or not views or set(views) - {"structural", "lexical"}:
            raise ConfigurationError(f"views must be some of 'structural', 'lexical', got {views!r}")
        if min(k, depth, token_budget) < 1:
            raise ConfigurationError("k, depth and token_budget must be at least 1")
        self.k = k
        self.views = list(dict.fromkeys(views))
        self.depth = depth
        self.token_budget = token_budget
        self.exclude_self = exclude_self

    @property
    def library(self) -> ExperienceLibrary:
        """The pinned snapshot where there is one, else the retriever's own."""
        reading = _READING.get()
        return reading.library if reading is not None else self._library

    @library.setter
    def library(self, library: ExperienceLibrary) -> None:
        self._library = library

    def forward(self, query: str, k: int | None = None, **kwargs: Any) -> dspy.Prediction:
        """Retrieve for one problem.

        Args:
            query: The problem: a SMILES for the structural view, any text for the lexical one.
            k: Most entries to bring, instead of the retriever's own ``k``.
            **kwargs: Ignored; for compatibility with ``dspy.Retrieve``.

        Returns:
            A prediction with ``passages`` (one text an entry), ``hits`` (``Hit`` objects, best first) and
            ``experiences`` (the block for the prompt).
        """
        hits = self.hits(query, k if k is not None else self.k)
        entries = arrange(hits, self.token_budget)
        reading = _READING.get()
        if reading is not None:
            reading.shown.extend(hit.experience.id for hit, lines in zip(hits, entries, strict=True) if lines)
        return dspy.Prediction(passages=[hit.experience.text() for hit in hits], hits=hits, experiences=block(entries))

    async def acall(self, query: str, k: int | None = None, **kwargs: Any) -> dspy.Prediction:
        """The same; a search is too short to be worth a thread."""
        return self(query, k, **kwargs)

    def hits(self, query: str, k: int) -> list[Hit]:
        """The entries that fit the problem, best first, with the reasons.

        Raises:
            ConfigurationError: If ``k`` is not positive.
        """
        if k < 1:
            raise ConfigurationError(f"k must be at least 1, got {k}")
        library = self.library
        rankings: dict[str, list[Match]] = {view: self._matches(view, library, query) for view in self.views}
        scores, ranks = self._fused(library, rankings)
        similar = _precedents_by_entry(rankings.get("structural", []))
        own = self._own(library, query)
        usable = (
            entry_id
            for entry_id in sorted(scores, key=lambda e: (-scores[e], e))
            if entry_id not in own or _rests_on_others(library[entry_id], query)
        )
        return [Hit(library[e], scores[e], tuple(similar.get(e, ())), ranks[e], e in own) for e in islice(usable, k)]

    def _matches(self, view: str, library: ExperienceLibrary, query: str) -> list[Match]:
        if view == "structural":
            skip = query if self.exclude_self else None
            index = index_of(library, view, StructuralIndex)
            return index.search(library, query, self.depth, skip=skip)
        return index_of(library, view, LexicalIndex).search(library, query, self.depth)

    def _fused(
        self, library: ExperienceLibrary, rankings: Mapping[str, Sequence[Match]]
    ) -> tuple[dict[str, float], dict[str, dict[str, int]]]:
        """Each entry's fused score, and its rank in each view."""
        scores: dict[str, float] = {}
        ranks: dict[str, dict[str, int]] = {}
        for view, matches in rankings.items():
            for rank, entry_id in enumerate(dict.fromkeys(match.entry_id for match in matches), start=1):
                weight = self.ZONE_WEIGHT[library[entry_id].zone]
                scores[entry_id] = scores.get(entry_id, 0.0) + weight / (RRF + rank)
                ranks.setdefault(entry_id, {})[view] = rank
        return scores, ranks

    def _own(self, library: ExperienceLibrary, query: str) -> frozenset[str]:
        """Ids of the entries among whose solved cases is the very problem that is asked."""
        if not self.exclude_self:
            return frozenset()
        return index_of(library, "problems", ProblemIndex).search(library, query)

    # -- as a DSPy parameter -------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("k", "views", "depth", "token_budget", "exclude_self")}

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Settings, and the library by hash: the library itself lives in its own file."""
        return {**self._settings(), "views": list(self.views), "library_hash": self._library.hash}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over settings; the library stays, and must be the one that was saved with them.

        Raises:
            ConfigurationError: If this retriever's library is neither empty nor the saved one, or if the state
                holds what is no setting.
        """
        wanted = state.get("library_hash")
        if len(self._library) and wanted not in (None, self._library.hash):
            raise ConfigurationError(
                f"the program was saved with library {str(wanted)[:12]}, this retriever holds "
                f"{self._library.hash[:12]}: load that library first, or start from an empty retriever"
            )
        saved = {name: value for name, value in state.items() if name != "library_hash"}
        if unknown := sorted(saved.keys() - self._settings().keys()):
            raise ConfigurationError(f"a retriever has no settings {', '.join(unknown)}")
        self._set(**{**self._settings(), **saved})


def _rests_on_others(entry: Experience, query: str) -> bool:
    return any(precedent.problem != query for precedent in entry.precedents)


def _precedents_by_entry(matches: Sequence[Match]) -> dict[str, list[tuple[Precedent, float]]]:
    by_entry: dict[str, list[tuple[Precedent, float]]] = {}
    for match in matches:
        if match.precedent is not None:
            by_entry.setdefault(match.entry_id, []).append((match.precedent, match.score))
    return by_entry


def nearest_lessons(library: ExperienceLibrary, lesson: Experience, count: int) -> list[Experience]:
    """The few entries that a new lesson might belong to: what the updater compares it with.

    An entry that holds one of its rules word for word is surely one of them; otherwise the closest by words.
    """
    exact = index_of(library, "rules", RuleIndex).search(library, lesson, count)
    if exact:
        return exact
    matches = index_of(library, "lexical", LexicalIndex).search(library, lesson.text(), count)
    return [library[match.entry_id] for match in matches]


def retrievers(program: dspy.Module) -> list[ExperienceRetriever]:
    """The experience retrievers that a program holds."""
    return [param for param in program.parameters() if isinstance(param, ExperienceRetriever)]
