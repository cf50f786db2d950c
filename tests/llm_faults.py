"""What a language model's server does wrong, and a policy that decides when.

Three families: errors by status (``Fault``), answers that break on the wire, and answers that arrive whole and say
nothing usable. ``Faults`` draws among them, deterministically: the same request at its n-th coming meets the same.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

Completion = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One answer as it goes over the wire.

    Attributes:
        status: The HTTP status.
        body: The body.
        headers: Headers beside the usual ones.
        ending: ``whole``; ``hang`` writes nothing and holds the connection; ``drop`` closes it without an answer;
            ``cut`` closes it in the middle of the body.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Literal["whole", "hang", "drop", "cut"] = "whole"


@dataclass(frozen=True)
class Fault:
    """An error instead of an answer.

    Attributes:
        status: The HTTP status; 0 hangs up without an answer.
        message: What the error says.
        retry_after: Seconds, for the header of that name; 0 makes DSPy retry at once.
        dated: Write that header as an HTTP date.
        code: The error's code; by default the status.
        kind: The error's type.
    """

    status: int
    message: str = "the script says so"
    retry_after: float | None = None
    dated: bool = False
    code: str = ""
    kind: str = "test"

    def reply(self) -> Reply:
        """What goes over the wire, written as OpenAI writes it."""
        if not self.status:
            return Reply(0, ending="drop")
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code or str(self.status)}
        headers = {}
        if self.retry_after is not None:
            after = formatdate(time.time() + self.retry_after, usegmt=True) if self.dated else str(self.retry_after)
            headers["Retry-After"] = after
        return Reply(self.status, _json({"error": error}), headers)


def whole(completion: Completion) -> Reply:
    """The answer as it should be."""
    return Reply(200, _json(completion))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _content(completion: Completion) -> str:
    return str(completion["choices"][0]["message"]["content"])


def _saying(completion: Completion, content: str | None, finish: str = "stop", **message: Any) -> Reply:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return whole({**completion, "choices": [choice]})


def _half_written(completion: Completion) -> Reply:
    body = _json(completion)
    return Reply(200, body[: len(body) // 2])


def _wrong_fields(completion: Completion) -> Reply:
    """The names of all fields with one letter more, in the chat format or in JSON."""
    content = _content(completion)
    content = re.sub(r"\[\[ ## (\w+) ## \]\]", r"[[ ## \1x ## ]]", content)
    return _saying(completion, re.sub(r'^\{"(\w+)"|(?<=, )"(\w+)"(?=: )', r'{"\1\2x"', content))


def _cut_by_length(completion: Completion) -> Reply:
    content = _content(completion)
    return _saying(completion, content[: len(content) // 2], "length")


_BUSY = "Rate limit reached for requests per min. Please try again later."
_LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."
_REFUSAL = "I'm sorry, but I can't help with that."

# By name: what becomes of an answer.
KINDS: Mapping[str, Callable[[Completion], Reply]] = {
    "429": lambda _: Fault(429, _BUSY, code="rate_limit_exceeded", kind="requests").reply(),
    "429 with seconds": lambda _: Fault(429, _BUSY, 0, code="rate_limit_exceeded", kind="requests").reply(),
    "429 with a date": lambda _: Fault(429, _BUSY, 0, dated=True, code="rate_limit_exceeded", kind="requests").reply(),
    "500": lambda _: Fault(500, "The server had an error.", 0, kind="server_error").reply(),
    "502": lambda _: Reply(502, b"<html><body>Bad Gateway</body></html>", {"Retry-After": "0"}),
    "503": lambda _: Fault(503, "The engine is overloaded.", 0, kind="service_unavailable").reply(),
    "hang": lambda _: Reply(0, ending="hang"),
    "drop": lambda _: Reply(0, ending="drop"),
    "cut": lambda completion: Reply(200, _json(completion), ending="cut"),
    "half of the JSON": _half_written,
    "not JSON": lambda _: Reply(200, b"<html><body>Please log in to the network</body></html>"),
    "empty": lambda completion: _saying(completion, ""),
    "null": lambda completion: _saying(completion, None),
    "length": _cut_by_length,
    "wrong fields": _wrong_fields,
    "refusal in words": lambda completion: _saying(completion, _REFUSAL),
    "refusal": lambda completion: _saying(completion, None, refusal=_REFUSAL),
    "no usage": lambda completion: whole({name: value for name, value in completion.items() if name != "usage"}),
    "context length": lambda _: Fault(400, _LONG, code="context_length_exceeded", kind="invalid_request_error").reply(),
}
HARMLESS = frozenset({"", "no usage"})  # a usable answer all the same
UNCOUNTED = frozenset({"no usage", "half of the JSON", "not JSON"})  # status 200, and no figures that can be read


@dataclass(frozen=True)
class Faults:
    """Which requests go wrong, and how.

    Args:
        rate: Share of requests.
        seed: Another seed, other requests.
        kinds: Names in ``KINDS``, equally likely.
    """

    rate: float
    seed: int = 0
    kinds: Sequence[str] = tuple(KINDS)

    def draw(self, digest: str, times: int) -> str:
        """The kind of fault that a request meets at its n-th coming; "" for none."""
        chance = random.Random(f"{self.seed}:{digest}:{times}")
        return chance.choice(self.kinds) if chance.random() < self.rate else ""


@dataclass(frozen=True)
class Latency:
    """Lognormal seconds between a request and its answer, drawn as faults are.

    Args:
        median: The median.
        sigma: Standard deviation of the logarithm.
        low: What is shorter takes as long as this.
        high: What is longer takes as long as this.
        seed: Another seed, other times.
    """

    median: float
    sigma: float = 0.4
    low: float = 0.0
    high: float = float("inf")
    seed: int = 0

    def __call__(self, digest: str, times: int) -> float:
        """Seconds that a request takes at its n-th coming."""
        drawn = self.median * random.Random(f"{self.seed}:{digest}:{times}").lognormvariate(0, self.sigma)
        return min(max(drawn, self.low), self.high)
