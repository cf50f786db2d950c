"""The connection to a cluster: an existing one, or worker processes of this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass

import dask.config
from distributed import Client, LocalCluster

from flex_dspy.cluster.preflight import check_workers
from flex_dspy.core.errors import ConfigurationError

ADDRESS = "DASK_SCHEDULER_ADDRESS"
_LOCAL = re.compile(r"local:([1-9]\d{0,3})")
_TIMEOUT = "30s"  # to connect


@dataclass(frozen=True)
class Connection:
    """A connection to a cluster.

    Attributes:
        client: The client.
        cluster: The worker processes of this machine; None for a cluster that others started.
        is_own: Whether ``connect`` made the client. Such a client is closed together with the connection.
    """

    client: Client
    cluster: LocalCluster | None = None
    is_own: bool = True

    def close(self) -> None:
        """Close the connection, and the client and the worker processes that were started for it."""
        if self.is_own:
            self.client.close()
        if self.cluster is not None:
            self.cluster.close()


def connect(cluster: str | Client | None, concurrency: int) -> Connection:
    """Connect to a cluster, and check its workers.

    Args:
        cluster: See ``DaskExecutor``.
        concurrency: With ``local:N``, the largest number of simultaneous calls of all processes together.

    Raises:
        ConfigurationError: If there is no such cluster, or a worker cannot do the work.
    """
    connection = _open(cluster, concurrency)
    try:
        check_workers(connection.client)
    except BaseException:
        connection.close()
        raise
    return connection


def _open(cluster: str | Client | None, concurrency: int) -> Connection:
    if isinstance(cluster, Client):
        return Connection(cluster, is_own=False)
    address = cluster or os.environ.get(ADDRESS) or dask.config.get("scheduler-address", None)
    if not address:
        raise ConfigurationError(f"name a cluster: an address such as tcp://head:8786, or local:N, or set {ADDRESS}")
    if found := _LOCAL.fullmatch(address):
        return _start(int(found[1]), concurrency)
    if "://" not in address:
        raise ConfigurationError(f"{address!r} is no cluster: give an address such as tcp://head:8786, or local:N")
    try:
        return Connection(Client(address, timeout=_TIMEOUT, set_as_default=False))
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"no Dask scheduler answers at {address}: {error or type(error).__name__}. Start one with dask-scheduler; "
            "for tls:// addresses set DASK_DISTRIBUTED__COMM__TLS__... as well"
        ) from error


def _start(workers: int, concurrency: int) -> Connection:
    """Start worker processes on this machine. They listen on the loopback interface only, and end with this process."""
    # The caller repeats a lost call and counts the repetitions, so the scheduler does not repeat it.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), contextlib.ExitStack() as stack:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=-(-concurrency // workers),
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.ERROR,
        )
        stack.callback(cluster.close)
        client = Client(cluster, set_as_default=False)
        stack.pop_all()
        return Connection(client, cluster)
