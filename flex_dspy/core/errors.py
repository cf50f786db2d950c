"""The errors of flex-dspy.

    FlexError
    ├── ConfigurationError      an option, a model or a task that cannot work
    ├── DataError               a data set with no usable row
    │   └── OverlapError        validation examples that are also training examples
    ├── LibraryError            a library file that cannot be used as it is
    │   ├── LibraryFormatError  damaged, truncated or wrongly typed
    │   ├── LibraryVersionError written by a newer flex-dspy
    │   └── RemoteError         at an address that cannot be reached, or refuses
    ├── RunError                a run that cannot be resumed as asked
    ├── FindingsError           a check that found something for a person to decide
    ├── BudgetError             the tokens or the money allowed are spent
    ├── TrackingError           a run that has learned, and whose tracking store lacks versions
    ├── LimitError              a client that asks a server for more than it may
    └── ModelError              a language model that cannot be reached at all

A failed rollout is none of these: it is recorded as data (see ``flex_dspy.learning.forward``).
"""

from __future__ import annotations

from pathlib import Path

from flex_dspy.core.secrets import redact


class FlexError(Exception):
    """Base of every error raised by flex-dspy. Its message holds no login and no key."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redact(part) if isinstance(part, str) else part for part in args))


class ConfigurationError(FlexError):
    """An option, a model string or a task that cannot work as given."""


class DataError(FlexError):
    """A data set that cannot be read, or has no usable row."""


class OverlapError(DataError):
    """An evaluation set shares examples with what the library learned from."""


class LibraryError(FlexError):
    """A library file that cannot be used as it is.

    Attributes:
        path: The file.
        place: Where in the file: a line, or a path of keys such as ``experiences.3.zone``.
        remedy: The way to put it right.
    """

    def __init__(self, path: str | Path, place: str, problem: str, remedy: str) -> None:
        self.path = Path(path)
        self.place = place
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{path}: {place}: {problem}. {remedy}")


class LibraryFormatError(LibraryError):
    """A library file that is damaged, truncated or wrongly typed."""


class LibraryVersionError(LibraryError):
    """A library file written by a newer flex-dspy."""


class RemoteError(LibraryError):
    """An address of a shared library that cannot be reached, or refuses, or holds too much."""


class RunError(FlexError):
    """A run that cannot be resumed, or would overwrite another."""


class BudgetError(FlexError):
    """The tokens or the money that a run may take are spent; what was learned is kept."""


class FindingsError(FlexError):
    """A check was done, and found something that a person must decide."""


class TrackingError(FlexError):
    """A run has learned, but its tracking store lacks versions of it; they are kept, and can be logged later."""


class LimitError(FlexError):
    """A client asks a server too often, or for what takes too long; a later or a smaller call may succeed."""


class ModelError(FlexError):
    """A language model that cannot be reached: wrong key, wrong address, unknown model."""
