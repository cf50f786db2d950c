r"""Makes text of a language model safe to store, to send and to parse.

A model may write half of a surrogate pair, a NUL, or ten megabytes of one letter. A file, a database or another model
then rejects the whole record. One call at the place where model text enters the program is enough.

Example:
    >>> sound_text("a\ud83d b\x00\r\n")
    'a� b\n'
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

MAX_LENGTH = 200_000  # characters: about 50,000 tokens, more than a model writes in one answer
_MAX_DEPTH = 100
# The mark for omitted text has no digit, quote or bracket, so that no parser takes it for a part of an answer.
_LEFT_OUT = "\n… left out …\n"

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n|[\r\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# LaTeX that was read as a JSON string with too few backslashes: backspace + "oxed" was \boxed. Bell, backspace and
# vertical tab stand in no text on purpose. Form feed, tab and line ends do, so only known commands count behind them.
_DAMAGE = re.compile(
    "[\x07\x08\x0b](?=[a-zA-Z])|\x0c(?=rac|orall|box|loor)"
    r"|\t(?=ext(?:bf|it|rm|sf|tt|normal)?\s?\{|imes\b|heta\b|frac\s?\{|riangle\b|ilde\b)"
    r"|\r(?=ight(?:arrow)?[\s)\]}.|\\]|ho\b|m\s?\{|angle\b|ceil\b|floor\b)"
    r"|(?<=[^\r\n])\n(?=eq\s?[-\d{\\]|abla\b|ewline\b)"
)
_COMMANDS = {"\x07": r"\a", "\x08": r"\b", "\t": r"\t", "\n": r"\n", "\x0b": r"\v", "\x0c": r"\f", "\r": r"\r"}


def sound_text(text: str, limit: int = MAX_LENGTH) -> str:
    r"""Remove characters that break files, databases and parsers from a text.

    Lone surrogates become U+FFFD. Control characters are removed, except tab and line end. Line ends become ``\n``.
    LaTeX commands that an escape sequence damaged are repaired. The middle of a text that is too long is left out,
    because questions are at the beginning and answers at the end.

    Args:
        text: Any text.
        limit: Most characters that are kept.
    """
    text = truncate(text, limit)
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _DAMAGE.sub(lambda found: _COMMANDS[found[0]], text)
    return _CONTROL.sub("", _LINE_END.sub("\n", text))


def truncate(text: str, limit: int) -> str:
    """Shorten a text to at most ``limit`` characters: its beginning and its end, with a mark between them."""
    if len(text) <= limit:
        return text
    kept = max(limit - len(_LEFT_OUT), 0)
    end = kept - kept // 2
    return f"{text[: kept // 2]}{_LEFT_OUT}{text[len(text) - end :]}"[:limit]


def sound(value: Any, limit: int = MAX_LENGTH) -> Any:
    """Apply ``sound_text`` to each text in a value: in lists, tuples, dicts (keys too) and pydantic models.

    Other values are returned unchanged. Values more than a hundred levels deep are left out.

    Args:
        value: A model's answer, parsed or not.
        limit: Most characters that are kept of one text.
    """
    return _sound(value, limit, 0)


def _sound(value: Any, limit: int, depth: int) -> Any:
    if isinstance(value, str):
        return sound_text(value, limit) if type(value) is str else value
    if depth > _MAX_DEPTH and isinstance(value, dict | list | tuple):
        return None
    if isinstance(value, dict):
        return {_sound(key, limit, depth + 1): _sound(inner, limit, depth + 1) for key, inner in value.items()}
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _sound(inner, limit, depth + 1) for name, inner in value})
    if isinstance(value, list | tuple):
        inner = [_sound(part, limit, depth + 1) for part in value]
        return value._make(inner) if hasattr(value, "_make") else type(value)(inner)
    return value
