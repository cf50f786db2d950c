"""Connects a command to the cluster that runs its programs, if the user names one."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from flex_dspy.commands.options.shared import ActorRun
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.programs.executors import Executor


@contextlib.contextmanager
def executor(options: ActorRun) -> Iterator[Executor | None]:
    """Context manager that connects the executor of ``--cluster``; None if programs run in this process.

    Raises:
        ConfigurationError: If Dask is not installed, the cluster does not exist, or a worker cannot run the programs.
    """
    address = options.cluster.cluster
    if not address:
        yield None
        return
    if importlib.util.find_spec("distributed") is None:
        raise ConfigurationError("--cluster needs Dask: pip install 'flex-dspy[cluster]'")
    from flex_dspy.cluster.executor import DaskExecutor

    with DaskExecutor(address, concurrency=options.actor.concurrency) as cluster:
        yield cluster
