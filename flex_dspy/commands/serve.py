"""``flex-dspy serve``: a library for agents outside DSPy."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import threading
from typing import TYPE_CHECKING

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.tracking.followed import FollowedLibrary

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from flex_dspy.serving.tokens import Clients

# A look at files costs next to nothing, one at MLflow a query.
_MLFLOW_SECONDS = 60.0


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    if arguments.http is not None:
        _over_http(arguments)
        return
    if arguments.token_file is not None:
        raise ConfigurationError("--token-file is for a server over HTTP: add --http, or leave it out")
    with contextlib.redirect_stdout(sys.stderr):  # on stdout there is nothing but protocol
        server = _server(arguments, None)
    # While it serves, the SDK leads what others write to stdout to stderr; nothing may wait until that is over.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    server.run("stdio")


def _load_sdk() -> None:
    try:
        import flex_dspy.serving.mcp_server  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise ConfigurationError("the server needs mcp 2.3 or newer: pip install 'flex-dspy[mcp]'") from error


def _server(arguments: argparse.Namespace, clients: Clients | None) -> MCPServer:
    _load_sdk()
    from flex_dspy.serving.call_limits import CallLimits
    from flex_dspy.serving.library_tools import LibraryTools, outcome_log
    from flex_dspy.serving.mcp_server import mcp_server

    beside = outcome_log(arguments.mcp)
    followed = FollowedLibrary(arguments.mcp, 0.0 if beside else _MLFLOW_SECONDS, arguments.tracking_uri)
    library = followed.snapshot()  # what cannot be read is said before an agent waits for it
    outcomes = outcome_log(arguments.outcomes) if arguments.outcomes else beside
    tools = LibraryTools(followed, None if arguments.read_only else outcomes, arguments.k, arguments.token_budget)
    # A large library takes a minute to index. Calls that come earlier wait for that within their own time limit.
    threading.Thread(target=tools.prepare, args=(library,), daemon=True).start()
    limits = CallLimits(arguments.calls_per_minute, arguments.outcomes_per_minute, arguments.time_limit)
    return mcp_server(tools, clients, limits)


def _over_http(arguments: argparse.Namespace) -> None:
    _load_sdk()
    from flex_dspy.serving.mcp_server import PATH, is_loopback, listening, refuse_open_address, serve_http
    from flex_dspy.serving.tokens import read_clients

    clients = None if arguments.token_file is None else read_clients(arguments.token_file)
    server = _server(arguments, clients)

    host, port = arguments.http
    with listening(host, port) as listener:
        refuse_open_address(listener, host, arguments.allowed_host, clients)
        address = f"[{host}]" if ":" in host else host
        url = f"http://{address}:{listener.getsockname()[1]}{PATH}"
        print(f"flex-dspy: {arguments.mcp} at {url}", file=sys.stderr, flush=True)
        if not is_loopback(host):
            print("flex-dspy: put a proxy with TLS before it: tokens are sent as they are", file=sys.stderr, flush=True)
        serve_http(server, listener, host, arguments.allowed_host)
