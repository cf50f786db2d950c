"""The ranking that lies beside a library, written by ``flex-dspy library fit``."""

from __future__ import annotations

import logging

from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.paths import ranking_of
from flex_dspy.tasks.task import Task

logger = logging.getLogger(__name__)


def expert_for(task: Task, library_name: str, library: ExperienceLibrary, cluster: str | None = None) -> str | None:
    """The task's offline expert, with the library's own ranking if there is one.

    A ranking that was fitted to another version of the library is left aside with a warning. So is every ranking on a
    cluster of other machines, which may not have the file.

    Args:
        task: The task.
        library_name: Name of the library on the command line.
        library: The library.
        cluster: The cluster that answers; None for this machine.

    Raises:
        ConfigurationError: If the ranking is damaged.
    """
    path = ranking_of(library_name)
    if task.expert != "chemist" or not path.is_file():
        return task.expert
    if cluster is not None and not cluster.startswith("local"):
        named = f"--lm offline/{task.expert}:{path}"
        logger.warning("the ranking %s is not used, as the cluster may not have it; if it has: %s", path, named)
        return task.expert
    from flex_dspy.offline.ranking import read_ranking

    version = read_ranking(path).fitted_on.get("library")
    if version == library.hash:
        return f"{task.expert}:{path}"
    logger.warning(
        "the ranking %s is not used: it was fitted to version %s of the library, and this is version %s. "
        "flex-dspy library fit fits it again",
        path,
        str(version)[:12],
        library.hash[:12],
    )
    return task.expert
