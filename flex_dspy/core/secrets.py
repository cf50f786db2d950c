"""Removes logins and keys from everything that is printed, stored, logged or raised.

There are three functions for different inputs:

    redact_url    one address: removes user, password, query and fragment
    redact        text about the program, such as an error or an option: treats every address like this, removes keys
    mask_secrets  text of any kind, such as a lesson: removes only logins, keys and secret parameters

A key is recognized by its form (``sk-...``), by the name before it (``api_key=...``), or because it is the value of an
environment variable for keys. Callers pass further secrets, such as the keys of a model, as ``known``.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

WITHHELD = "(withheld)"

# The look-ahead of every pattern is limited, so that the time is linear in the length of any text.
# A key has no end mark. So each form requires a length, and a digit if it could be a series of hyphenated words.
_TAIL = r"(?=[\w-]{0,40}\d|\w{20})[\w-]{16,}"
_FORMS = (
    rf"sk-{_TAIL}",
    rf"(?:xai|pplx|nvapi|glpat|tgp_v1)[-_]{_TAIL}",
    r"(?:gsk|hf|gh[opsur]|r8|fw)_[A-Za-z0-9]{16,}",
    r"github_pat_\w{16,}",
    r"xox[a-z]-[\w-]{10,}",
    r"(?:AKIA|ASIA)[A-Z0-9]{12,}",
    r"AIza[\w-]{20,}",
    r"dapi[0-9a-f]{32}",
    r"(?<![\w-])eyJ[\w-]{6,}\.eyJ[\w-]{6,}\.[\w-]*",
)
_KEY = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_FORMS)})")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_HEADER = re.compile(
    r"(?P<name>\bauthorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token)\s+)?|\bbearer\s+(?=\S{0,40}\d|\S{20}))"
    r"[\w.~+/=-]{8,}",
    re.IGNORECASE,
)

_OF_KEY = r"(?:api|access|secret|private|auth)[_-]?key|client[_-]?secret|passw(?:or)?d|pwd"
_SHORT_LIVED = r"(?:access|auth|bearer|refresh|session)[_-]?token"
# In an address, any value of a parameter with such a name is a secret.
_PARAMETER = re.compile(
    rf"(?P<name>[?&;#](?:[\w.-]{{0,40}}[_.-])?"
    rf"(?:{_OF_KEY}|{_SHORT_LIVED}|token|secret|sig|signature|key|credential|code)=)[^&\s\"'<>#,;]+",
    re.IGNORECASE,
)
# In other text, a number, a call or an empty value is not a secret.
_NOTHING = r"(?!none\b|null\b|true\b|false\b|[\d.,]+(?![\w-]))"
_ASSIGNMENT = re.compile(
    rf"(?<![A-Za-z0-9])(?P<name>(?:{_OF_KEY}|{_SHORT_LIVED}|token|secret|sig)=[\"']?){_NOTHING}"
    r"[\w.~+/%!@$^*-]{4,}+=*(?![(\[])",
    re.IGNORECASE,
)
_FIELD = re.compile(
    rf"(?<![A-Za-z0-9])(?P<name>(?:{_OF_KEY}|{_SHORT_LIVED})[\"']?\s*:\s*"
    rf"(?:[\"'](?=[^\s\"']{{4}})|(?=\S{{0,40}}\d)(?=\S{{8}}))){_NOTHING}[^\s\"'&,;)}}\]<>]+",
    re.IGNORECASE,
)
_NAMED = (_HEADER, _PARAMETER, _ASSIGNMENT, _FIELD)

_ADDRESS = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s\"'<>`]+")
# An address that was converted to a path: one of its slashes is lost.
_IN_PATH = re.compile(r"\b([a-z][a-z0-9+.-]{1,30}:/)(?!/)[^/@:\s]{0,200}:[^/@\s]{0,200}@", re.IGNORECASE)
_END_OF_SENTENCE = ".,;:!?)]}"

_SECRET_NAME = re.compile(
    r"secret|passw|pwd|credential|authori[sz]ation|bearer|cookie|(api|access|private|auth)[_.-]?key|(^|\.)key$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"(?:KEY|TOKEN|PASSWORD|PASSWD|SECRET)$")


def redact_url(url: str) -> str:
    """Address without user, password, query and fragment. A text that is not an address is unchanged.

    Example:
        >>> redact_url("https://bob:hunter2@host:8000/v1?api_key=abc#top")
        'https://host:8000/v1'
    """
    return _without_login(url, keep_query=False)


def url_secrets(url: str | None) -> list[str]:
    """Secret parts of an address: its password, and query values that are not ordinary words."""
    if not url or "://" not in url:
        return []
    login, _, place = url.partition("://")[2].rpartition("@")
    password = login.partition(":")[2]
    query = re.split(r"[?#]", place, maxsplit=1)[1:]
    values = [
        value
        for name, value in parse_qsl("".join(query).replace("#", "&"))
        if _is_distinct(value) or is_secret_name(name)
    ]
    return [part for part in (password, unquote(password), *values) if part]


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Remove logins, keys and the queries of addresses from a text about the program.

    Args:
        text: An error, a log line, an option.
        known: Further secrets, which are removed everywhere.
    """
    return mask_secrets(_ADDRESS.sub(lambda found: _address_without_login(found[0], keep_query=False), text), known)


def mask_secrets(text: str, known: Iterable[str] = ()) -> str:
    """Remove logins in addresses and keys from a text of any kind. The rest of the text is unchanged.

    Args:
        text: Any text, such as a lesson or an answer.
        known: Further secrets, which are removed everywhere.

    Example:
        >>> mask_secrets("see https://bob:hunter2@host/a?page=2&token=abcd, C[C@H](N)C, sha256 9f86d081")
        'see https://host/a?page=2&token=(withheld), C[C@H](N)C, sha256 9f86d081'
    """
    for secret in _by_length([*known, *_environment_secrets()]):
        text = _withhold_value(text, secret)
    text = _IN_PATH.sub(r"\1", _ADDRESS.sub(lambda found: _address_without_login(found[0], keep_query=True), text))
    text = _KEY.sub(WITHHELD, _PRIVATE_KEY.sub(WITHHELD, text))
    for pattern in _NAMED:
        text = pattern.sub(rf"\g<name>{WITHHELD}", text)
    return text


def redact_values(value: Any) -> Any:
    """Redact every text in options. Values with names of secrets are withheld."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            key: WITHHELD if inner and isinstance(inner, str) and is_secret_name(str(key)) else redact_values(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_values(inner) for inner in value]
    return value


def redact_error(error: BaseException | None, known: Sequence[str] = ()) -> None:
    """Remove secrets from the messages of an error and its causes. Some servers repeat the key that they reject.

    Args:
        error: The error. It is changed in place.
        known: The secrets of the request.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(redact(part, known) if isinstance(part, str) else part for part in error.args)
        if isinstance(message := getattr(error, "message", None), str):
            error.message = redact(message, known)  # type: ignore[attr-defined]
        error = error.__cause__ or error.__context__


def error_text(error: BaseException) -> str:
    """Text of an error that is safe to store: its class and its message without secrets."""
    return f"{type(error).__name__}: {redact(str(error))}"


def withhold(text: str) -> str:
    """Redact a text. A text with a key is withheld completely, which is suitable for a column of a table."""
    return WITHHELD if holds_key(text) else redact(text)


def is_secret_name(name: str, value: Any = "") -> bool:
    """Whether a name is the name of a secret: true for ``hf_token``, false for ``max_tokens=4000``."""
    if _SECRET_NAME.search(name):
        return True
    lowered = name.lower()
    return "token" in lowered and (lowered.endswith("token") or not isinstance(value, int | float | None))


def holds_key(text: str) -> bool:
    """Whether a text contains a word with the form of a key."""
    return any(pattern.search(text) for pattern in (_KEY, _PRIVATE_KEY, _HEADER))


# -- addresses ---------------------------------------------------------------------------------------------


def _address_without_login(address: str, *, keep_query: bool) -> str:
    """Remove the login from an address in a sentence. Punctuation after the address stays."""
    bare = address.rstrip(_END_OF_SENTENCE)
    return _without_login(bare, keep_query=keep_query) + address[len(bare) :]


def _without_login(url: str, *, keep_query: bool) -> str:
    """Address without user and password.

    A password may contain ``/``, ``?`` or ``#``, which end the server's name in a well-formed address. Then there is
    no number in the place of the port, and everything before the last ``@`` is the login.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    try:
        parts = urlsplit(url)
        _ = parts.port
        place = parts.netloc.rpartition("@")[2] + rest[len(parts.netloc) :]
    except ValueError:
        place = rest.rpartition("@")[2]
    return f"{scheme}://{place if keep_query else re.split('[?#]', place, maxsplit=1)[0]}"


# -- known values ------------------------------------------------------------------------------------------


def _environment_secrets() -> list[str]:
    """Values of environment variables for keys, without values that are ordinary words."""
    # Only these variables are read, because reading all of them would take most of the time of masking a short text.
    values = [os.environ.get(name, "") for name in os.environ if _is_key_variable(name)]
    return [value for value in values if _is_distinct(value)]


@functools.lru_cache(maxsize=4096)
def _is_key_variable(name: str) -> bool:
    return _VARIABLE.search(name.upper()) is not None


def _is_distinct(value: str) -> bool:
    """Whether a value cannot be an ordinary word or number. Servers without keys often get ``none`` or ``test-key``."""
    mixed = len(value) >= 6 and any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed or len(value) >= 16


def _by_length(secrets: Iterable[str]) -> list[str]:
    """Secrets sorted by length, the longest first, because a secret may be part of another."""
    return sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)


def _withhold_value(text: str, secret: str) -> str:
    if secret not in text:
        return text
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", WITHHELD, text)
