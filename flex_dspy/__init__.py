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
    from flex_dspy.evaluation import Evaluation, evaluate
    from flex_dspy.experience import Experience, Precedent, Rule
    from flex_dspy.learning import ForwardLearning
    from flex_dspy.library import ExperienceLibrary
    from flex_dspy.lm import language_model
    from flex_dspy.programs import Actor, Critic, RejectionSampling, Updater, Verifier
    from flex_dspy.registry import load_library
    from flex_dspy.retrieval import ExperienceRetriever, pinned
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
    "LibraryStore",
    "MLflowTracker",
    "Precedent",
    "RejectionSampling",
    "Rule",
    "Task",
    "Updater",
    "Verifier",
    "evaluate",
    "get_task",
    "language_model",
    "load_library",
    "pinned",
]

# Importing dspy takes seconds, and `flex-dspy --help` must not: names are imported when they are first used.
_HOME = {
    "evaluation": ("Evaluation", "evaluate"),
    "experience": ("Experience", "Precedent", "Rule"),
    "learning": ("ForwardLearning",),
    "library": ("ExperienceLibrary",),
    "lm": ("language_model",),
    "programs": ("Actor", "Critic", "RejectionSampling", "Updater", "Verifier"),
    "retrieval": ("ExperienceRetriever", "pinned"),
    "store": ("LibraryStore",),
    "tasks": ("Task", "get_task"),
    "registry": ("load_library",),
    "tracking": ("MLflowTracker",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
