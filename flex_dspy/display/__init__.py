"""Representations of objects for notebooks and MLflow: HTML without scripts, and pandas frames."""

from flex_dspy.display.libraries import diff_html, library_html

__all__ = ["diff_html", "library_html"]
