"""``flex-dspy serve``: a library for agents outside DSPy."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from typing import TYPE_CHECKING

from flex_dspy.errors import ConfigurationError
from flex_dspy.libraries.followed import FollowedLibrary

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

# A look at files costs next to nothing, one at MLflow a query.
_MLFLOW_SECONDS = 60.0


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    if arguments.http is not None:
        _over_http(arguments)
        return
    with contextlib.redirect_stdout(sys.stderr):  # on stdout there is nothing but protocol
        server = _server(arguments)
    # While it serves, the SDK leads what others write to stdout to stderr; nothing may wait until that is over.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    server.run("stdio")


def _server(arguments: argparse.Namespace) -> MCPServer:
    try:
        from flex_dspy.serving.mcp_server import mcp_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise ConfigurationError("the server needs mcp 2.3 or newer: pip install 'flex-dspy[mcp]'") from error
    from flex_dspy.serving.library_tools import LibraryTools, outcome_log

    beside = outcome_log(arguments.mcp)
    followed = FollowedLibrary(arguments.mcp, 0.0 if beside else _MLFLOW_SECONDS, arguments.tracking_uri)
    followed.snapshot()  # what cannot be read is said before an agent waits for it
    outcomes = outcome_log(arguments.outcomes) if arguments.outcomes else beside
    return mcp_server(LibraryTools(followed, outcomes, arguments.k, arguments.token_budget))


def _over_http(arguments: argparse.Namespace) -> None:
    server = _server(arguments)
    from flex_dspy.serving.mcp_server import PATH, is_loopback, listening, serve_http

    host, port = arguments.http
    with listening(host, port) as listener:
        address = f"[{host}]" if ":" in host else host
        url = f"http://{address}:{listener.getsockname()[1]}{PATH}"
        print(f"flex-dspy: {arguments.mcp} at {url}", file=sys.stderr, flush=True)
        if not is_loopback(host):
            print("flex-dspy: anyone who reaches this address may read the library", file=sys.stderr, flush=True)
        serve_http(server, listener, host, arguments.allowed_host)
