"""Identifies the clients of an HTTP server by bearer tokens, from a file or an environment variable.

Each line has one token: ``TOKEN`` or ``NAME:TOKEN``. It may continue with ``read=SCOPE,SCOPE`` and ``write=SCOPE``.
Without scopes, a client reads the shared entries. Empty lines and lines that begin with # are skipped. A name may occur
on two lines, so that a client can change its token without interruption. The lines are read once, when the server
starts.

Tokens are secrets. No error and no ``repr`` shows a token, only hashes of tokens are stored, and no token is passed on.
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

SHORTEST = 20  # fewest characters of a token
_LARGEST = 1_000_000  # most bytes of the file
_NAME = re.compile(r"[\w.-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_MAKE_ONE = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(frozen=True)
class Clients:
    """Finds the client of a request by its token. It is a ``TokenVerifier`` of the MCP SDK.

    Attributes:
        names: The client's name by the SHA-256 of its token.
        accesses: Access rights by the client's name.
    """

    names: Mapping[bytes, str] = field(repr=False)
    accesses: Mapping[str, Access] = field(default_factory=dict)

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the client with this token, or None. The time does not depend on which token is right."""
        digest, found = _digest(token), None
        for known, name in self.names.items():
            if secrets.compare_digest(known, digest):
                found = name
        # The token is not passed on.
        return None if found is None else AccessToken(token="", client_id=found, scopes=[])

    def access(self) -> Access:
        """Access rights of the client of the current request. An unknown client has no access to any scope."""
        return self.accesses.get(client_name(), Access())


def client_name() -> str:
    """Name of the client of the current request; empty if the server needs no token."""
    token = get_access_token()
    return token.client_id if token else ""


def read_clients(path: Path) -> Clients:
    """Read clients from a token file.

    Args:
        path: The token file.

    Raises:
        ConfigurationError: If the file cannot be read, other users may read it, or a line has no valid token.
    """
    return parse_clients(_secret_text(path), str(path))


def clients_of_environment(variable: str) -> Clients:
    """Read clients from an environment variable with the lines of a token file.

    Raises:
        ConfigurationError: If the variable is not set, or a line has no valid token.
    """
    return parse_clients(os.environ.get(variable, ""), f"the environment variable {variable}")


def parse_clients(text: str, source: str) -> Clients:
    """Parse clients from lines.

    Args:
        text: The lines.
        source: Name of the text's origin, for errors.

    Raises:
        ConfigurationError: If a line has no valid token, or two lines give the same client different scopes.
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
    """Parse name, token and access rights from a line. Its errors do not show the line."""
    named, *words = line.split()
    name, found, token = named.rpartition(":")
    name = name if found else f"client-{number}"
    if not _NAME.fullmatch(name) or not _TOKEN.fullmatch(token) or len(token) < SHORTEST:
        wanted = f"TOKEN or NAME:TOKEN, a token of at least {SHORTEST} letters, digits and ._~+/-"
        raise ConfigurationError(f"{place}: must be {wanted}; {_MAKE_ONE}")
    try:
        return name, token, parse_access(words)
    except ConfigurationError:  # its message would show the secret text
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
    except UnicodeDecodeError:  # its message would show the secret text
        raise ConfigurationError(f"{path}: the tokens are no UTF-8 text") from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
