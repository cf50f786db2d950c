"""The clients of an HTTP server by their bearer tokens, from a file or an environment variable with a token a line.

A line is ``TOKEN`` or ``NAME:TOKEN``, and may go on with ``read=SCOPE,SCOPE`` and ``write=SCOPE``. Without scopes a
client reads what all share. Empty lines and those that begin with # are passed over. A name may stand on two lines, so
that a client can change its token without a gap. The lines are read once, at the start of the server.

Tokens are secrets: no error and no ``repr`` shows one, only their hashes are kept, and no token is passed on.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.serving.access import Access, parse_access

SHORTEST = 20  # characters of a token
_LARGEST = 1_000_000  # bytes of the file
_NAME = re.compile(r"[\w.-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_MAKE_ONE = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(frozen=True)
class Clients:
    """Says whose token a request bears. It is a ``TokenVerifier`` of the MCP SDK.

    Attributes:
        names: The client's name by the SHA-256 of its token.
        accesses: What each client may do, by its name.
    """

    names: Mapping[bytes, str] = field(repr=False)
    accesses: Mapping[str, Access] = field(default_factory=dict)

    async def verify_token(self, token: str) -> AccessToken | None:
        """The client with this token; None if there is none. Takes the same time whichever token is right."""
        digest, found = _digest(token), None
        for known, name in self.names.items():
            if secrets.compare_digest(known, digest):
                found = name
        # The token itself goes no further than this.
        return None if found is None else AccessToken(token="", client_id=found, scopes=[])

    def access(self) -> Access:
        """What the client whose request is being answered may do: nothing of a scope where it is not known."""
        return self.accesses.get(client_name(), Access())


def client_name() -> str:
    """The client whose request is being answered; empty where the server asks for no token."""
    token = get_access_token()
    return token.client_id if token else ""


def read_clients(path: Path) -> Clients:
    """The clients that a file names.

    Args:
        path: The token file.

    Raises:
        ConfigurationError: If it cannot be read, others may read it, or a line holds no usable token.
    """
    return parse_clients(_secret_text(path), str(path))


def clients_of_environment(variable: str) -> Clients:
    """The clients that an environment variable names, in lines as in a token file.

    Raises:
        ConfigurationError: If it is not set, or a line holds no usable token.
    """
    return parse_clients(os.environ.get(variable, ""), f"the environment variable {variable}")


def parse_clients(text: str, source: str) -> Clients:
    """The clients that lines name.

    Args:
        text: The lines.
        source: What errors should call it.

    Raises:
        ConfigurationError: If a line holds no usable token, or gives a client other scopes than a line before.
    """
    names: dict[bytes, str] = {}
    accesses: dict[str, Access] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        name, token, access = _parse_line(line, number, f"{source}: line {number}")
        if names.setdefault(_digest(token), name) != name:
            raise ConfigurationError(f"{source}: line {number}: the token is that of another client too")
        if accesses.setdefault(name, access) != access:
            raise ConfigurationError(f"{source}: line {number}: {name} has other scopes in a line before")
    if not names:
        raise ConfigurationError(f"{source}: holds no token; {_MAKE_ONE}")
    return Clients(names, accesses)


def _parse_line(line: str, number: int, place: str) -> tuple[str, str, Access]:
    """Name, token and access; no error shows what stands in the line."""
    named, *words = line.split()
    name, found, token = named.rpartition(":")
    name = name if found else f"client-{number}"
    if not _NAME.fullmatch(name) or not _TOKEN.fullmatch(token) or len(token) < SHORTEST:
        wanted = f"TOKEN or NAME:TOKEN, a token of at least {SHORTEST} letters, digits and ._~+/-"
        raise ConfigurationError(f"{place}: must be {wanted}; {_MAKE_ONE}")
    try:
        return name, token, parse_access(words)
    except ConfigurationError:  # its message would show what stands there
        raise ConfigurationError(
            f"{place}: must be a token, then read=SCOPE,SCOPE and write=SCOPE, each at most once"
        ) from None


def _secret_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name != "nt" and mode & 0o007:
                raise ConfigurationError(f"{path}: others may read or change the tokens: chmod 600 {path}")
            return file.read(_LARGEST).decode()
    except OSError as error:
        raise ConfigurationError(f"{path}: the tokens cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:  # its message would show what stands there
        raise ConfigurationError(f"{path}: the tokens are no UTF-8 text") from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
