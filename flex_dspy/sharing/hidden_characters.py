"""Finds characters that a reader does not see, or mistakes for other characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Control characters, invisible formats, private use, halves of surrogate pairs, line ends that only Unicode defines.
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_PLAIN = frozenset("\n\t\r")
_SPACES = {ord(letter): " " for letter in _PLAIN}
_JOINER = "\u200d"  # joins several emojis to one
_SELECTORS = frozenset(map(chr, range(0xE0100, 0xE01F0)))  # variants of Chinese signs; elsewhere they only hide text
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
_SPACED = re.compile(r"(?<!\S)(?:[a-zA-Z] ){4,}[a-zA-Z](?!\S)")
_WORD = re.compile(r"[^\W\d_]{3,}")
# Cyrillic and Greek letters that look like Latin letters. A single Greek letter is a mathematical symbol.
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝѵАВЕКМНОРСТХІЈЅαειονρτυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeopcyxijshdqwvABEKMHOPCTXIJSaeiovptuABEZHIKMNOPTYX"
)
_GREEK_WORD = 5  # letters; shorter words that mix Latin and Greek letters are units and quantities


def hidden_characters(text: str) -> Iterator[tuple[str, int]]:
    """Find the invisible characters of a text, each kind once.

    Args:
        text: Any text.

    Yields:
        A reason that names the character, and its position.
    """
    if _is_visible(text):
        return
    seen: set[str] = set()
    for position, letter in enumerate(text):
        if _is_hidden(text, position) and (block := letter if ord(letter) < 0xE0000 else "") not in seen:
            seen.add(block)
            yield _reason(letter), position


def _is_visible(text: str) -> bool:
    return text.translate(_SPACES).isprintable() and (text.isascii() or _SELECTORS.isdisjoint(text))


def _is_hidden(text: str, position: int) -> bool:
    letter = text[position]
    if letter in _PLAIN or (unicodedata.category(letter) not in _UNSEEN and letter not in _SELECTORS):
        return False
    before = text[position - 1] if position else ""
    return not (letter == _JOINER and before and unicodedata.category(before) in ("So", "Sk", "Mn"))


def _reason(letter: str) -> str:
    code = f"U+{ord(letter):04X}"
    if letter in _DIRECTIONS:
        return f"changes the writing direction ({code})"
    if 0xE0000 <= ord(letter) <= 0xE007F or letter in _SELECTORS:
        return f"hides text ({code} and the like)"
    kind = "a control character" if unicodedata.category(letter) == "Cc" else "an invisible character"
    return f"{kind} ({code})"


def mixed_words(text: str) -> Iterator[tuple[str, int]]:
    """Find words that mix Latin letters with Cyrillic or Greek letters that look the same.

    Args:
        text: Any text.

    Yields:
        The reason, and the position. Only the first such word is yielded.
    """
    if text.isascii():
        return
    word = next((word for word in _WORD.finditer(text) if _is_mixed(word[0])), None)
    if word is not None:
        yield "a word of letters of two scripts", word.start()


def _is_mixed(word: str) -> bool:
    foreign = [letter for letter in word if not letter.isascii()]
    if not foreign or len(foreign) == len(word) or word == word.translate(_LOOKALIKES):
        return False
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in foreign}
    return "CYRILLIC" in scripts or ("GREEK" in scripts and len(word) >= _GREEK_WORD)


def plain(text: str) -> str:
    """The text as a reader understands it.

    Hidden characters are removed. In words of two scripts, each letter that looks like a Latin letter is replaced by
    it. Letters that are separated by single spaces are joined to words.
    """
    if not _is_visible(text):
        text = "".join(letter for position, letter in enumerate(text) if not _is_hidden(text, position))
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = _WORD.sub(lambda word: word[0].translate(_LOOKALIKES) if _is_mixed(word[0]) else word[0], text)
    return _SPACED.sub(lambda letters: letters[0].replace(" ", ""), text)
