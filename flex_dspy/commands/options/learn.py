"""The options of ``flex-dspy learn``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flex_dspy.commands.arguments import EXCLUSIVE, Overlap, Positive, Scale, default_of
from flex_dspy.commands.options.shared import DATA, LEARNING, REQUESTS, RUN, TRACKING, ActorRun, TeacherOptions
from flex_dspy.learning.settings import LearningSettings

Promote = Literal["best", "never", "significant"]  # as in flex_dspy.tracking.promotion, without its imports


@Parameter(name="*", group=DATA)
@dataclass(frozen=True)
class LearningData:
    """The examples to learn from and to measure on."""

    train: str | None = None
    """Training examples: a split, a file (csv, jsonl, parquet, .gz) or a hub id."""
    val: str | None = None
    """Validation examples, likewise."""
    train_samples: Positive | None = None
    """Learn from a random N of them."""
    val_samples: Positive | None = None
    """Measure on a random N of them."""
    overlap: Overlap = "drop"
    """Measured examples that were learned from: leave them out, stop, or keep them."""


@Parameter(name="*", group=REQUESTS)
@dataclass(frozen=True)
class RequestOptions:
    """Rated requests to learn from, instead of examples."""

    traces: str | None = None
    """Learn from the rated traces of this MLflow experiment."""
    requests: Path | None = None
    """Learn from the rows of this file (csv, jsonl): input, output, score or feedback."""
    filter: str = ""
    """MLflow's filter of traces, such as "tags.team = 'refunds'"."""
    assessment: str | None = None
    """Only the feedback of this name counts."""
    scale: Scale | None = None
    """LOWEST,HIGHEST: the ends of the scale of ratings (default: 0,1)."""
    follow: bool = False
    """Go on with new requests until Ctrl-C."""
    poll_seconds: Positive = 30
    """Seconds between two looks for new requests."""

    @property
    def are_given(self) -> bool:
        """Whether to learn from requests."""
        return self.traces is not None or self.requests is not None


@Parameter(name="*", group=LEARNING)
@dataclass(frozen=True)
class LearningOptions:
    """How the library is learned."""

    study: bool = False
    """Learn from reference answers, without attempts."""
    without_reference: bool = False
    """Learn without reference answers: the verifier decides, and lessons are not verified."""
    lessons_from: Literal["all", "failures"] = default_of(LearningSettings, "lessons_from")
    """Rollouts to write lessons from. failures: what is solved at the first attempt is kept without a lesson."""
    review: bool = False
    """Let every lesson wait for approval (library review). No actor is shown it before."""
    rounds: Positive = default_of(LearningSettings, "max_rounds")
    """Rounds a rollout."""
    rollouts: Positive | None = None
    """Rollouts an example (default: 3; 1 offline, as an offline expert repeats itself)."""
    epochs: Positive = default_of(LearningSettings, "epochs")
    """Passes over the data."""
    write_scope: str = ""
    """The scope that the lessons belong to, and that the actor reads too (default: all share them)."""
    window: Positive = default_of(LearningSettings, "window")
    """An example sees the library as it was at most N examples ago."""
    checkpoint_every: Positive | None = None
    """Publish a version every N examples (default: six, spread on a log scale)."""
    retry_failed: Annotated[bool, Parameter(negative="--no-retry-failed")] = True
    """Attempt failed examples of an earlier start again; measure versions again that were measured with errors."""


@Parameter(name="*", group=RUN)
@dataclass(frozen=True)
class RunOptions:
    """Where the run keeps its files."""

    library: Path | None = None
    """Learn into this library file. It is created if it is missing (default: library.json in the run's folder)."""
    start_from: str | None = None
    """Start from this library: a file, a folder of them, or NAME@alias or NAME/version in MLflow."""
    out: Path | None = None
    """Folder of the run (default: exps/TASK-RUN)."""
    resume: Annotated[bool, Parameter(group=(RUN, EXCLUSIVE))] = False
    """Continue a run. It is an error if there is none."""
    fresh: Annotated[bool, Parameter(group=(RUN, EXCLUSIVE))] = False
    """Start anew. The files of an earlier run are moved aside."""
    dry_run: bool = False
    """Print the least and the most that the run would cost, and stop."""


@Parameter(name="*", group=TRACKING)
@dataclass(frozen=True)
class PromotionOptions:
    """When NAME@best moves."""

    promote: Promote = "best"
    """Move NAME@best to a version with a higher score on the same examples; only if p < 0.05; or never."""


@Parameter(name="*")
@dataclass(frozen=True)
class LearnOptions(ActorRun):
    """All options of ``learn``."""

    data: LearningData = LearningData()
    requests: RequestOptions = RequestOptions()
    learning: LearningOptions = LearningOptions()
    run: RunOptions = RunOptions()
    teachers: TeacherOptions = TeacherOptions()
    promotion: PromotionOptions = PromotionOptions()

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that the actor reads, with the one that it learns for."""
        own = (self.learning.write_scope,) if self.learning.write_scope else ()
        return tuple(dict.fromkeys((*self.retrieval.scope, *own)))
