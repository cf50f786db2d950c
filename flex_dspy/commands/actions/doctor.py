"""``flex-dspy doctor``: checks key, address and model, and explains the results."""

from __future__ import annotations

from dataclasses import asdict

from flex_dspy.commands.actions import roles
from flex_dspy.commands.actions.tables import print_json
from flex_dspy.commands.options.shared import ModelOptions, TeacherOptions
from flex_dspy.core.errors import ModelError
from flex_dspy.models.doctor import MOST_CALLS, diagnose, report
from flex_dspy.signatures.critic import StudyWorkedAnswer


def run(options: ModelOptions, teachers: TeacherOptions, *, as_json: bool) -> None:
    """Check each model, and print the results.

    Raises:
        ModelError: If a check failed.
    """
    lms = roles.models(options, teachers)
    if not as_json:
        print(f"at most {MOST_CALLS} small requests a model")
    findings = diagnose(lms, StudyWorkedAnswer)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print(report(findings))
    if any(finding.ok is False for finding in findings):
        raise ModelError("the model cannot be used as it is set up: see the checks that failed")
