"""The roles of forward learning, one file a role."""

from __future__ import annotations

from flex_dspy.signatures.actor import (
    Access,
    Retrosynthesis,
    SolveCompetitionProblem,
    SolveWordProblem,
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
    "Retrosynthesis",
    "SolveCompetitionProblem",
    "SolveWordProblem",
    "StudyWorkedAnswer",
    "VerifyAttempt",
    "experience_guide",
    "with_candidates",
    "with_experience",
]
