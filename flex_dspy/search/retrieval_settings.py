"""What a retriever can be told, and what of it makes sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import ZONES
from flex_dspy.search.ranking import ZONE_WEIGHTS
from flex_dspy.search.rendering import LEVELS

View = Literal["structural", "lexical", "dense"]
ALWAYS_SAVED = ("k", "views", "depth", "token_budget", "exclude_self")
# What came after the first release: saved where it is not as here.
DEFAULTS: Mapping[str, Any] = {
    "zone_weights": None,
    "quotas": None,
    "zones": None,
    "categories": None,
    "diversity": 0.0,
    "levels": LEVELS,
    "embed": False,
}


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a retriever holds them.

    Raises:
        ConfigurationError: If one cannot work.
    """
    usable = dict(settings)
    for name in ("k", "depth", "token_budget"):
        if name in settings and settings[name] < 1:
            raise ConfigurationError("k, depth and token_budget must be at least 1")
    if "views" in settings:
        usable["views"] = _some_of(get_args(View), "views", settings["views"])
    usable["levels"] = sorted(_some_of(LEVELS, "levels", settings["levels"]), key=LEVELS.index)
    if settings["zones"] is not None:
        usable["zones"] = _some_of(ZONES, "zones", settings["zones"])
    if settings["categories"] is not None:
        if isinstance(settings["categories"], str):
            raise ConfigurationError(f"categories must be a list, got {settings['categories']!r}")
        usable["categories"] = list(settings["categories"])
    usable["zone_weights"] = {**ZONE_WEIGHTS, **_by_zone("zone_weights", settings["zone_weights"])}
    usable["quotas"] = _by_zone("quotas", settings["quotas"]) or None
    if not 0 <= settings["diversity"] <= 1:
        raise ConfigurationError(f"diversity must be from 0 to 1, got {settings['diversity']}")
    return usable


def _some_of(known: Sequence[str], name: str, given: Any) -> list[str]:
    if isinstance(given, str) or not given or set(given) - set(known):
        raise ConfigurationError(f"{name} must be some of {', '.join(map(repr, known))}, got {given!r}")
    return list(dict.fromkeys(given))


def _by_zone(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    numbers = dict(given or {})
    if set(numbers) - set(ZONES) or any(not 0 <= number < float("inf") for number in numbers.values()):
        raise ConfigurationError(f"{name} must give zones ({', '.join(ZONES)}) numbers from 0, got {given!r}")
    return numbers
