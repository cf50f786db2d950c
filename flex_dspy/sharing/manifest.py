"""The manifest of a shared library. A reader checks it before reading anything else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

from flex_dspy.core.errors import LibraryFormatError
from flex_dspy.libraries.library import ExperienceLibrary

MANIFEST = "flex-dspy.json"
MAX_BYTES = 64 << 10  # largest manifest

Sum = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts of a shared library that are checked when it is pulled.

    Attributes:
        hash: Content hash of the library.
        sha256: SHA-256 of its file.
        size: Size of its file in bytes.
        entries: How many entries it has.
        task: Name of its task.
        format: Format of the manifest.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    hash: Sum
    sha256: Sum
    size: NonNegativeInt
    entries: NonNegativeInt = 0
    task: str = ""
    format: Literal["flex-dspy-share/1"] = "flex-dspy-share/1"

    @classmethod
    def of(cls, library: ExperienceLibrary, data: bytes) -> Manifest:
        """The manifest for a library and the content of its file."""
        return cls(library.hash, hashlib.sha256(data).hexdigest(), len(data), len(library), library.task)

    def to_json(self) -> bytes:
        """The content of the manifest's file."""
        return _JSON.dump_json(self, indent=2) + b"\n"


_JSON: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def read_manifest(data: bytes, place: str) -> Manifest:
    """Read a manifest.

    Args:
        data: The file's content.
        place: Name of the file in error messages.

    Raises:
        LibraryFormatError: If the content is no manifest.
    """
    try:
        return _JSON.validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        problem, remedy = f"is no manifest: {fault['msg']}", "Ask the sender to push the library again"
        raise LibraryFormatError(place, where, problem, remedy) from error
