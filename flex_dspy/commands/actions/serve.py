"""``flex-dspy serve``: serves a library to agents outside DSPy."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from typing import TYPE_CHECKING

from flex_dspy.commands.options.serve import AccessOptions, HttpOptions, ServedLibrary, ServerLimits
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.serving.access import Access, named_scope
from flex_dspy.serving.observing import make_learner
from flex_dspy.tracking.followed import FollowedLibrary

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from flex_dspy.learning.online import OnlineLearner
    from flex_dspy.serving.tokens import Clients

# Seconds between checks for a new version in MLflow. A check of a file is almost free, but MLflow needs a query.
_MLFLOW_SECONDS = 60.0


def run(library: ServedLibrary, http: HttpOptions, access: AccessOptions, limits: ServerLimits) -> None:
    """Serve a library, over HTTP or on stdin and stdout.

    Raises:
        ConfigurationError: If the options do not fit together, or the server cannot listen.
    """
    if library.read_only and library.learn_with:
        raise ConfigurationError("--read-only and --learn-with exclude each other: leave one of them out")
    _load_sdk()
    clients = _clients(http, access)
    with contextlib.ExitStack() as stack:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is only for the protocol
            learner = stack.enter_context(make_learner(library.mcp, library.learn_with)) if library.learn_with else None
            server = make_server(library, limits, clients, _access(access), learner)
        if http.address is not None:
            _serve_http(server, library, http, clients, http.address)
        else:
            _serve_stdio(server)


def _clients(http: HttpOptions, access: AccessOptions) -> Clients | None:
    """Clients with tokens; None if the server needs no token."""
    from flex_dspy.serving.tokens import clients_of_environment, read_clients

    if http.token_file is None and http.token_variable is None:
        return None
    if http.address is None:
        raise ConfigurationError("--token-file is for a server over HTTP: add --http, or leave it out")
    if http.token_file is not None and http.token_variable is not None:
        raise ConfigurationError("--token-file and --token-variable exclude each other: leave one of them out")
    if access != AccessOptions():
        raise ConfigurationError("scopes stand with the tokens (read=SCOPE write=SCOPE): leave out the scope options")
    return read_clients(http.token_file) if http.token_file else clients_of_environment(str(http.token_variable))


def _access(options: AccessOptions) -> Access:
    """Access rights of clients without tokens."""
    return Access(tuple(map(named_scope, options.read_scope)), named_scope(options.write_scope))


def _serve_stdio(server: MCPServer) -> None:
    # While it serves, the SDK redirects other output from stdout to stderr. So nothing may stay in the buffer.
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


def make_server(
    library: ServedLibrary,
    limits: ServerLimits,
    clients: Clients | None,
    access: Access | None = None,
    learner: OnlineLearner | None = None,
) -> MCPServer:
    """Make the server of a library.

    Args:
        library: The library to serve.
        limits: The limits of each client.
        clients: The clients that may use it; None for everyone.
        access: Access rights without tokens; None for the shared entries. ``clients`` have their own access rights.
        learner: Learns from the observations of clients.
    """
    _load_sdk()
    from flex_dspy.serving.call_limits import CallLimits
    from flex_dspy.serving.library_tools import LibraryTools, outcome_log
    from flex_dspy.serving.mcp_server import mcp_server

    beside = outcome_log(library.mcp)
    followed = FollowedLibrary(library.mcp, 0.0 if beside else _MLFLOW_SECONDS, library.tracking_uri)
    snapshot = followed.snapshot()  # reports an error in the file before the server starts
    outcomes = outcome_log(library.outcomes) if library.outcomes else beside
    everyone = access or Access()
    allowed = clients.access if clients else lambda: everyone
    kept = None if library.read_only else outcomes
    tools = LibraryTools(followed, kept, library.k, library.token_budget, learner, allowed)
    # Indexing a large library takes a minute. Earlier calls wait for it, up to their own time limit.
    first = everyone.view(snapshot)
    threading.Thread(target=tools.prepare, args=(first,), daemon=True).start()
    most = CallLimits(limits.calls_per_minute, limits.outcomes_per_minute, limits.time_limit)
    return mcp_server(tools, clients, most)


def _serve_http(
    server: MCPServer, library: ServedLibrary, http: HttpOptions, clients: Clients | None, address: tuple[str, int]
) -> None:
    from flex_dspy.serving.mcp_server import PATH, is_loopback, listening, refuse_open_address, serve_http

    host, port = address
    with listening(host, port) as listener:
        refuse_open_address(listener, host, http.allowed_host, clients)
        url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}{PATH}"
        print(f"flex-dspy: {library.mcp} at {url}", file=sys.stderr, flush=True)
        if not is_loopback(host):
            print("flex-dspy: put a proxy with TLS before it: tokens are sent as they are", file=sys.stderr, flush=True)
        serve_http(server, listener, host, http.allowed_host)
