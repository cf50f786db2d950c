"""The agents' frameworks keep their connections open, beyond the event loop of a test."""

from collections.abc import Iterator

import pytest

from tests.connections import close_connections


@pytest.fixture(autouse=True)
def _connections_are_closed() -> Iterator[None]:
    yield
    close_connections()
