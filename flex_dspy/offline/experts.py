"""The offline experts by name; each is a module, imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, cast

from flex_dspy.core.errors import ConfigurationError

EXPERTS = ("chemist", "mathematician", "biologist")
RANKING_FILE = "ranking_file"  # an input that the engine sets; a prompt cannot
# Settings of a retriever for an expert, which weighs hundreds of precedents at no cost.
BREADTH: Mapping[str, int] = MappingProxyType({"k": 400, "depth": 400, "token_budget": 300_000})


class Expert(Protocol):
    """What a module must offer to be an expert."""

    def answer(self, inputs: Mapping[str, str], outputs: Sequence[str]) -> dict[str, Any]:
        """Play the role whose output fields are asked for; ValueError if there is none."""

    def is_quick(self, outputs: Sequence[str]) -> bool:
        """Whether handing the role to another process would cost more than playing it."""


def expert_named(name: str) -> Expert:
    """The expert with this name.

    Raises:
        ConfigurationError: If there is none.
    """
    if name not in EXPERTS:
        raise ConfigurationError(f"there is no offline expert {name!r}; experts are {', '.join(EXPERTS)}")
    return cast("Expert", importlib.import_module(f"flex_dspy.offline.{name}"))
