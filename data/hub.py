"""Reads the rows of a data set on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from flex_dspy.core.errors import DataError
from flex_dspy.data.files import Row

_ADDRESS = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<split>[\w.:%+\[\]-]+))?")


@dataclass(frozen=True)
class HubAddress:
    """``owner/name``, with an optional ``:config`` and ``@split``.

    Example:
        >>> HubAddress.parse("openai/gsm8k:main@train")
        HubAddress(name='openai/gsm8k', config='main', split='train')
    """

    name: str
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, source: str) -> HubAddress | None:
        """The address in a source, or None if the source does not have the form of an address."""
        found = _ADDRESS.fullmatch(source)
        return cls(**found.groupdict()) if found else None


def read_hub_rows(address: HubAddress) -> Iterator[Row]:
    """The rows of one split, downloaded or from the cache of ``datasets``.

    Raises:
        DataError: The data set cannot be loaded, or has several splits and none was named.
    """
    # Importing datasets takes more than a second.
    import datasets

    try:
        loaded = datasets.load_dataset(address.name, address.config, split=address.split)
    except Exception as error:  # the hub's client raises errors of many libraries
        raise DataError(f"{address.name} cannot be loaded from the hub: {_first_line(error)}") from error
    if isinstance(loaded, dict):
        if len(loaded) != 1:
            example = f"{address.name}@{next(iter(loaded), 'train')}"
            raise DataError(f"{address.name} has the splits {', '.join(loaded)}: name one, as in {example}.")
        loaded = next(iter(loaded.values()))
    yield from (Row(number, cells) for number, cells in enumerate(loaded, start=1))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
