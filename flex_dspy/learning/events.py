"""The events of a run.

They happen in this order::

    RunStarted
      ExampleStarted -> ExampleAttempted -> LessonWritten, once a lesson -> EditCommitted, or ExampleFailed
      VersionMeasured -> VersionPublished
    RunEnded

``EditCommitted`` and ``ExampleFailed`` come in the order of the examples. The events before them come when the work is
done. ``VersionMeasured`` and ``VersionPublished`` come between the events of later examples, unless there are stop
rules. A listener is any callable that takes an event. The thread that learns calls it and waits for it. An error of a
listener ends the run; the same call then continues the run.
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
    """A run begins or continues.

    Attributes:
        parameters: Settings and models.
        total: Number of examples; None if the run has no end.
        done: Number of examples that the library holds already.
        failed: Steps of the examples whose failures were committed before.
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
    """The edits of an example are in the library and on the disk.

    Attributes:
        commit: The edits, and the use of the library by the attempts.
        library: The library after them.
        version: Hash of the last version; "" if none is known.
        score: The score of an observed answer; None otherwise.
        is_retry: Whether the example failed in an earlier call.
    """

    commit: Commit
    library: ExperienceLibrary
    version: str = ""
    score: float | None = None
    is_retry: bool = False


@dataclass(frozen=True, slots=True)
class ExampleFailed(ExampleEvent):
    """An example failed. It may be attempted again.

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
        version: The library with all its measurements.
        record: The version without its content, as the log of versions keeps it.
    """

    version: Version
    record: VersionRecord


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """A run ended.

    Attributes:
        library: The library.
        reason: The reason of the stop rule that ended the run; "" if no rule did.
        error: The error that ended the run; "" if none did.
    """

    library: ExperienceLibrary
    reason: str = ""
    error: str = ""


Listener: TypeAlias = Callable[[Event], Any]
StopRule: TypeAlias = Callable[[Event], str | bool | None]
