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
    from flex_dspy.diffing import diff
    from flex_dspy.evaluation import Evaluation, evaluate
    from flex_dspy.experience import Experience, Precedent, Rule
    from flex_dspy.instructions import instruct
    from flex_dspy.learning import ForwardLearning
    from flex_dspy.library import ExperienceLibrary
    from flex_dspy.limits import Limits
    from flex_dspy.lm import language_model
    from flex_dspy.merging import merge
    from flex_dspy.programs import Actor, Critic, RejectionSampling, Updater, Verifier
    from flex_dspy.registry import load_library
    from flex_dspy.retrieval import ExperienceRetriever, pinned
    from flex_dspy.spending import Ledger
    from flex_dspy.store import LibraryStore
    from flex_dspy.tasks import Task, get_task
    from flex_dspy.tracking import MLflowTracker

__all__ = [
    "Actor",
    "Critic",
    "Evaluation",
    "Experience",
    "ExperienceLibrary",
    "ExperienceRetriever",
    "ForwardLearning",
    "Ledger",
    "LibraryStore",
    "Limits",
    "MLflowTracker",
    "Precedent",
    "RejectionSampling",
    "Rule",
    "Task",
    "Updater",
    "Verifier",
    "diff",
    "evaluate",
    "get_task",
    "instruct",
    "language_model",
    "load_library",
    "merge",
    "pinned",
    "read_library",
]

# Importing dspy takes seconds, and `flex-dspy --help` must not: names are imported when they are first used.
_HOME = {
    "diffing": ("diff",),
    "evaluation": ("Evaluation", "evaluate"),
    "experience": ("Experience", "Precedent", "Rule"),
    "instructions": ("instruct",),
    "learning": ("ForwardLearning",),
    "library": ("ExperienceLibrary",),
    "limits": ("Limits",),
    "lm": ("language_model",),
    "merging": ("merge",),
    "programs": ("Actor", "Critic", "RejectionSampling", "Updater", "Verifier"),
    "retrieval": ("ExperienceRetriever", "pinned"),
    "store": ("LibraryStore",),
    "tasks": ("Task", "get_task"),
    "registry": ("load_library", "read_library"),
    "spending": ("Ledger",),
    "tracking": ("MLflowTracker",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
