"""A language model on a string: a local OpenAI-compatible server that answers what a test's script says.

The script is called with the role that is asked for, the input fields of the prompt and all messages; it returns the
output fields as a dict (written in the format that the prompt asks for), a text that is sent as it is, or a fault.
It runs on the server's event loop, so it must not wait for anything. What goes wrong beside it, and how long an answer
takes, is in ``tests.llm_faults``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any

from tests.llm_batches import BatchDesk
from tests.llm_faults import HARMLESS, KINDS, UNCOUNTED, Fault, Faults, Reply, whole

__all__ = ["Fault", "LLMServer", "Received", "Script", "Usage", "formatted", "read_prompt"]

# Output fields that only one role has. Everything else is an actor, a ReAct step included.
_ROLES = {"lesson": "critic", "decision": "updater", "feedback": "verifier"}
_FIELD = re.compile(r"^\[\[ ## (\w+) ## \]\]$", re.MULTILINE)
_RESPOND = "Respond with "

Script = Callable[[str, dict[str, str], list[dict[str, str]]], "dict[str, Any] | str | Fault"]


@dataclass
class Received:
    """One request, and what became of it.

    Attributes:
        role: ``actor``, ``verifier``, ``critic`` or ``updater``.
        inputs: The input fields of its prompt.
        messages: Its messages, with the content as text.
        body: All of it, settings included.
        headers: Its headers, names in lower case.
        as_json: Whether a JSON object is asked for.
        digest: Hash of the body: the same for the same request.
        times: How often it has come, this time included.
        at: When, by ``time.monotonic``.
        seconds: How long its answer took.
        status: The HTTP status of the answer; 0 for none.
        fault: The kind of fault instead of the script's answer; "" for none.
        written: Whether the answer was written out to its end.
        usage: Prompt and completion tokens, as far as the answer told the client.
    """

    role: str
    inputs: dict[str, str]
    messages: list[dict[str, str]]
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    as_json: bool
    digest: str = ""
    times: int = 1
    at: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    status: int = 0
    fault: str = ""
    written: bool = False
    usage: tuple[int, int] = (0, 0)

    @property
    def usable(self) -> bool:
        """Whether the client has been given an answer that it can use."""
        return self.written and self.status == 200 and self.fault in HARMLESS


@dataclass
class Usage:
    """What was answered with status 200, to its end, and with readable figures.

    Attributes:
        calls: Number of answers.
        prompt_tokens: Tokens read, by this server's count.
        completion_tokens: Tokens written.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class LLMServer:
    """The server; a context manager that starts and stops it.

    Args:
        script: Answers requests; may be replaced at any time.
        faults: Goes wrong instead of the script's answer.
        latency: Seconds that an answer takes, of the request's hash and of how often it has come.

    Attributes:
        requests: What was received, in order of arrival.
        most_in_flight: Most requests under way at once.
        batches: The batch endpoints. A line of a batch is among the requests, and counts as written when it is made.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        faults: Faults | None = None,
        latency: Callable[[str, int], float] | None = None,
    ) -> None:
        self.script: Script = script or (lambda role, inputs, messages: Fault(500, "no script"))
        self.faults = faults
        self.latency = latency
        self.requests: list[Received] = []
        self.most_in_flight = 0
        self.batches = BatchDesk(self._answer_in_batch)
        self._in_flight = 0
        self._times: Counter[str] = Counter()
        self._writers: set[asyncio.StreamWriter] = set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._port = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self) -> str:
        """What goes into ``api_base``."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def usage(self) -> dict[str, Usage]:
        """Calls and tokens by role, and of ``all``."""
        counts: dict[str, Usage] = {"all": Usage()}
        for request in list(self.requests):
            if not (request.written and any(request.usage)):
                continue
            for name in (request.role, "all"):
                usage = counts.setdefault(name, Usage())
                usage.calls += 1
                usage.prompt_tokens += request.usage[0]
                usage.completion_tokens += request.usage[1]
        return counts

    def of(self, role: str) -> list[Received]:
        """The requests to one role."""
        return [request for request in list(self.requests) if request.role == role]

    def __enter__(self) -> LLMServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    # -- on the event loop ---------------------------------------------------------------------------------

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, sock=self._socket, limit=2**24)
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # the transports close their sockets

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server is stopped
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path = head[0].split()[:2]
        if path.startswith(("/v1/files", "/v1/batches")):
            return await _write(writer, self.batches.reply(method, path, content))
        if path != "/v1/chat/completions":
            return await _write(writer, Fault(404, f"no such path: {path}").reply())
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            request, reply = self._answer(content, headers)
            if self.latency is not None:
                await asyncio.sleep(self.latency(request.digest, request.times))
            if reply.ending == "hang":
                await reader.read()  # until the client has had enough
                return False
            # Known before the client can read it, and act on it.
            request.seconds, request.written = time.monotonic() - request.at, reply.ending == "whole"
            return await _write(writer, reply)
        finally:
            self._in_flight -= 1

    def _answer(self, content: bytes, headers: Mapping[str, str]) -> tuple[Received, Reply]:
        """Note a request, and decide on its answer."""
        body = json.loads(content)
        digest = hashlib.sha256(content).hexdigest()[:16]
        self._times[digest] += 1
        messages = [{"role": m["role"], "content": _text(m["content"])} for m in body["messages"]]
        inputs, outputs, as_json = read_prompt(messages[-1]["content"])
        role = next((_ROLES[name] for name in outputs if name in _ROLES), "actor")
        request = Received(role, inputs, messages, body, headers, as_json, digest, self._times[digest])
        self.requests.append(request)
        reply = self._reply(request)
        request.status = reply.status
        return request, reply

    def _answer_in_batch(self, content: bytes) -> Reply:
        """Answer one line of a batch."""
        request, reply = self._answer(content, {})
        request.written = True
        return reply

    def _reply(self, request: Received) -> Reply:
        try:
            written = self.script(request.role, request.inputs, request.messages)
        except (
            Exception
        ) as error:  # Said to the client, which does not ask again; otherwise it retries for half a minute.
            written = Fault(400, f"the test's script failed: {error!r}")
        if isinstance(written, Fault):
            request.fault = f"{written.status}"
            return written.reply()
        content = written if isinstance(written, str) else formatted(written, request.as_json)
        completion = _completion(request, content)
        request.fault = self.faults.draw(request.digest, request.times) if self.faults else ""
        if request.body.get("stream") and not self.faults:
            return Reply(200, _events(completion, content), {"Content-Type": "text/event-stream"})
        reply = KINDS[request.fault](completion) if request.fault else whole(completion)
        if reply.status == 200 and reply.ending == "whole" and request.fault not in UNCOUNTED:
            request.usage = completion["usage"]["prompt_tokens"], completion["usage"]["completion_tokens"]
        return reply


class Inputs(dict[str, str]):
    """The input fields of a prompt. Where nothing was learned, or tried before, a prompt has no field for it."""

    def __missing__(self, name: str) -> str:
        return {"experiences": "(no experience yet)", "earlier_attempts": "none"}[name]


def read_prompt(text: str) -> tuple[dict[str, str], list[str], bool]:
    """The input fields of a prompt of DSPy's, the names of its output fields, and whether it asks for JSON."""
    body, _, respond = text.rpartition(_RESPOND)
    pieces = _FIELD.split(body)
    inputs = Inputs({name: value.strip() for name, value in zip(pieces[1::2], pieces[2::2], strict=True)})
    as_json = respond.startswith("a JSON object")
    outputs = re.findall(r"`(\w+)`" if as_json else r"`\[\[ ## (\w+) ## \]\]`", respond)
    return inputs, outputs, as_json


def formatted(fields: Mapping[str, Any], as_json: bool) -> str:
    """Output fields as DSPy's JSONAdapter or ChatAdapter wants them."""
    if as_json:
        return json.dumps(fields)
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    blocks = [f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()]
    return "\n\n".join([*blocks, "[[ ## completed ## ]]"])


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _completion(request: Received, content: str) -> dict[str, Any]:
    asked, written = sum(len(message["content"]) for message in request.messages) // 4 + 1, len(content) // 4 + 1
    return {
        "id": "test",
        "object": "chat.completion",
        "created": 0,
        "model": request.body["model"],
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}},
        ],
        "usage": {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written},
    }


def _events(completion: dict[str, Any], content: str) -> bytes:
    """The completion as server-sent events, a few characters each."""
    pieces = [content[start : start + 6] for start in range(0, len(content), 6)]
    deltas = [{"delta": {"content": piece}, "finish_reason": None} for piece in pieces]
    choices = [[{"index": 0, **delta}] for delta in [*deltas, {"delta": {}, "finish_reason": "stop"}]]
    plain = {**completion, "object": "chat.completion.chunk", "usage": None}
    chunks = [{**plain, "choices": choice} for choice in choices]
    chunks.append({**plain, "choices": [], "usage": completion["usage"]})
    return "".join(f"data: {text}\n\n" for text in [*map(json.dumps, chunks), "[DONE]"]).encode()


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """Put a reply on the wire; whether the connection stays open."""
    if reply.ending == "drop":
        return False
    headers = {"Content-Type": "application/json", "Content-Length": str(len(reply.body)), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
    cut = reply.ending == "cut"
    writer.write(head + (reply.body[: len(reply.body) // 2] if cut else reply.body))
    await writer.drain()
    if cut:
        await asyncio.sleep(0.005)  # abort() would throw away what is not sent yet
    return not cut
