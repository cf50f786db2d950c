"""A DSPy retriever that finds fitting experiences in an experience library."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.settings import accepts
from flex_dspy.core.tokens import tokens
from flex_dspy.core.zones import ZONES
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.hits import Hit, Hits
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.dense import DenseIndex, Vectors
from flex_dspy.search.exact_indexes import ProblemIndex
from flex_dspy.search.fingerprint_index import FingerprintIndex
from flex_dspy.search.indexes import Match, index_of
from flex_dspy.search.label_sets import Calibration, Calibrations, calibrate
from flex_dspy.search.lexical_index import LexicalIndex
from flex_dspy.search.precedent_index import PrecedentIndex
from flex_dspy.search.ranking import Utilities, choose, fuse, until_enough
from flex_dspy.search.reading import Reading, current_reading, record
from flex_dspy.search.rendering import NONE, Level, arrange, block, render
from flex_dspy.search.settings import ALWAYS_SAVED, LABEL_DEMONSTRATIONS, LABEL_TALLY, ZONE_WEIGHTS, RetrievalSettings
from flex_dspy.search.tally import count_answers, likely_answer, tally_line, vote
from flex_dspy.search.utility import Effect, MeasuredEffect, UtilityRanking, known_effects
from flex_dspy.search.views import TEXT_VIEWS, fingerprint_of

logger = logging.getLogger(__name__)

_NO_SETTINGS = ("library", "library_hash", "embedder", "effects")  # saved keys that are not settings


@runtime_checkable
class Followed(Protocol):
    """A library that may change at any time, such as ``flex_dspy.FollowedLibrary``."""

    def snapshot(self) -> ExperienceLibrary:
        """The current library. It is the same object until the library changes."""


class Retrieval(dspy.Prediction):
    """A retriever's result: ``hits``, ``passages`` and ``experiences``. A notebook shows each hit with its reasons."""

    def _repr_html_(self) -> str:
        return Hits(self.hits)._repr_html_()


class ExperienceRetriever(dspy.Retrieve):
    """Finds the experiences that fit a problem, and writes them as text for the prompt.

    Each view ranks entries on its own. Reciprocal rank fusion combines these rankings, weighted by the entry's zone
    (golden 1.0, mixed 0.9, warning 0.8, as in the FLEX release). ``hit.why()`` explains why a hit was found.

    Args:
        library: The library to read outside of ``pinned``: a snapshot, or a ``FollowedLibrary``, whose newest snapshot
            is read at each retrieval. A copy of the retriever follows too. Saved state holds the current snapshot, or
            its hash.
        embedder: For the dense view: an embedder, or ``Vectors`` that were loaded. Saved state holds its name.
        effects: For ``utility``: results of trials by entry id, such as the results of ``flex_dspy.value``. They
            replace an entry's usage.
        settings: Settings; None starts from the defaults.
        **options: Fields of ``RetrievalSettings`` by name.

    Raises:
        ConfigurationError: If a view, zone or level is unknown, a number is out of its range, or the dense view has no
            embedder.
    """

    ZONE_WEIGHT = ZONE_WEIGHTS

    @accepts(RetrievalSettings)
    def __init__(
        self,
        library: ExperienceLibrary | Followed | None = None,
        *,
        embedder: dspy.Embedder | Vectors | None = None,
        effects: Mapping[str, MeasuredEffect] | None = None,
        settings: RetrievalSettings | None = None,
        **options: Any,
    ) -> None:
        settings = RetrievalSettings.resolve(settings, options)
        super().__init__(k=settings.k)
        # An empty library is false, but may be the first snapshot of a task.
        self.source: ExperienceLibrary | Followed = ExperienceLibrary() if library is None else library
        self.vectors: Vectors | None = (
            embedder if embedder is None or isinstance(embedder, Vectors) else Vectors.of(embedder)
        )
        self.effects: dict[str, Effect] = known_effects(effects or {})
        self.settings = settings

    @property
    def settings(self) -> RetrievalSettings:
        """The current settings. Each is also an attribute, such as ``retriever.k``."""
        return RetrievalSettings(**{name: getattr(self, name) for name in RetrievalSettings.model_fields})

    @settings.setter
    def settings(self, settings: RetrievalSettings) -> None:
        if "dense" in settings.views and self.vectors is None:
            raise ConfigurationError("the view 'dense' needs an embedder: ExperienceRetriever(..., embedder=...)")
        self.__dict__.update(settings.attributes())

    # An embedder may hold a model, so copies of the retriever share it and its vectors.
    def __deepcopy__(self, memo: dict[int, Any]) -> ExperienceRetriever:
        new = object.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    @property
    def library(self) -> ExperienceLibrary:
        """The entries of the retriever's scopes, in the pinned snapshot if there is one, else in its own."""
        reading = current_reading()
        library = reading.library if reading is not None else self.snapshot()
        return library.scoped(*self.scopes)

    @library.setter
    def library(self, library: ExperienceLibrary | Followed) -> None:
        self.source = library

    def snapshot(self) -> ExperienceLibrary:
        """The newest snapshot of ``source``, with all its scopes."""
        return self.source if isinstance(self.source, ExperienceLibrary) else self.source.snapshot()

    def forward(
        self,
        query: str,
        k: int | None = None,
        *,
        exclude: str | Collection[str] | None = None,
        elsewhere: Collection[str] = (),
        picks_label: bool = False,
        labels: Sequence[str] = (),
        narrow: bool = False,
        **kwargs: Any,
    ) -> dspy.Prediction:
        """Retrieve for one problem.

        Args:
            query: The problem, as the views read it. Only the first 20,000 characters of a text are used, and a longer
                text has no fingerprint.
            k: Largest number of entries, instead of the retriever's own ``k``.
            exclude: The text of the problem under way, or all texts that may be it. Needed if the query is another
                text; see ``exclude_self``.
            elsewhere: Names of the program's other steps. Lessons for these steps are not found.
            picks_label: Whether the answer is a label. Then the answers of similar precedents are counted by default,
                and are not written into the block.
            labels: The labels, if they are known: no other answers are counted.
            narrow: Whether precedents may vote on the labels; see ``coverage`` and ``trust``.
            **kwargs: Ignored; for compatibility with ``dspy.Retrieve``.

        Returns:
            A prediction with ``passages`` (one text an entry), ``hits`` (``Hit`` objects, best first), ``experiences``
            (the block for the prompt), ``demonstrations`` (precedents to show as demonstrations, most similar first),
            ``answers`` (the most frequent answers of similar precedents, with their shares), ``shares`` (the shares of
            all labels) and ``unlikely`` (the labels that they make unlikely).
        """
        found = self.hits(query, k if k is not None else self.k, exclude, elsewhere)
        counted = bool(self._tally(picks_label) or self.demonstrations)
        similar = self.precedents(query, self.depth, exclude, elsewhere) if counted else ()
        shares = self._shares(similar, labels) if narrow else {}
        unlikely = self._unlikely(tuple(labels), shares, frozenset(elsewhere))
        return self.write(found, similar, picks_label=picks_label, labels=labels, shares=shares, unlikely=unlikely)

    def _shares(self, similar: Sequence[Match], labels: Sequence[str]) -> dict[str, float]:
        """The shares of labels in the vote of similar precedents; none where no answers are counted."""
        count = self._tally(picks_label=True)
        return vote(similar, count, labels) if labels and count_answers(similar, count, labels) else {}

    def _unlikely(
        self, labels: tuple[str, ...], shares: Mapping[str, float], elsewhere: frozenset[str]
    ) -> frozenset[str]:
        """The labels that similar precedents make unlikely."""
        if self.coverage == 1 or not shares:
            return frozenset()
        calibration = self._calibration(labels, self._tally(picks_label=True), elsewhere)
        return calibration.unlikely(shares, self.coverage)

    def _calibration(self, labels: tuple[str, ...], count: int, elsewhere: frozenset[str]) -> Calibration:
        """The shares of right labels in the current library, including the entries that a trial hides."""
        library = self.library
        keep = self._keep(library, frozenset(), elsewhere)
        index = index_of(library, "precedents", PrecedentIndex)

        def similar(problem: str) -> Sequence[Match]:
            own = frozenset({problem})
            return until_enough(lambda depth: index.search(library, problem, depth, skip=own), self.depth, keep)

        def make() -> Calibration:
            precedents = (each for entry in library if keep is None or keep(entry.id) for each in entry.precedents)
            return calibrate(precedents, labels, count, similar)

        filters = tuple(self.zones or ()), tuple(self.categories or ())
        key = (library.tip, labels, count, self.depth, elsewhere, *filters)
        return index_of(library, "calibrations", Calibrations).find(key, make)

    def _tally(self, picks_label: bool) -> int:
        """The number of precedents whose answers are counted."""
        if self.tally is not None:
            return self.tally
        return LABEL_TALLY if picks_label else 0

    async def acall(self, query: str, k: int | None = None, **kwargs: Any) -> dspy.Prediction:
        """Asynchronous version of the call. Uses a thread only for the dense view."""
        if "dense" in self.views:
            return await asyncio.to_thread(self, query, k, **kwargs)
        return self(query, k, **kwargs)

    async def ahits(self, query: str, k: int, exclude: str | Collection[str] | None = None) -> list[Hit]:
        """Asynchronous version of ``hits``. Uses a thread only for the dense view."""
        if "dense" in self.views:
            return await asyncio.to_thread(self.hits, query, k, exclude)
        return self.hits(query, k, exclude)

    def write(
        self,
        hits: Sequence[Hit],
        similar: Sequence[Match] = (),
        *,
        picks_label: bool = False,
        labels: Sequence[str] = (),
        shares: Mapping[str, float] | None = None,
        unlikely: frozenset[str] = frozenset(),
    ) -> dspy.Prediction:
        """Build the prediction for these hits, and record the entries that it shows (see ``pinned``).

        Args:
            hits: Entries, best first.
            similar: Precedents, most similar first, for the tally and the demonstrations.
            picks_label: As for ``forward``.
            labels: As for ``forward``.
            shares: The labels' shares of the vote.
            unlikely: Labels that similar precedents make unlikely.
        """
        count = self._tally(picks_label)
        answers = count_answers(similar, count, labels or None) if count else []
        line = "" if picks_label else tally_line(answers, min(count, len(similar)))
        entries = arrange(hits, self.token_budget - tokens(line), self.levels)
        shown = [hit.experience.id for hit, lines in zip(hits, entries, strict=True) if lines]
        solved = self._demonstrations(similar, answers if picks_label else [], labels, unlikely)
        used = [*similar[: count if answers else 0], *solved]
        record([*shown, *dict.fromkeys(match.entry_id for match in used if match.entry_id not in shown)])
        return Retrieval(
            passages=[hit.experience.text() for hit in hits],
            hits=Hits(hits),
            experiences=block(entries, line),
            demonstrations=[match.precedent for match in solved],
            answers=answers,
            shares=shares or {},
            unlikely=unlikely,
        )

    def _demonstrations(
        self,
        similar: Sequence[Match],
        answers: Sequence[tuple[str, float]],
        labels: Sequence[str],
        unlikely: frozenset[str],
    ) -> Sequence[Match]:
        """The precedents to show as demonstrations; by default a few where similar precedents do not decide."""
        if self.demonstrations is not None:
            return similar[: self.demonstrations]
        cases = [(match, match.precedent.answer) for match in similar if match.precedent]
        open_cases = [(m, answer) for m, answer in cases if answer not in unlikely and (not labels or answer in labels)]
        several = bool(unlikely) and len({answer for _, answer in open_cases}) > 1
        if not answers or (likely_answer(answers) and not several):
            return ()
        return [match for match, _ in open_cases[:LABEL_DEMONSTRATIONS]]

    def precedents(
        self, query: str, count: int, exclude: str | Collection[str] | None = None, elsewhere: Collection[str] = ()
    ) -> list[Match]:
        """The precedents whose problems are most like the query, most similar first; see ``PrecedentIndex``."""
        library = self.library
        reading = current_reading() or Reading(library)
        skip = self._problems(query if exclude is None else exclude, reading)
        index = index_of(library, "precedents", PrecedentIndex)
        keep = self._keep(library, reading.hidden, elsewhere)
        return list(until_enough(lambda depth: index.search(library, query, depth, skip=skip), count, keep))

    def hits(
        self,
        query: str,
        k: int,
        exclude: str | Collection[str] | None = None,
        elsewhere: Collection[str] = (),
    ) -> list[Hit]:
        """The entries that fit the query, best first, with the reasons.

        Raises:
            ConfigurationError: If ``k`` is not positive.
        """
        if k < 1:
            raise ConfigurationError(f"k must be at least 1, got {k}")
        library = self.library
        reading = current_reading() or Reading(library)
        own_problems = self._problems(query if exclude is None else exclude, reading)
        keep = self._keep(library, reading.hidden if reading.replace else frozenset(), elsewhere)
        rankings = {view: self._matches(view, library, query, own_problems, keep) for view in self.views}
        own = self._own(library, own_problems)
        similar = _precedents_by_entry(match for matches in rankings.values() for match in matches)
        usable = (
            candidate
            for candidate in fuse(library, rankings, self.zone_weights, self._utilities(query))
            if (candidate.entry_id not in own or _rests_on_others(library[candidate.entry_id], own_problems))
            and (candidate.entry_id in similar or library[candidate.entry_id].teaches)
        )
        return [
            Hit(
                library[found.entry_id],
                found.score,
                tuple(similar.get(found.entry_id, ())),
                found.ranks,
                found.entry_id in own,
                found.scores,
                found.weight,
                found.utility,
            )
            for found in choose(library, usable, k, quotas=self.quotas, diversity=self.diversity)
            if found.entry_id not in reading.hidden
        ]

    def _keep(
        self, library: ExperienceLibrary, hidden: frozenset[str], elsewhere: Collection[str]
    ) -> Callable[[str], bool] | None:
        """A function that says whether an entry may be found; None if every entry may."""
        if not hidden and not elsewhere and self.zones is None and self.categories is None:
            return None
        zones = ZONES if self.zones is None else self.zones
        categories = None if self.categories is None else {name.casefold() for name in self.categories}

        def keep(entry_id: str) -> bool:
            entry = library[entry_id]
            fits = categories is None or entry.category.casefold() in categories
            return fits and entry.zone in zones and entry.step not in elsewhere and entry_id not in hidden

        return keep

    def _utilities(self, query: str) -> Utilities | None:
        """A function that returns the utility of entries; None if the ranking does not use utility."""
        if not self.utility:
            return None
        return functools.partial(UtilityRanking(self.utility, self.exploration, self.effects).utilities, query)

    def _matches(
        self,
        view: str,
        library: ExperienceLibrary,
        query: str,
        skip: frozenset[str],
        keep: Callable[[str], bool] | None,
    ) -> Sequence[Match]:
        def search(depth: int) -> list[Match]:
            if view == "dense" and self.vectors is not None:
                vectors = self.vectors
                dense = index_of(library, vectors.kind, lambda: DenseIndex(vectors))
                return dense.search(library, query, depth, skip=skip)
            if view == "precedents":
                return index_of(library, view, PrecedentIndex).search(library, query, depth, skip=skip)
            if view not in TEXT_VIEWS:
                index = index_of(library, view, lambda: FingerprintIndex(fingerprint_of(view)))
                return index.search(library, query, depth, skip=skip)
            return index_of(library, view, LexicalIndex).search(library, query, depth)

        if view == "lexical":  # this view reads only lessons
            return until_enough(search, self.depth, lambda id: library[id].teaches and (keep is None or keep(id)))
        return until_enough(search, self.depth, keep)

    def _problems(self, given: str | Collection[str], reading: Reading) -> frozenset[str]:
        """All texts of the problem under way; empty if its own solution may be shown."""
        if not self.exclude_self:
            return frozenset()
        texts = {given} if isinstance(given, str) else {*given}
        return frozenset(texts if reading.problem is None else {*texts, reading.problem})

    def _own(self, library: ExperienceLibrary, problems: frozenset[str]) -> frozenset[str]:
        """Ids of the entries with a precedent of the problem under way."""
        index = index_of(library, "problems", ProblemIndex) if problems else None
        return frozenset().union(*(index.search(library, problem) for problem in problems)) if index else frozenset()

    # -- as a DSPy parameter -------------------------------------------------------------------------------

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """The state: settings, the library by hash or whole (``embed``), the embedder by name, effects of trials.

        Settings that version 0.1 does not know are saved only if they differ from their defaults.
        """
        state = {name: copy.copy(getattr(self, name)) for name in ALWAYS_SAVED}
        for name, default in RetrievalSettings().attributes().items():
            if name not in ALWAYS_SAVED and getattr(self, name) != default:
                state[name] = copy.copy(getattr(self, name))
        if self.vectors is not None:
            state["embedder"] = self.vectors.name
        whole = self.snapshot()
        library = whole.scoped(*self.scopes)
        if self.effects:
            effects = {i: list(effect) for i, effect in sorted(self.effects.items()) if i in library or i not in whole}
            state["effects"] = effects
        if self.embed:
            state["library"] = json.loads(library.to_json())
        return {**state, "library_hash": library.hash}

    def load_state(self, state: dict[str, Any]) -> None:
        """Load the settings, and the library if the state holds it whole.

        Otherwise the retriever keeps its library and its embedder, which must be the saved ones. A retriever that
        follows a library keeps following it, whatever was saved.

        Raises:
            ConfigurationError: If this retriever's library is neither empty nor the saved one, if the embedder is not
                the saved one, or if the state holds an unknown setting.
            LibraryError: If the state's library is damaged.
        """
        source = self._restore(state)
        embedder = state.get("embedder")
        if embedder is not None and (self.vectors is None or self.vectors.name != embedder):
            raise ConfigurationError(f"the program was saved with embedder {embedder!r}: give the retriever that one")
        saved = {name: value for name, value in state.items() if name not in _NO_SETTINGS}
        if unknown := sorted(saved.keys() - RetrievalSettings.model_fields.keys()):
            raise ConfigurationError(f"a retriever has no settings {', '.join(unknown)}")
        always = {name: getattr(self, name) for name in ALWAYS_SAVED}  # a setting that the state lacks does not change
        self.settings = RetrievalSettings(**{**always, **saved})
        self.effects |= {entry_id: tuple(effect) for entry_id, effect in state.get("effects", {}).items()}
        self.source = source

    def _restore(self, state: Mapping[str, Any]) -> ExperienceLibrary | Followed:
        """The library that a state holds, or this retriever's own library if the state names it."""
        wanted, own = state.get("library_hash"), self.source
        if not isinstance(own, ExperienceLibrary):
            return own
        if "library" in state:
            return ExperienceLibrary.from_json(json.dumps(state["library"]))
        if wanted in (None, own.scoped(*state.get("scopes", ())).hash):
            return own
        if len(own):
            raise ConfigurationError(
                f"the program was saved with library {str(wanted)[:12]}, this retriever holds "
                f"{own.hash[:12]}: load that library first, or start from an empty retriever"
            )
        if wanted != ExperienceLibrary(task=own.task).hash:
            logger.warning("the program was saved with library %s, which is not in its state: set it", wanted[:12])
        return own


def _rests_on_others(entry: Experience, problems: frozenset[str]) -> bool:
    return any(precedent.problem not in problems for precedent in entry.precedents)


def _precedents_by_entry(matches: Iterable[Match]) -> dict[str, list[tuple[Precedent, float]]]:
    by_entry: dict[str, list[tuple[Precedent, float]]] = {}
    for match in matches:
        if match.precedent is not None:
            by_entry.setdefault(match.entry_id, []).append((match.precedent, match.score))
    return by_entry


def search_library(library: ExperienceLibrary, query: str, k: int = 5, **settings: Any) -> Hits:
    """The entries that fit a query, best first. ``ExperienceLibrary.search`` calls this by its entry point."""
    return Hits(ExperienceRetriever(library, **settings).hits(query, k))


def retrievers(program: dspy.Module) -> list[ExperienceRetriever]:
    """The experience retrievers in a program's parts and predictors, without repetition."""
    parts = program.parameters()
    held = [*parts, *(getattr(part, "retriever", None) for part in parts)]
    return list({id(part): part for part in held if isinstance(part, ExperienceRetriever)}.values())


def shorter_blocks(found: dspy.Prediction | None, levels: Sequence[Level]) -> Iterator[str]:
    """Yield the block of a retriever's result in decreasing length. The last block is empty.

    Args:
        found: A retriever's prediction; None for no search at all.
        levels: The levels that are written.
    """
    if found is not None:
        whole = str(found.experiences)
        yield whole
        for share in (2, 4):  # of the tokens that the block took, as the budget may be larger
            yield render(found.hits, tokens(whole) // share, levels)
    yield NONE
