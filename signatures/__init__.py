"""The roles of forward learning, one file a role. A task's own signature is in its module of ``flex_dspy.tasks``."""

from __future__ import annotations

from flex_dspy.signatures.actor import (
    Access,
    experience_guide,
    with_candidates,
    with_experience,
)
from flex_dspy.signatures.critic import DistilFailure, DistilRecovery, DistilSuccess, Lesson, StudyWorkedAnswer
from flex_dspy.signatures.retriever import ChooseLessons
from flex_dspy.signatures.updater import Decision, MergeLesson
from flex_dspy.signatures.verifier import VerifyAttempt

__all__ = [
    "Access",
    "ChooseLessons",
    "Decision",
    "DistilFailure",
    "DistilRecovery",
    "DistilSuccess",
    "Lesson",
    "MergeLesson",
    "StudyWorkedAnswer",
    "VerifyAttempt",
    "experience_guide",
    "with_candidates",
    "with_experience",
]
