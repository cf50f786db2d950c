"""Closes what clients of models leave open, so that no later test is blamed for it."""

from __future__ import annotations

import gc
from asyncio.selector_events import _SelectorTransport


def close_connections() -> None:
    """Close all clients of httpx, and all connections whose event loop is closed."""
    import httpx

    for each in gc.get_objects():
        if issubclass(type(each), httpx.Client):
            each.close()
        elif issubclass(type(each), _SelectorTransport) and each._sock is not None and each._loop.is_closed():
            each._sock.close()
            each._sock = None
