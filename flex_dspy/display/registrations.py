"""Registers this package's cells, pages and frames; loaded by the entry point group ``flex_dspy.representations``."""

from __future__ import annotations

from flex_dspy.core.representations import register
from flex_dspy.core.trajectory import Trajectory
from flex_dspy.display.comparisons import comparison_cell, comparison_frame
from flex_dspy.display.entries import entry_cell, hit_cell, hits_cell
from flex_dspy.display.frames import diff_frame, evaluation_frame, library_frame, versions_frame
from flex_dspy.display.libraries import diff_cell, diff_html, library_cell, library_html, versions_cell
from flex_dspy.display.results import evaluation_cell, trajectory_cell
from flex_dspy.display.version_tables import version_table_cell, version_table_frame
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.learning.version import Versions
from flex_dspy.libraries.diffing import LibraryDiff
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.hits import Hit, Hits
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.version_rows import VersionTable

register("html", Experience, entry_cell)
register("html", Hit, hit_cell)
register("html", Hits, hits_cell)
register("html", Trajectory, trajectory_cell)

register("html", ExperienceLibrary, library_cell)
register("page", ExperienceLibrary, library_html)
register("frame", ExperienceLibrary, library_frame)

register("html", LibraryDiff, diff_cell)
register("page", LibraryDiff, diff_html)
register("frame", LibraryDiff, diff_frame)

register("html", Versions, versions_cell)
register("frame", Versions, versions_frame)

register("html", VersionTable, version_table_cell)
register("frame", VersionTable, version_table_frame)

register("html", Evaluation, evaluation_cell)
register("frame", Evaluation, evaluation_frame)

register("html", Comparison, comparison_cell)
register("frame", Comparison, comparison_frame)
