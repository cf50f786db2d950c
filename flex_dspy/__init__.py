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

if TYPE_CHECKING:
    from flex_dspy.evaluation.comparison import Comparison, compare
    from flex_dspy.evaluation.evaluate import Evaluation, evaluate
    from flex_dspy.learning.forward import ForwardLearning
    from flex_dspy.learning.online import OnlineLearner
    from flex_dspy.libraries.diffing import diff
    from flex_dspy.libraries.experience import Experience, Precedent, Rule
    from flex_dspy.libraries.library import ExperienceLibrary
    from flex_dspy.libraries.merging import merge
    from flex_dspy.libraries.store import LibraryStore
    from flex_dspy.models.limits import Limits
    from flex_dspy.models.lm import language_model
    from flex_dspy.models.spending import Ledger
    from flex_dspy.programs import Actor, Critic, RejectionSampling, Updater, Verifier
    from flex_dspy.programs.equip import equip
    from flex_dspy.programs.instructions import instruct
    from flex_dspy.search.retrieval import ExperienceRetriever, pinned, retrievers
    from flex_dspy.studies import Snapshots, ablation, inheritance, measure_scaling, scaling
    from flex_dspy.tasks.task import Task, get_task, register
    from flex_dspy.tracking.followed import FollowedLibrary
    from flex_dspy.tracking.registry import load_library
    from flex_dspy.tracking.tracker import MLflowTracker

__all__ = [
    "Actor",
    "Comparison",
    "Critic",
    "Evaluation",
    "Experience",
    "ExperienceLibrary",
    "ExperienceRetriever",
    "FollowedLibrary",
    "ForwardLearning",
    "Ledger",
    "LibraryStore",
    "Limits",
    "MLflowTracker",
    "OnlineLearner",
    "Precedent",
    "RejectionSampling",
    "Rule",
    "Snapshots",
    "Task",
    "Updater",
    "Verifier",
    "ablation",
    "compare",
    "diff",
    "equip",
    "evaluate",
    "get_task",
    "inheritance",
    "instruct",
    "language_model",
    "load_library",
    "measure_scaling",
    "merge",
    "pinned",
    "read_library",
    "register",
    "retrievers",
    "scaling",
]

# Importing dspy takes seconds, and `flex-dspy --help` must not: names are imported when they are first used.
_HOME = {
    "libraries.diffing": ("diff",),
    "tracking.followed": ("FollowedLibrary",),
    "evaluation.comparison": ("Comparison", "compare"),
    "evaluation.evaluate": ("Evaluation", "evaluate"),
    "libraries.experience": ("Experience", "Precedent", "Rule"),
    "programs.instructions": ("instruct",),
    "learning.forward": ("ForwardLearning",),
    "libraries.library": ("ExperienceLibrary",),
    "models.limits": ("Limits",),
    "models.lm": ("language_model",),
    "libraries.merging": ("merge",),
    "programs": ("Actor", "Critic", "RejectionSampling", "Updater", "Verifier"),
    "programs.equip": ("equip",),
    "search.retrieval": ("ExperienceRetriever", "pinned", "retrievers"),
    "libraries.store": ("LibraryStore",),
    "tasks.task": ("Task", "get_task", "register"),
    "tracking.registry": ("load_library", "read_library"),
    "models.spending": ("Ledger",),
    "learning.online": ("OnlineLearner",),
    "studies": ("Snapshots", "ablation", "inheritance", "measure_scaling", "scaling"),
    "tracking.tracker": ("MLflowTracker",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
