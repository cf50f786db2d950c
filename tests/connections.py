"""Closes what clients of models leave open, so that no later test is blamed for it."""

from __future__ import annotations

import gc
from asyncio.selector_events import _SelectorTransport


def close_connections() -> None:
    """Close all clients of httpx, and all connections whose event loop is closed."""
    import httpx

    clients, transports = _kinds(httpx.Client), _kinds(_SelectorTransport)
    kinds = clients | transports  # one look-up an object: there are a million objects
    for each in [found for found in gc.get_objects() if type(found) in kinds]:
        if type(each) in clients:
            each.close()
        elif each._sock is not None and each._loop.is_closed():
            each._sock.close()
            each._sock = None


def _kinds(base: type) -> set[type]:
    """The class and all that is derived from it."""
    return {base}.union(*map(_kinds, base.__subclasses__()))
