"""Retrieval in two steps: the library's ranking gives a shortlist, and a model chooses from it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.running import overflows, unreadable
from flex_dspy.libraries.hits import Hit
from flex_dspy.programs.predict import RolePredict
from flex_dspy.search.rendering import Level, render
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.signatures.retriever import ChooseLessons

logger = logging.getLogger(__name__)


class Shortlist(dspy.Module):
    """Retrieves the experiences that a model chooses from a shortlist of methods.

    It can replace a retriever: a call with a problem returns ``hits``, ``passages`` and ``experiences``. If the model
    names no entry of the shortlist, or its answer cannot be read, the retriever's ranking is used.

    Args:
        retriever: Makes the shortlist, and writes the chosen entries as text.
        k: Largest number of entries to retrieve.
        shortlist: Number of entries that the model chooses from; more than ``k``.
        token_budget: Most tokens of the shortlist in the model's prompt.

    Raises:
        ConfigurationError: If ``shortlist`` leaves nothing to choose.
    """

    def __init__(
        self, retriever: ExperienceRetriever, *, k: int = 6, shortlist: int = 24, token_budget: int = 6_000
    ) -> None:
        super().__init__()
        if not 0 < k < shortlist:
            raise ConfigurationError(f"k must be at least 1 and below shortlist, got {k} of {shortlist}")
        self.retriever = retriever
        self.k = k
        self.shortlist = shortlist
        self.token_budget = token_budget
        self.choose = RolePredict(ChooseLessons)

    @property
    def exclude_self(self) -> bool:
        """The retriever's own setting."""
        return bool(self.retriever.exclude_self)

    @property
    def levels(self) -> list[Level]:
        """The retriever's own setting."""
        return list(self.retriever.levels)

    def forward(
        self, query: str, k: int | None = None, *, exclude: str | None = None, **kwargs: Any
    ) -> dspy.Prediction:
        """Retrieve for one problem.

        Args:
            query: The problem.
            k: Largest number of entries, instead of the module's own ``k``.
            exclude: The text of the problem under way, if the query is another text.
            **kwargs: Ignored; for compatibility with ``dspy.Retrieve``.

        Returns:
            A prediction like that of ``ExperienceRetriever``, with ``shortlist``: all hits that the model could choose
            from.
        """
        most = self.k if k is None else k
        hits = self.retriever.hits(query, max(self.shortlist, most), exclude)
        if len(hits) <= most:
            return self._write(hits, hits)
        try:
            ids = self.choose(**self._choice_inputs(exclude or query, hits, most)).ids
        except dspy.DSPyError as error:
            ids = _choose_none(error)
        return self._write(_choose_hits(hits, ids, most), hits)

    async def aforward(
        self, query: str, k: int | None = None, *, exclude: str | None = None, **kwargs: Any
    ) -> dspy.Prediction:
        """Asynchronous version of ``forward``."""
        most = self.k if k is None else k
        hits = await self.retriever.ahits(query, max(self.shortlist, most), exclude)
        if len(hits) <= most:
            return self._write(hits, hits)
        try:
            ids = (await self.choose.acall(**self._choice_inputs(exclude or query, hits, most))).ids
        except dspy.DSPyError as error:
            ids = _choose_none(error)
        return self._write(_choose_hits(hits, ids, most), hits)

    def _choice_inputs(self, problem: str, hits: Sequence[Hit], most: int) -> dict[str, Any]:
        return {"problem": problem, "shortlist": render(hits, self.token_budget, ("method",)), "most": most}

    def _write(self, chosen: Sequence[Hit], hits: Sequence[Hit]) -> dspy.Prediction:
        found = self.retriever.write(chosen)
        found.shortlist = list(hits)
        return found


def _choose_hits(hits: Sequence[Hit], ids: Sequence[str], most: int) -> list[Hit]:
    """The hits that the model named, in its order; the best ranked hits if it named none."""
    by_id = {hit.experience.id: hit for hit in hits}
    named = [by_id[i] for i in dict.fromkeys(text.strip().strip("`") for text in ids) if i in by_id]
    if not named:
        logger.info("no lesson of the shortlist was chosen; the plain ranking stands")
    return (named or list(hits))[:most]


def _choose_none(error: dspy.DSPyError) -> list[str]:
    if not unreadable(error) and not overflows(error):
        raise error
    logger.warning("the choice from a shortlist could not be read; the plain ranking stands")
    return []
