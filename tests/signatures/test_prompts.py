"""What the roles are told: learned libraries depend on it, so a change must be meant."""

import hashlib
import json

import dspy
import pytest
from pydantic import TypeAdapter

from flex_dspy import signatures
from flex_dspy.programs import Actor
from flex_dspy.tasks.aime import SolveCompetitionProblem
from flex_dspy.tasks.uspto50k import Retrosynthesis

ROLES = {
    "DistilFailure": signatures.DistilFailure,
    "DistilRecovery": signatures.DistilRecovery,
    "DistilSuccess": signatures.DistilSuccess,
    "StudyWorkedAnswer": signatures.StudyWorkedAnswer,
    "MergeLesson": signatures.MergeLesson,
    "VerifyAttempt": signatures.VerifyAttempt,
    "Retrosynthesis": Actor(Retrosynthesis).attempt.predict.signature,
    "SolveCompetitionProblem": Actor(SolveCompetitionProblem).attempt.predict.signature,
}

KNOWN = {
    "DistilFailure": "f5733a3214581fe2",
    "DistilRecovery": "2c0eb2726fd294c5",
    "DistilSuccess": "c1a31ff4e3a0afb7",
    "StudyWorkedAnswer": "ff717d2b3291e710",
    "MergeLesson": "42bb6786d0f25f0f",
    "VerifyAttempt": "a575326d580eb82d",
    "Retrosynthesis": "0339c124eda2d97e",
    "SolveCompetitionProblem": "6178e58ddcf8f4dd",
}


def words(signature: type[dspy.Signature]) -> str:
    """All that a signature puts into a prompt, whatever the adapter."""
    fields = [
        (name, field.json_schema_extra["desc"], TypeAdapter(field.annotation).json_schema())
        for name, field in signature.fields.items()
    ]
    return hashlib.sha256(json.dumps([signature.instructions, fields]).encode()).hexdigest()[:16]


@pytest.mark.parametrize("role", ROLES)
def test_the_words_of_a_role_are_the_known_ones(role):
    assert words(ROLES[role]) == KNOWN[role]
