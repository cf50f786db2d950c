"""Metrics: pure functions from a reference and a prediction to a score and a line of feedback.

Each submodule holds one task's metric under the module's own name (``flex_dspy.metrics.aime.aime``).
This package re-exports nothing, because a function of the same name would hide the module.
"""
