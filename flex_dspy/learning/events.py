"""The events of a run.

They happen in this order::

    RunStarted
      ExampleStarted -> ExampleAttempted -> LessonWritten, once a lesson -> EditCommitted, or ExampleFailed
      VersionMeasured -> VersionPublished
    RunEnded

``EditCommitted`` and ``ExampleFailed`` come in the order of the examples, the events before them as the work is done.
A listener is any callable that takes an event. It is called on the thread that learns, which waits for it; an error of
a listener ends the run, and the same call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from flex_dspy.evaluation.evaluation import Evaluation
    from flex_dspy.learning.attempts import AttemptResult
    from flex_dspy.learning.version import Version, VersionRecord
    from flex_dspy.libraries.experience import Commit, Edit, Experience
    from flex_dspy.libraries.library import ExperienceLibrary


@dataclass(frozen=True, slots=True)
class Event:
    """Anything that happens in a run.

    Attributes:
        run: Identity of the run.
    """

    run: str


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run begins, or goes on.

    Attributes:
        parameters: Settings and models.
        total: Number of examples; None if the run has no end.
        done: How many of them the library holds already.
        failed: Steps of the examples that failed before and are committed.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    total: int | None = None
    done: int = 0
    failed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExampleEvent(Event):
    """Anything that happens to one example.

    Attributes:
        step: Its position in the run, from 1.
        example_id: Identity of its problem.
    """

    step: int
    example_id: str


@dataclass(frozen=True, slots=True)
class ExampleStarted(ExampleEvent):
    """An example was handed to the executor."""


@dataclass(frozen=True, slots=True)
class ExampleAttempted(ExampleEvent):
    """The executor gave a result.

    Attributes:
        result: The result.
    """

    result: AttemptResult


@dataclass(frozen=True, slots=True)
class LessonWritten(ExampleEvent):
    """The critic wrote a lesson.

    Attributes:
        lesson: The lesson, before it has a place in the library.
        edit: The edit that the updater proposed for it.
    """

    lesson: Experience
    edit: Edit


@dataclass(frozen=True, slots=True)
class EditCommitted(ExampleEvent):
    """The edits of an example are in the library, durably.

    Attributes:
        commit: The edits, with the use of the library.
        library: The library after them.
        version: Hash of the last version; "" if none is known.
        score: The score of an answer that was observed; None otherwise.
        is_retry: Whether the example failed in an earlier call.
    """

    commit: Commit
    library: ExperienceLibrary
    version: str = ""
    score: float | None = None
    is_retry: bool = False


@dataclass(frozen=True, slots=True)
class ExampleFailed(ExampleEvent):
    """An example gave nothing. It may be attempted again.

    Attributes:
        error: The error.
        outage: Whether a model could not be reached.
        is_retry: Whether the example failed in an earlier call too.
    """

    error: str
    outage: bool = False
    is_retry: bool = False


@dataclass(frozen=True, slots=True)
class VersionMeasured(Event):
    """A library was measured on the validation examples.

    Attributes:
        library: The library.
        evaluation: The records.
    """

    library: ExperienceLibrary
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class VersionPublished(Event):
    """A version was written, or measured again (``version.is_again``).

    Attributes:
        version: The library, with everything that was measured of it.
        record: The same without content, as the log of versions keeps it.
    """

    version: Version
    record: VersionRecord


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """A run ended.

    Attributes:
        library: The library.
        reason: The stop rule that ended it; "" if it came to its end.
        error: The error that ended it; "" if none did.
    """

    library: ExperienceLibrary
    reason: str = ""
    error: str = ""


Listener: TypeAlias = Callable[[Event], Any]
StopRule: TypeAlias = Callable[[Event], str | bool | None]
