"""Forward Learning from Experience (FLEX, arXiv 2511.06449) for DSPy.

Example:
    >>> from flex_dspy import ForwardLearning, get_task
    >>> task = get_task("uspto50k")
    >>> train, val = task.load("train").examples, task.load("val").examples
    >>> optimizer = ForwardLearning(task.metric, library="chemist.json")
    >>> chemist = optimizer.compile(task.actor(), trainset=train, valset=val)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# For type checkers; a test keeps these equal to the table below.
if TYPE_CHECKING:
    from flex_dspy.evaluation.comparison import Comparison as Comparison
    from flex_dspy.evaluation.comparison import compare as compare
    from flex_dspy.evaluation.evaluate import Evaluation as Evaluation
    from flex_dspy.evaluation.evaluate import evaluate as evaluate
    from flex_dspy.evaluation.settings import EvaluationSettings as EvaluationSettings
    from flex_dspy.learning.forward import ForwardLearning as ForwardLearning
    from flex_dspy.learning.online import OnlineLearner as OnlineLearner
    from flex_dspy.learning.precedents import precedent_library as precedent_library
    from flex_dspy.learning.rated_files import RatedFile as RatedFile
    from flex_dspy.learning.settings import LearningSettings as LearningSettings
    from flex_dspy.learning.trace_learner import TraceLearner as TraceLearner
    from flex_dspy.learning.trust_calibration import TrustCalibration as TrustCalibration
    from flex_dspy.libraries.diffing import diff as diff
    from flex_dspy.libraries.experience import Experience as Experience
    from flex_dspy.libraries.experience import Precedent as Precedent
    from flex_dspy.libraries.experience import Rule as Rule
    from flex_dspy.libraries.library import ExperienceLibrary as ExperienceLibrary
    from flex_dspy.libraries.merging import merge as merge
    from flex_dspy.libraries.store import LibraryStore as LibraryStore
    from flex_dspy.models.batches import Batches as Batches
    from flex_dspy.models.limits import Limits as Limits
    from flex_dspy.models.lm import language_model as language_model
    from flex_dspy.models.settings import ModelSettings as ModelSettings
    from flex_dspy.models.spending import Ledger as Ledger
    from flex_dspy.programs import Actor as Actor
    from flex_dspy.programs import Critic as Critic
    from flex_dspy.programs import RejectionSampling as RejectionSampling
    from flex_dspy.programs import Updater as Updater
    from flex_dspy.programs import Verifier as Verifier
    from flex_dspy.programs.equip import equip as equip
    from flex_dspy.programs.instructions import instruct as instruct
    from flex_dspy.search.reading import pinned as pinned
    from flex_dspy.search.retrieval import ExperienceRetriever as ExperienceRetriever
    from flex_dspy.search.retrieval import retrievers as retrievers
    from flex_dspy.search.settings import RetrievalSettings as RetrievalSettings
    from flex_dspy.studies import Snapshots as Snapshots
    from flex_dspy.studies import ablation as ablation
    from flex_dspy.studies import inheritance as inheritance
    from flex_dspy.studies import measure_scaling as measure_scaling
    from flex_dspy.studies import scaling as scaling
    from flex_dspy.tasks.registry import get_task as get_task
    from flex_dspy.tasks.registry import register as register
    from flex_dspy.tasks.task import Task as Task
    from flex_dspy.tracking.assessments import log_assessments as log_assessments
    from flex_dspy.tracking.followed import FollowedLibrary as FollowedLibrary
    from flex_dspy.tracking.registry import load_library as load_library
    from flex_dspy.tracking.registry import read_library as read_library
    from flex_dspy.tracking.traces import traces as traces
    from flex_dspy.tracking.tracker import MLflowTracker as MLflowTracker
    from flex_dspy.tracking.version_table import versions as versions

# Importing dspy takes seconds, and `flex-dspy --help` must not: a name is imported when it is first used.
_EXPORTS = {
    "evaluation.comparison": ("Comparison", "compare"),
    "evaluation.evaluate": ("Evaluation", "evaluate"),
    "evaluation.settings": ("EvaluationSettings",),
    "learning.forward": ("ForwardLearning",),
    "learning.online": ("OnlineLearner",),
    "learning.precedents": ("precedent_library",),
    "learning.rated_files": ("RatedFile",),
    "learning.settings": ("LearningSettings",),
    "learning.trace_learner": ("TraceLearner",),
    "learning.trust_calibration": ("TrustCalibration",),
    "libraries.diffing": ("diff",),
    "libraries.experience": ("Experience", "Precedent", "Rule"),
    "libraries.library": ("ExperienceLibrary",),
    "libraries.merging": ("merge",),
    "libraries.store": ("LibraryStore",),
    "models.batches": ("Batches",),
    "models.limits": ("Limits",),
    "models.lm": ("language_model",),
    "models.settings": ("ModelSettings",),
    "models.spending": ("Ledger",),
    "programs": ("Actor", "Critic", "RejectionSampling", "Updater", "Verifier"),
    "programs.equip": ("equip",),
    "programs.instructions": ("instruct",),
    "search.reading": ("pinned",),
    "search.retrieval": ("ExperienceRetriever", "retrievers"),
    "search.settings": ("RetrievalSettings",),
    "studies": ("Snapshots", "ablation", "inheritance", "measure_scaling", "scaling"),
    "tasks.registry": ("get_task", "register"),
    "tasks.task": ("Task",),
    "tracking.assessments": ("log_assessments",),
    "tracking.followed": ("FollowedLibrary",),
    "tracking.registry": ("load_library", "read_library"),
    "tracking.traces": ("traces",),
    "tracking.tracker": ("MLflowTracker",),
    "tracking.version_table": ("versions",),
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
