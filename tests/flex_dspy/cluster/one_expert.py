"""Dask loads this in each worker: one process for each offline expert, as three workers share two cores."""

from flex_dspy.offline import engine


def dask_setup(worker: object) -> None:
    """Called when a worker starts."""
    engine.count_cores = lambda: 1
