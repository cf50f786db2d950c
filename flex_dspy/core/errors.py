"""The errors of flex-dspy.

    FlexError
    ├── ConfigurationError      an option, a model or a task that cannot work
    ├── DataError               a data set with no usable row
    │   └── OverlapError        validation examples that are also training examples
    ├── LibraryError            a library file that cannot be used as it is
    │   ├── LibraryFormatError  damaged, truncated or wrongly typed
    │   ├── LibraryVersionError written by a newer flex-dspy
    │   └── RemoteError         at an address that cannot be reached or refuses the request
    ├── RunError                a run that cannot be resumed as asked
    ├── FindingsError           a check that found something for a person to decide
    ├── BudgetError             the budget of tokens or money is spent
    ├── TrackingError           a run whose versions are not all in the tracking store
    ├── LimitError              a client that exceeds a server's limits
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
        place: Place in the file: a line, or a path of keys such as ``experiences.3.zone``.
        remedy: Advice for fixing the problem.
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
    """An address of a shared library that cannot be reached, refuses the request, or holds too much data."""


class RunError(FlexError):
    """A run that cannot be resumed, or would overwrite another."""


class BudgetError(FlexError):
    """The budget of tokens or money of a run is spent. The library keeps all lessons learned so far."""


class FindingsError(FlexError):
    """A check found something that a person must decide."""


class TrackingError(FlexError):
    """The tracking store lacks versions of a finished run. They are stored in files and can be logged later."""


class LimitError(FlexError):
    """A client calls a server too often, or a call takes too long. A later or smaller call may succeed."""


class ModelError(FlexError):
    """A language model that cannot be reached: wrong key, wrong address, unknown model."""
