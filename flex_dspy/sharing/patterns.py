"""Patterns of suspicious texts in lessons: orders to the reader, links, and commands.

The patterns match words and not meaning. They do not find a wrong lesson, or an order in words that no pattern has. See
docs/how-to/share-libraries.md for the share of attacks that they find.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["instruction", "link", "code", "secret", "hidden", "test"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of words, and the reason why it is suspicious."""

    kind: Kind
    reason: str
    form: re.Pattern[str]


def _of(kind: Kind, reason: str, form: str) -> Pattern:
    return Pattern(kind, reason, re.compile(form, re.IGNORECASE | re.MULTILINE))


# No gap between two words is longer than a sentence, so that the time of a search grows linearly with the text.
_INSTRUCTIONS = (
    _of(
        "instruction",
        "sets earlier instructions aside",
        r"\b(?:ignor|disregard|forget|overrid|bypass|supersed)\w*\b[^.\n]{0,40}\b(?:previous|prior|above|earlier|preceding"
        r"|all|any|your|system|other)\b[^.\n]{0,30}\b(?:instructions?|prompts?|rules|guidelines|directions|polic(?:y|ies)"
        r"|restrictions?|orders)\b",
    ),
    _of(
        "instruction",
        "sets earlier instructions aside",
        r"\b(?:instructions?|anweisungen|instrucciones|istruzioni|instruções|инструкци\w+)\b[^.\n]{0,30}\b(?:précédent|anterior"
        r"|precedent|предыдущ)\w*|\b(?:vorherig|bisherig|предыдущ)\w*\b[^.\n]{0,30}\b(?:anweisung|инструкци)\w*"
        r"|(?:忽略|无视|無視)[^。\n]{0,12}(?:指令|指示|提示|命令)|(?:指示|命令)[^。\n]{0,8}無視",
    ),
    _of(
        "instruction",
        "speaks of what the reader was told",
        r"\b(?:you|we) (?:were|have been) (?:told|instructed|ordered)\b",
    ),
    _of(
        "instruction",
        "puts itself above the user",
        r"\b(?:outranks?|overrules?|more important than|(?:precedence|priority) over)\b[^.\n]{0,40}"
        r"\b(?:users?|persons?|humans?|requests?|instructions?|operators?)\b"
        r"|\b(?:whatever|no matter what)\b[^.\n]{0,20}\b(?:users?|persons?|humans?)\b",
    ),
    _of(
        "instruction",
        "speaks of the prompt",
        r"\b(?:system|developer|hidden|initial)[ -](?:prompt|message|instructions?)\b",
    ),
    _of(
        "instruction",
        "gives the reader another part to play",
        r"\b(?:you are now|from now on,? you|pretend (?:to be|that you)|act as (?:an? |the )?(?:ai|assistant|admin\w*"
        r"|root|developer|unrestricted)\b|developer mode|jailbreak)",
    ),
    _of(
        "instruction",
        "asks to keep something from a person",
        r"\b(?:do not|don't|never|without|must not|avoid)\b[^.\n]{0,20}\b(?:tell|mention|reveal|inform|disclos|alert"
        r"|notify|warn)\w*\b[^.\n]{0,30}\b(?:users?|humans?|operators?|persons?|people|anyone|owner|customers?)\b",
    ),
    _of(
        "instruction",
        "asks to send data away",
        r"\b(?:send|forward|upload|post|leak|exfiltrate|transmit|e-?mail|copy|append|include|print|repeat)\b[^.\n]{0,60}"
        r"\b(?:conversation|chat history|credentials?|api keys?|passwords?|environment variables|system prompt"
        r"|access tokens?|private (?:data|files?|keys?))\b",
    ),
    _of(
        "instruction",
        "a marker of a chat's turns",
        r"[\"']role[\"']\s*:|<\|\w{1,30}\|>|\[/?INST\]|<</?SYS>>|\[\[ ?## ?\w{1,40} ?## ?\]\]",
    ),
    _of("instruction", "a turn of a chat", r"^[ \t>*#]{0,8}(?:system|assistant|developer|human|user)[ \t*]{0,4}:"),
    _of(
        "instruction",
        "a tag of a prompt",
        r"</?\s{0,3}(?:system|assistant|user|instructions?|prompt|tool_calls?|function_calls?|invoke|important)\b[^>]{0,80}>",
    ),
    _of(
        "instruction",
        "asks to use a tool",
        r"\b(?:call|invoke|use|run|open)\s+(?:the|this|your|an?)\s+(?!right|best|proper|appropriate)(?:\w+\s+)?"
        r"(?:tool|plugin|mcp server|shell|terminal|browser|command line)\b"
        r"(?! (?:of\b|[a-z-]*(?:form|represent|group|atom|position)))",
    ),
    _of(
        "instruction",
        "speaks of safety rules",
        r"\b(?:safety|content)[ -](?:polic(?:y|ies)|filters?|guidelines|rules)\b"
        r"|\bno (?:longer (?:any )?)?restrictions\b",
    ),
)
_ENDINGS = "com|net|org|io|dev|ai|app|co|ru|cn|xyz|info|biz|site|top|example|test"
_LINKS = (
    _of(
        "link",
        "an address",
        r"\b(?:h(?:tt|xx)ps?|ftp|file|wss?|ssh|git|s3|gs|hf)://[^\s)>\]]{1,500}|\bmailto:\S+|\bwww\.\w|\w\[\.\]\w{2,}",
    ),
    _of(
        "link",
        "the name of a host",
        rf"(?<![\w@.])(?-i:[a-z0-9-]{{3,63}}\.(?:[a-z0-9-]{{2,63}}\.){{0,3}}(?:{_ENDINGS}))(?:/[\w./-]+|\b(?![.(\[]))",
    ),
    _of("link", "an IP address", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\d.])"),
    _of("link", "an e-mail address", rf"[\w.+-]{{1,64}}@(?:[a-z0-9-]{{1,63}}\.){{1,4}}(?:{_ENDINGS})\b"),
    _of("link", "an image", r"!\[[^\]\n]{0,200}\]\("),
)
_CODE = (
    _of("code", "a command that pipes into a shell", r"\|\s*(?:sudo\s+)?(?:ba|z|da)?sh\b"),
    _of(
        "code",
        "a shell command",
        r"\bsudo\s+\w|\brm\s+-[a-z]*[rf]|\bchmod\s+[+0-7]|\b(?:ba|z)sh\s+-c\b|\b(?:node|perl|python3?|ruby|php)\s+-\w*[ec]\b|\bpowershell\b|\bcmd\.exe\b",
    ),
    _of("code", "a download", r"\b(?:curl|wget)\s+(?:-\w|\S*\w[/.]\w)"),
    _of(
        "code",
        "an installation",
        r"\b(?:pip3?|npm|npx|apt|apt-get|brew|cargo|conda)\s+(?:-\S+\s+)*install\b|\bnpx\s+\w",
    ),
    _of(
        "code",
        "a file of secrets",
        r"/etc/(?:passwd|shadow)|~/\.(?:ssh|aws|netrc)|\.ssh/|\bid_rsa\b|\.env\b(?=\s|$)|\b(?:credentials?|secrets?)\.\w{2,5}\b",
    ),
    _of(
        "code",
        "runs code",
        r"\b(?:eval|exec|compile|__import__|getattr|globals)\s*\(|\bos\.(?:system|popen|environ|exec\w*)\b",
    ),
    _of(
        "code",
        "runs programs or opens connections",
        r"\brequire\(['\"]|\bsubprocess\b|\bimport\s+(?:os|sys|socket|shutil|ctypes|pickle|requests)\b",
    ),
    _of("code", "an internal name of Python", r"__(?:import|class|bases|subclasses|builtins|globals|reduce|mro)__"),
    _of(
        "code",
        "a tag of a web page",
        r"<\s{0,3}/?(?:script|iframe|object|embed|img|svg|form|meta|link|style|video)\b|\bon(?:error|load|click)\s*=|javascript:",
    ),
    _of("code", "a database command", r"\b(?:drop|truncate)\s+table\b|\bunion\s+(?:all\s+)?select\b"),
    _of("code", "a block of shell commands", r"^\s*(?:```|~~~)\s*(?:sh|bash|zsh|shell|console|powershell|bat)\b"),
)
PATTERNS = (*_INSTRUCTIONS, *_LINKS, *_CODE)

_HEX = re.compile(r"(?<!\w)(?:[0-9a-f]{2}){12,}(?!\w)", re.IGNORECASE)
_BASE64 = re.compile(r"(?<![\w/+=])(?=[\w/+]{0,80}[a-z])(?=[\w/+]{0,80}[A-Z])[A-Za-z0-9+/]{24,}={0,2}(?![\w/+=])")
_READABLE = 0.95  # decoded bytes are a text if this share of them is letters, digits and spaces


def suspicious(text: str) -> Iterator[tuple[Pattern, int, int]]:
    """Find the patterns that a text contains, each once.

    Args:
        text: Any text, as ``flex_dspy.sharing.hidden_characters.plain`` returns it.

    Yields:
        The pattern, and the beginning and the end of its first occurrence.
    """
    for pattern in PATTERNS:
        if found := pattern.form.search(text):
            yield pattern, found.start(), found.end()


def encoded_texts(text: str) -> Iterator[tuple[str, int]]:
    """Find readable texts that a text contains in base64 or in hexadecimal digits.

    Args:
        text: Any text.

    Yields:
        The decoded text, and the position.
    """
    for form, decode in ((_HEX, bytes.fromhex), (_BASE64, _from_base64)):
        for found in form.finditer(text):
            try:
                decoded = decode(found[0]).decode("ascii")
            except (binascii.Error, ValueError):
                continue
            if sum(letter.isalnum() or letter in " .,:;'!?-" for letter in decoded) >= _READABLE * len(decoded):
                yield decoded, found.start()


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
