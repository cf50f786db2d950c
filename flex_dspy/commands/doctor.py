"""``flex-dspy doctor``: check key, address and model, in plain words."""

from __future__ import annotations

import argparse

from flex_dspy.commands import roles
from flex_dspy.core.errors import ModelError
from flex_dspy.models.doctor import MOST_CALLS, diagnose, report
from flex_dspy.signatures.critic import StudyWorkedAnswer


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    lms = roles.models(arguments, None)
    print(f"at most {MOST_CALLS} small requests a model")
    findings = diagnose(lms, StudyWorkedAnswer)
    print(report(findings))
    if any(finding.ok is False for finding in findings):
        raise ModelError("the model cannot be used as it is set up: see the checks that failed")
