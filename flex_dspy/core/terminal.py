"""Makes the output of commands safe: no escape sequence reaches the terminal, and no secret is printed.

Texts from a library, a model or a server may contain escape sequences of terminals. So a command's standard streams
are wrapped once, and control characters in all output are written as visible escapes.
"""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from flex_dspy.core.secrets import mask_secrets

# Control characters, invisible formats (zero width, right-to-left overrides), halves of surrogate pairs, and the line
# ends that only Unicode knows.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# A progress bar writes a carriage return first, or writes only moves by whole lines.
_OF_PROGRESS = re.compile(r"\r|[\n\r]*(?:\x1b\[A)+\Z")


class _Escapes(dict[int, str]):
    """Visible form of each character, computed at its first use."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        is_unseen = unicodedata.category(char) in _UNSEEN and char not in "\n\t"
        # Escapes are written as in JSON, so that printed JSON keeps its meaning.
        self[code] = json.dumps(char)[1:-1] if is_unseen else char
        return self[code]


_SHOWN = _Escapes()


def visible(text: str) -> str:
    r"""A text with every invisible character written as an escape, such as ``\u202e``. Line ends and tabs stay.

    Example:
        >>> print(visible("\x1b[2J\u202eevil\u2066"))
        \u001b[2J\u202eevil\u2066
    """
    return text if text.isprintable() else text.translate(_SHOWN)


def printable(text: str) -> str:
    """Text that is safe to print: without invisible characters and secrets."""
    return visible(mask_secrets(text))


class ReaderGoneError(BrokenPipeError):
    """The reader of the output, such as ``head``, has closed it."""


class SafeStream:
    """A text stream that applies ``printable`` to all text. Otherwise it behaves like the wrapped stream.

    Args:
        stream: The stream of a terminal or a file.
        has_progress: Whether progress bars are drawn on it. Their control characters are then allowed.
    """

    def __init__(self, stream: Any, *, has_progress: bool = False) -> None:
        self.stream = stream
        self._has_progress = has_progress

    def write(self, text: str) -> int:
        """Write a text and return its length."""
        own = _OF_PROGRESS.match(text) if self._has_progress else None
        start = own.end() if own else 0
        with _report_closed_output():
            self.stream.write(text[:start] + self._encodable(printable(text[start:])))
        return len(text)

    def flush(self) -> None:
        """Flush the wrapped stream."""
        with _report_closed_output():
            self.stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def _encodable(self, text: str) -> str:
        """Text in which characters that the stream cannot encode are written as escapes."""
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _report_closed_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError(*error.args) from error


def _or_nowhere(stream: Any) -> Any:
    """The stream, or a null stream if Python has none because it was closed when the process started."""
    return io.StringIO() if stream is None else stream


def unsafe_stdout() -> Any:
    """Standard output itself, for text whose colours are the program's own, and whose other parts are ``printable``."""
    return sys.stdout.stream if isinstance(sys.stdout, SafeStream) else sys.stdout


def print_styled(text: str) -> None:
    """Print a text whose colours are the program's own, and whose other parts are ``printable`` already."""
    print(text, file=unsafe_stdout())


@contextmanager
def safe_streams(*, is_protocol: bool = False) -> Iterator[None]:
    """Context manager that makes standard output and standard error safe for any text.

    Args:
        is_protocol: Whether standard output is a protocol for a program, as for an MCP server. It is then unchanged.
    """
    with ExitStack() as stack:
        if not is_protocol:
            stack.enter_context(redirect_stdout(SafeStream(_or_nowhere(sys.stdout))))
        stack.enter_context(redirect_stderr(SafeStream(_or_nowhere(sys.stderr), has_progress=True)))
        yield
