"""The offline experts by name. Each is a module that is imported when it is first used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, cast

from flex_dspy.core.errors import ConfigurationError

EXPERTS = ("chemist", "mathematician", "biologist")
RANKING_FILE = "ranking_file"  # an input that the engine sets; a prompt cannot
# Retriever settings for an expert, which can use hundreds of precedents at no cost.
BREADTH: Mapping[str, int] = MappingProxyType({"k": 400, "depth": 400, "token_budget": 300_000})


class Expert(Protocol):
    """The functions that an expert's module must have."""

    def answer(self, inputs: Mapping[str, str], outputs: Sequence[str]) -> dict[str, Any]:
        """Play the role that has these output fields. Raise ValueError if there is no such role."""

    def is_quick(self, outputs: Sequence[str]) -> bool:
        """Whether sending the role to another process would cost more than running it."""


def expert_named(name: str) -> Expert:
    """The expert with this name.

    Raises:
        ConfigurationError: If there is none.
    """
    if name not in EXPERTS:
        raise ConfigurationError(f"there is no offline expert {name!r}; experts are {', '.join(EXPERTS)}")
    return cast("Expert", importlib.import_module(f"flex_dspy.offline.{name}"))
