"""Makes the output of commands safe: no escape sequence reaches the terminal, and no secret is printed.

A library, a model and a server may say anything, escape sequences of terminals too. So a command's standard streams
are wrapped once, and whatever is written to them is shown as what it is.
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

# A progress bar begins what it writes with a carriage return, or moves by whole lines and writes nothing else.
_OF_PROGRESS = re.compile(r"\r|[\n\r]*(?:\x1b\[A)+\Z")


class _Escapes(dict[int, str]):
    """How each character is shown; filled as they come."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        is_unseen = unicodedata.category(char) in _UNSEEN and char not in "\n\t"
        # Written as in JSON, so that JSON that is printed stays what it was.
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
    """A text as it may be printed: visible, and without secrets."""
    return visible(mask_secrets(text))


class ReaderGoneError(BrokenPipeError):
    """The reader of the output, such as ``head``, has closed it."""


class SafeStream:
    """A text stream that writes everything as ``printable`` makes it; else it is the stream that it wraps.

    Args:
        stream: The terminal's, or a file's.
        has_progress: Whether progress bars are drawn on it: what they begin a line with then passes.
    """

    def __init__(self, stream: Any, *, has_progress: bool = False) -> None:
        self.stream = stream
        self._has_progress = has_progress

    def write(self, text: str) -> int:
        """Write a text, and say how long it was."""
        own = _OF_PROGRESS.match(text) if self._has_progress else None
        start = own.end() if own else 0
        with _report_closed_output():
            self.stream.write(text[:start] + self._encodable(printable(text[start:])))
        return len(text)

    def flush(self) -> None:
        """Hand on all that was written."""
        with _report_closed_output():
            self.stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def _encodable(self, text: str) -> str:
        """The text, with what the stream has no bytes for written out."""
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
    """The stream; Python has none where the process was started with it closed."""
    return io.StringIO() if stream is None else stream


def unsafe_stdout() -> Any:
    """Standard output itself, for text whose colours are the program's own, and whose other parts are ``printable``."""
    return sys.stdout.stream if isinstance(sys.stdout, SafeStream) else sys.stdout


def print_styled(text: str) -> None:
    """Print a text whose colours are the program's own, and whose other parts are ``printable`` already."""
    print(text, file=unsafe_stdout())


@contextmanager
def safe_streams(*, is_protocol: bool = False) -> Iterator[None]:
    """Within this block, standard output and error are safe to print anything to.

    Args:
        is_protocol: Standard output is read by a program, as an MCP server's is, and stays as it is.
    """
    with ExitStack() as stack:
        if not is_protocol:
            stack.enter_context(redirect_stdout(SafeStream(_or_nowhere(sys.stdout))))
        stack.enter_context(redirect_stderr(SafeStream(_or_nowhere(sys.stderr), has_progress=True)))
        yield
