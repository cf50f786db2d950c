"""A language model on a string: a local OpenAI-compatible server that answers what a test's script says.

The script is called with the role that is asked for, the input fields of the prompt and all messages; it returns the
output fields as a dict (written in the format that the prompt asks for), a text that is sent as it is, or a fault.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

# Output fields that only one role has. Everything else is an actor.
_ROLES = {"lesson": "critic", "decision": "updater", "accepted": "verifier"}
_FIELD = re.compile(r"^\[\[ ## (\w+) ## \]\]$", re.MULTILINE)
_RESPOND = "Respond with "


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong instead of an answer.

    Attributes:
        status: The HTTP status; 0 hangs up without an answer.
        message: What the error says.
        retry_after: Seconds, for the header of that name; 0 makes DSPy retry at once.
    """

    status: int
    message: str = "the script says so"
    retry_after: float | None = None


Script = Callable[[str, dict[str, str], list[dict[str, str]]], "dict[str, Any] | str | Fault"]


@dataclass(frozen=True)
class Received:
    """One request.

    Attributes:
        role: ``actor``, ``verifier``, ``critic`` or ``updater``.
        inputs: The input fields of its prompt.
        messages: Its messages, with the content as text.
        body: All of it, settings included.
        headers: Its headers, names in lower case.
        as_json: Whether a JSON object is asked for.
    """

    role: str
    inputs: dict[str, str]
    messages: list[dict[str, str]]
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    as_json: bool


class LLMServer:
    """The server; a context manager that starts and stops it.

    Args:
        script: Answers requests; may be replaced at any time.

    Attributes:
        requests: What was received, in order of arrival.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script or (lambda role, inputs, messages: Fault(500, "no script"))
        self.requests: list[Received] = []
        self._lock = threading.Lock()
        self._http = _HTTPServer(("127.0.0.1", 0), _handler(self))
        # A short poll interval, because shutdown() waits for it.
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """What goes into ``api_base``."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def of(self, role: str) -> list[Received]:
        """The requests to one role."""
        with self._lock:
            return [request for request in self.requests if request.role == role]

    def __enter__(self) -> LLMServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> str | Fault:
        """The content of the answer to one request."""
        messages = [{"role": m["role"], "content": _text(m["content"])} for m in body["messages"]]
        inputs, outputs, as_json = read_prompt(messages[-1]["content"])
        role = next((_ROLES[name] for name in outputs if name in _ROLES), "actor")
        with self._lock:
            self.requests.append(Received(role, inputs, messages, body, headers, as_json))
        written = self.script(role, inputs, messages)
        return written if isinstance(written, str | Fault) else formatted(written, as_json)


def read_prompt(text: str) -> tuple[dict[str, str], list[str], bool]:
    """The input fields of a prompt of DSPy's, the names of its output fields, and whether it asks for JSON."""
    body, _, respond = text.rpartition(_RESPOND)
    pieces = _FIELD.split(body)
    inputs = {name: value.strip() for name, value in zip(pieces[1::2], pieces[2::2], strict=True)}
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


class _HTTPServer(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away, as cancelled ones do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(server: LLMServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                self._send(404, {"error": {"message": f"no such path: {self.path}"}})
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(body, headers)
            if isinstance(answer, str):
                self._send(200, _completion(body, answer))
            elif answer.status:
                error = {"message": answer.message, "type": "test", "code": str(answer.status)}
                self._send(answer.status, {"error": error}, answer.retry_after)

        def _send(self, status: int, body: dict[str, Any], retry_after: float | None = None) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if retry_after is not None:
                self.send_header("Retry-After", str(retry_after))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


def _completion(body: Mapping[str, Any], content: str) -> dict[str, Any]:
    asked, written = len(json.dumps(body["messages"])) // 4, len(content) // 4
    return {
        "id": "test",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}},
        ],
        "usage": {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written},
    }
