"""Places of shared libraries: folders at any address that fsspec supports, and repositories of the hub.

s3://bucket/chemist    gs://bucket/chemist    file:///srv/chemist    memory://chemist    https://host/chemist
hf://owner/name        hf://owner/name@revision/folder               hf://datasets/owner/name
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec

from flex_dspy.core.errors import ConfigurationError, LibraryError, RemoteError
from flex_dspy.core.secrets import redact, redact_url

_PROTOCOL = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.DOTALL)
_REPOSITORY = re.compile(r"(?:(datasets)/)?([\w.-]+/[\w.-]+)(?:@([^/\s]+))?(?:/(.+?))?/?")
_NOT_FOUND = 404
_STREAMED = ("hf", "http", "https")  # read sequentially, without a request for the size


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a folder.

    Attributes:
        url: The address without a slash at its end.
        protocol: Its first part, such as ``s3``.
    """

    url: str
    protocol: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            ConfigurationError: If the text is no address, or a package that it needs is not installed.
        """
        match = _PROTOCOL.fullmatch(text.strip())
        if match is None or "::" in text:
            raise ConfigurationError(
                f"{redact(text)!r} is no address: write hf://owner/name, s3://bucket/folder, https://host/folder or file:///folder"
            )
        protocol = match[1]
        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            raise ConfigurationError(f"{protocol}:// needs a package that is not installed: {error}") from error
        except ValueError as error:
            raise ConfigurationError(f"there is no way to reach {protocol}://: {error}") from error
        return cls(text.strip().rstrip("/"), protocol)

    def __str__(self) -> str:
        return redact_url(self.url)

    @property
    def is_file(self) -> bool:
        """Whether the address names a library file and not a folder."""
        return self.url.endswith(".json")

    def file(self, name: str) -> str:
        """The address of a file in the folder, or beside the file if the address names a file."""
        folder = self.url.rpartition("/")[0] if self.is_file else self.url
        return f"{folder}/{name}"

    def read(self, url: str, limit: int) -> bytes:
        """Read a file.

        Args:
            url: The file's address, as ``file`` returns it.
            limit: Most bytes.

        Raises:
            FileNotFoundError: If there is no such file.
            RemoteError: If the file is larger, or cannot be read.
        """
        with self.report_errors("read"), fsspec.open(url, "rb", **self._how_to_read()) as file:
            data: bytes = file.read(limit + 1)
            while data and len(data) <= limit and (more := file.read(limit + 1 - len(data))):
                data += more
        if len(data) > limit:
            problem = f"is larger than {limit:,} bytes"
            raise RemoteError(
                str(self), url.rpartition("/")[2], problem, "Allow more with --max-bytes, if you trust it"
            )
        return data

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files into the folder, in order.

        Raises:
            RemoteError: If they cannot be written.
        """
        try:
            with self.report_errors("write"):
                for name, data in files.items():
                    system, path = fsspec.url_to_fs(self.file(name), **self._options())
                    system.pipe_file(path, data)
        except FileNotFoundError as error:  # object stores create folders, but not buckets
            raise RemoteError(
                str(self), "the address", "is not there", "Make the bucket or the folder first"
            ) from error

    def _how_to_read(self) -> dict[str, Any]:
        streaming = {"block_size": 0} if self.protocol in _STREAMED else {}
        return {**streaming, **self._options()}

    def _options(self) -> dict[str, Any]:
        """Options of the file system; they turn off its caches."""
        own: dict[str, dict[str, Any]] = {"hf": {"endpoint": hub_endpoint()}, "file": {"auto_mkdir": True}}
        return own.get(self.protocol, {}) | ({} if self.protocol == "memory" else {"skip_instance_cache": True})

    @contextmanager
    def report_errors(self, action: str) -> Iterator[None]:
        """Re-raise errors of file systems as ``RemoteError``. ``FileNotFoundError`` is raised unchanged."""
        try:
            yield
        except (FileNotFoundError, LibraryError):
            raise
        except Exception as error:  # each file system has errors of its own
            if getattr(getattr(error, "response", None), "status_code", None) == _NOT_FOUND:
                raise FileNotFoundError(str(self)) from error
            problem = f"cannot {action} there: {type(error).__name__}: {redact(str(error))[:300]}"
            raise RemoteError(str(self), "the address", problem, "Check the address and your login for it") from error


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hugging Face hub, and a folder in it.

    Attributes:
        kind: ``model`` or ``dataset``.
        name: ``owner/name``.
        revision: A branch, a tag or a commit; None for the main branch.
        folder: The folder, with a slash at its end; "" for the root.
    """

    kind: str
    name: str
    revision: str | None
    folder: str

    @classmethod
    def of(cls, address: Address) -> Repository:
        """The repository that an ``hf://`` address names.

        Raises:
            ConfigurationError: If the address names no repository.
        """
        match = _REPOSITORY.fullmatch(address.url.partition("://")[2])
        if match is None:
            raise ConfigurationError(f"{address} names no repository: write hf://owner/name")
        folder = f"{match[4]}/" if match[4] else ""
        return cls("dataset" if match[1] else "model", match[2], match[3], folder)


def hub_endpoint() -> str | None:
    """The address of the hub; None for the public hub."""
    return os.environ.get("HF_ENDPOINT") or None
