"""``flex-dspy doctor``: check key, address and model, in plain words."""

from __future__ import annotations

from flex_dspy.commands.arguments import PrintJson
from flex_dspy.commands.options.shared import Config, ModelOptions, TeacherOptions


def diagnose(
    *,
    models: ModelOptions = ModelOptions(),
    teachers: TeacherOptions = TeacherOptions(),
    json: PrintJson = False,
    config: Config = None,
) -> None:
    """Check that a model can be used: key, address, model, latency and structured output, by a few small requests."""
    from flex_dspy.commands.actions import doctor as action

    action.run(models, teachers, as_json=json)
