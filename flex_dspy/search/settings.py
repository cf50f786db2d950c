"""Settings of a retriever, and their checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from flex_dspy.core.scopes import Scope
from flex_dspy.core.settings import Settings
from flex_dspy.core.zones import Zone
from flex_dspy.search.rendering import LEVELS, Level
from flex_dspy.search.views import view_names

T = TypeVar("T")
ZONE_WEIGHTS: Mapping[Zone, float] = {"golden": 1.0, "mixed": 0.9, "warning": 0.8}  # as in the FLEX release
# A saved state always holds these settings, as in version 0.1. It holds others only if they differ from the default.
ALWAYS_SAVED = ("k", "views", "depth", "token_budget", "exclude_self")


def _unique(values: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _order(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    return tuple(sorted(set(levels), key=LEVELS.index))


def _check_view(view: str) -> str:
    if view not in view_names():
        raise ValueError(f"views must be some of {', '.join(map(repr, view_names()))}, got {view!r}")
    return view


View = Annotated[str, AfterValidator(_check_view)]
LABEL_TALLY = 24  # number of precedents that are counted for a label
LABEL_DEMONSTRATIONS = 8  # number of precedents that are shown where the vote leaves several labels
Number = Annotated[int | float, Field(ge=0, lt=float("inf"))]
Views = Annotated[tuple[View, ...], Field(min_length=1), AfterValidator(_unique)]
Zones = Annotated[tuple[Zone, ...], Field(min_length=1), AfterValidator(_unique)]
Levels = Annotated[tuple[Level, ...], Field(min_length=1), AfterValidator(_order)]


class RetrievalSettings(Settings):
    """Settings of an ``ExperienceRetriever``.

    Raises:
        ConfigurationError: If a name, view, zone or level is unknown, or a number is out of its range.
    """

    k: int = Field(default=8, ge=1)
    """Most entries to bring."""
    views: Views = ("structural", "lexical")
    """``lexical`` compares the words of entries, ``precedents`` those of their precedents' problems, ``dense`` compares
    embeddings; ``structural`` and others that tasks bring compare fingerprints of problems (see
    ``flex_dspy.search.views``)."""
    depth: int = Field(default=50, ge=1)
    """How many precedents (by fingerprint) or entries (lexical, dense) each view looks at."""
    token_budget: int = Field(default=4_000, ge=1)
    """Most tokens that the rendered block may take."""
    exclude_self: bool = True
    """Leave out precedents of the problem that is asked, and entries that rest on them alone. Switch it off in
    deployment, where a known answer is welcome."""
    zone_weights: Mapping[Zone, Number] | None = None
    """Factors of zones in place of golden 1.0, mixed 0.9, warning 0.8."""
    quotas: Mapping[Zone, Number] | None = None
    """Most entries of a zone in the result; a zone that is not named has no limit."""
    zones: Zones | None = None
    """The only zones to search, as if the library held no others."""
    categories: tuple[str, ...] | None = None
    """The only categories to search, whole and in any case of letters."""
    scopes: tuple[Scope, ...] = ()
    """The scopes to read besides the entries that all share. Entries of other scopes are not there."""
    diversity: int | float = Field(default=0.0, ge=0, le=1)
    """How much likeness to the entries chosen already counts against an entry, from 0 to 1."""
    utility: Number = 0
    """How much the measured effect of an entry counts beside its fit: its score is multiplied by the ratio of its odds
    of success to those of its neighbours, to the power of this number (see ``flex_dspy.search.utility``). 0 ranks by
    fit alone. With 0.1, an entry of twice the odds gains about four ranks; with 1, utility decides."""
    exploration: int | None = None
    """Seed of exploration, for ``utility``: each lift is drawn from what is known about it (Thompson sampling), so that
    entries of which little is known are tried. One seed, problem and entry give one draw, in every process. None ranks
    by the expected lift."""
    levels: Levels = LEVELS
    """The levels that are written: ``method``, ``rules``, ``precedents``, ``trajectory``."""
    tally: int | None = Field(default=None, ge=0)
    """How many similar precedents to count the answers of; 0 for none. None counts 24 for a predictor that picks a
    label (one output that is a ``Literal``, an ``Enum`` or a ``bool``), and none for others. A predictor that picks a
    label gets the most frequent answer as an input of its own, any other one a line of the block. Nothing is shown
    where hardly any answer comes twice."""
    coverage: float = Field(default=0.9, gt=0, le=1)
    """How often the labels that a prompt offers hold the right one, by the precedents' own answers (see
    ``flex_dspy.search.label_sets``). Labels that similar precedents make less likely than that are left out of a
    ``Literal``. 1 offers all labels."""
    trust: float | None = Field(default=None, ge=1)
    """How much a model's label counts beside the vote of similar precedents: the share of this label is multiplied by
    it, and the label with the largest product is the answer (see ``flex_dspy.search.trust``). ``TrustCalibration`` fits
    it. 1 lets the vote decide alone; with more than 51 the model decides alone. None keeps the model's answer."""
    demonstrations: int | None = Field(default=None, ge=0)
    """How many similar precedents to show as demonstrations (DSPy's ``demos``), most similar last; 0 for none. None
    shows eight where similar precedents leave several labels possible or are in a near tie, instead of a likely label,
    and otherwise none. A program that reasons before it answers gets none, as a precedent holds no reasoning."""
    embed: bool = False
    """Whether saved state holds the whole library, and not its hash alone."""

    def attributes(self) -> dict[str, Any]:
        """The settings as a retriever holds them: with lists instead of tuples, and with a weight for each zone."""
        values = {name: _list(getattr(self, name)) for name in type(self).model_fields}
        weights = {**ZONE_WEIGHTS, **(self.zone_weights or {})}
        return {**values, "zone_weights": weights, "quotas": dict(self.quotas or {}) or None}


def _list(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
