"""The roles of forward learning, one file a role."""

from __future__ import annotations

from flex_dspy.signatures.actor import Retrosynthesis, SolveCompetitionProblem, with_experience
from flex_dspy.signatures.critic import DistilFailure, DistilRecovery, DistilSuccess, Lesson, StudyWorkedAnswer
from flex_dspy.signatures.updater import Decision, MergeLesson
from flex_dspy.signatures.verifier import VerifyAttempt

__all__ = [
    "Decision",
    "DistilFailure",
    "DistilRecovery",
    "DistilSuccess",
    "Lesson",
    "MergeLesson",
    "Retrosynthesis",
    "SolveCompetitionProblem",
    "StudyWorkedAnswer",
    "VerifyAttempt",
    "with_experience",
]
