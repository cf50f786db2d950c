"""A stand-in for the Hugging Face hub: repositories in memory, behind the addresses that its client asks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

_REPOSITORY = re.compile(r"/(?:api/)?(?:(models|datasets)/)?([\w.-]+/[\w.-]+?)(/.*)?$")


@dataclass
class HubServer:
    """The repositories, and what was asked.

    Attributes:
        url: Its address, for ``HF_ENDPOINT``.
        files: Content of each file by repository and path, such as ``models/owner/name/README.md``.
        private: Whether each repository is private.
        commits: Messages of the commits, with their files.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    commits: list[tuple[str, list[str]]] = field(default_factory=list)


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A hub on a free port of this machine, for the block."""
    hub = HubServer()

    class Handler(_Handler):
        repositories = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=lambda: server.serve_forever(0.02), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    repositories: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind, name, rest = self._place()
        repository = f"{kind}/{name}"
        if repository not in self.repositories.private:
            return self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        if tree := re.fullmatch(r"/tree/[^/]+/?(.*)", rest):
            return self._list(f"{repository}/", f"{tree[1]}/" if tree[1] else "")
        resolved = re.fullmatch(r"/resolve/[^/]+/(.+)", rest)
        if resolved is None:
            return self._answer(200, {"id": name, "sha": "0" * 40, "siblings": [], "private": False, "tags": []})
        data = self.repositories.files.get(f"{repository}/{resolved[1]}")
        if data is None:
            return self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        return self._send(200, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": "0" * 40})

    do_HEAD = do_GET

    def _list(self, repository: str, folder: str) -> None:
        """The files of a folder."""
        known = {path.removeprefix(repository): data for path, data in self.repositories.files.items()}
        inside = {path: data for path, data in known.items() if path.startswith(folder)}
        found = [{"type": "file", "path": p, "size": len(d), "oid": "0" * 40} for p, d in inside.items()]
        self._answer(200, [file for file in found if "/" not in file["path"].removeprefix(folder)])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        kind, name, rest = self._place()
        if rest.startswith("/preupload/"):
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
            return self._answer(200, {"files": modes})
        if rest.startswith("/commit/"):
            return self._commit(f"{kind}/{name}", [json.loads(line) for line in body.splitlines()])
        return self._answer(404, {"error": f"unknown: {self.path}"})

    def _create(self, wanted: dict[str, Any]) -> None:
        owner = wanted.get("organization") or "me"
        repository = f"{wanted.get('type', 'model')}s/{owner}/{wanted['name']}"
        if repository in self.repositories.private:
            return self._answer(409, {"error": "it exists", "url": f"{self.repositories.url}/{owner}/{wanted['name']}"})
        self.repositories.private[repository] = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        return self._answer(200, {"url": f"{self.repositories.url}/{owner}/{wanted['name']}"})

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        files = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
        for path, content in files.items():
            self.repositories.files[f"{repository}/{path}"] = base64.b64decode(content)
        message = next(line["value"]["summary"] for line in lines if line["key"] == "header")
        self.repositories.commits.append((message, sorted(files)))
        oid = f"{len(self.repositories.commits):040x}"
        url = f"{self.repositories.url}/{repository.partition('/')[2]}/commit/{oid}"
        self._answer(200, {"commitOid": oid, "commitUrl": url, "success": True})

    def _place(self) -> tuple[str, str, str]:
        match = _REPOSITORY.match(self.path.partition("?")[0])
        assert match, self.path
        return match[1] or "models", match[2], match[3] or ""

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
