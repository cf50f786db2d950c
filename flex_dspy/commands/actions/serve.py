"""``flex-dspy serve``: a library for agents outside DSPy."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from typing import TYPE_CHECKING

from flex_dspy.commands.options.serve import HttpOptions, ServedLibrary, ServerLimits
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.tracking.followed import FollowedLibrary

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from flex_dspy.serving.tokens import Clients

# A look at files costs next to nothing, one at MLflow a query.
_MLFLOW_SECONDS = 60.0


def run(library: ServedLibrary, http: HttpOptions, limits: ServerLimits) -> None:
    """Serve a library, over HTTP or on stdin and stdout.

    Raises:
        ConfigurationError: If the options do not fit together, or the server cannot listen.
    """
    if http.address is not None:
        _serve_http(library, http, limits, http.address)
        return
    if http.token_file is not None:
        raise ConfigurationError("--token-file is for a server over HTTP: add --http, or leave it out")
    with contextlib.redirect_stdout(sys.stderr):  # on stdout there is nothing but protocol
        server = make_server(library, limits, None)
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


def make_server(library: ServedLibrary, limits: ServerLimits, clients: Clients | None) -> MCPServer:
    """Make the server of a library.

    Args:
        library: What is served.
        limits: What a client may ask for.
        clients: Who may use it; None for everyone.
    """
    _load_sdk()
    from flex_dspy.serving.call_limits import CallLimits
    from flex_dspy.serving.library_tools import LibraryTools, outcome_log
    from flex_dspy.serving.mcp_server import mcp_server

    beside = outcome_log(library.mcp)
    followed = FollowedLibrary(library.mcp, 0.0 if beside else _MLFLOW_SECONDS, library.tracking_uri)
    snapshot = followed.snapshot()  # an error in the file is reported before an agent waits for it
    outcomes = outcome_log(library.outcomes) if library.outcomes else beside
    tools = LibraryTools(followed, None if library.read_only else outcomes, library.k, library.token_budget)
    # A large library takes a minute to index. Calls that come earlier wait for that within their own time limit.
    threading.Thread(target=tools.prepare, args=(snapshot,), daemon=True).start()
    most = CallLimits(limits.calls_per_minute, limits.outcomes_per_minute, limits.time_limit)
    return mcp_server(tools, clients, most)


def _serve_http(library: ServedLibrary, http: HttpOptions, limits: ServerLimits, address: tuple[str, int]) -> None:
    _load_sdk()
    from flex_dspy.serving.mcp_server import PATH, is_loopback, listening, refuse_open_address, serve_http
    from flex_dspy.serving.tokens import read_clients

    clients = None if http.token_file is None else read_clients(http.token_file)
    server = make_server(library, limits, clients)

    host, port = address
    with listening(host, port) as listener:
        refuse_open_address(listener, host, http.allowed_host, clients)
        url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}{PATH}"
        print(f"flex-dspy: {library.mcp} at {url}", file=sys.stderr, flush=True)
        if not is_loopback(host):
            print("flex-dspy: put a proxy with TLS before it: tokens are sent as they are", file=sys.stderr, flush=True)
        serve_http(server, listener, host, http.allowed_host)
