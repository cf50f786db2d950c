"""Reads the library file with every check, and writes it so that no crash can damage it.

A file that is damaged, truncated or wrongly typed is an error that names the file and the place; it is never read as an
empty library. ``hash`` covers the experiences and ``checksum`` everything else, so that damage is found even if the
file is still valid JSON. To edit a file by hand, delete both lines.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, NonNegativeInt, TypeAdapter, ValidationError

from flex_dspy.core.errors import LibraryError, LibraryFormatError, LibraryVersionError
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import FORMAT, ExperienceLibrary
from flex_dspy.libraries.paths import PRIVATE, library_path
from flex_dspy.libraries.release_format import is_release, read_release
from flex_dspy.libraries.strict_json import CORRECT, RESTORE, decode, read_json

# Reading needs several times the file's size in memory. No learner writes a larger file.
MAX_BYTES = 2 << 30
_PIECE = 16 << 20

BINARY = getattr(os, "O_BINARY", 0)  # otherwise Windows changes the line ends
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY


@dataclass(frozen=True, slots=True)
class _Document:
    """The keys of a library file."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    format: str
    experiences: list[Experience]
    task: str = ""
    hash: str | None = None
    checksum: str | None = None
    parent: str | None = None
    seen: NonNegativeInt = 0
    runs: dict[str, NonNegativeInt] | None = None
    origin: dict[str, Any] | None = None
    waiting: list[Experience] | None = None

    def library(self) -> ExperienceLibrary:
        """The library that the keys describe."""
        return ExperienceLibrary(
            self.experiences,
            task=self.task,
            parent=self.parent,
            seen=self.seen,
            runs=self.runs,
            origin=self.origin,
            waiting=self.waiting or (),
        )


_DOCUMENT: TypeAdapter[_Document] = TypeAdapter(_Document)


def load(path: str | Path, *, split: bool = False) -> ExperienceLibrary:
    """Read a library file of this project or of the FLEX release.

    Args:
        path: The file. A journal beside it is not read: ``flex_dspy.libraries.store.LibraryStore`` does that.
        split: Split the overlong entries of a release (see ``flex_dspy.libraries.splitting``).

    Raises:
        LibraryFormatError: If the file is damaged, truncated, wrongly typed or no library.
        LibraryVersionError: If a newer flex-dspy wrote it.
        LibraryError: If there is no such file, or it cannot be read.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise LibraryFormatError(path, "the file", f"is larger than {MAX_BYTES:,} bytes", RESTORE)
        raw = _read(Path(path))
    except OSError as error:
        raise LibraryError(path, "the file", f"cannot be read: {error.strerror}", "Check the path") from error
    return parse(raw, path, split=split)


def _read(path: Path) -> bytes:
    """The bytes of a text file. Reading stops with an error at a zero byte, as a power failure may leave them."""
    pieces: list[bytes] = []
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            if (at := piece.find(b"\0")) >= 0:
                place = f"byte {sum(map(len, pieces)) + at}"
                raise LibraryFormatError(path, place, "is NUL, which no text holds", RESTORE)
            pieces.append(piece)
    return b"".join(pieces)


def parse(text: str | bytes, path: str | Path = "<text>", *, split: bool = False) -> ExperienceLibrary:
    """Read the text of a library file.

    Args:
        text: The whole document; bytes are UTF-8.
        path: Name of the text in error messages.
        split: Whether to split the overlong entries of a FLEX release.

    Raises:
        LibraryFormatError: If the text is damaged, truncated, wrongly typed or no library.
        LibraryVersionError: If a newer flex-dspy wrote it.
    """
    with _no_collection():
        intact = _parse_intact(text)
        return _parse_with_care(text, path, split) if intact is None else intact


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Switch off garbage collection within the block: there is no garbage, and the search for it takes seconds."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse_intact(text: str | bytes) -> ExperienceLibrary | None:
    """The library in a text whose hash and checksum are both right; None for any other text.

    Such a text needs no further check. Other texts are read by a slower parser that finds the fault.
    """
    try:
        document = _DOCUMENT.validate_json(text, strict=True)
    except ValidationError:
        return None
    if document.format != FORMAT or document.hash is None or document.checksum is None:
        return None
    try:
        library = document.library()
    except ValueError:  # two entries with one id
        return None
    is_intact = (library.seen, library.hash, library.checksum) == (document.seen, document.hash, document.checksum)
    return library if is_intact else None


def _parse_with_care(text: str | bytes, path: str | Path, split: bool) -> ExperienceLibrary:
    if isinstance(text, bytes):
        text = decode(text, path)
    plain = read_json(text, path)
    if plain == []:
        problem = "is an empty list: no library of this project or of the FLEX release"
        raise LibraryFormatError(path, "the file", problem, 'Check the path; an empty library has a "format" too')
    if is_release(plain):
        return read_release(plain, path, split=split)
    _check_format(plain, path)
    del plain  # as large as the library itself
    document = _read_document(text, path)
    _check_entries(document, path)
    library = document.library()
    _check_sums(document, library, path)
    return library


def write_atomically(
    path: Path, text: str | bytes, *, mode: int | None = None, check: Callable[[], None] = lambda: None
) -> None:
    """Replace a file by ``text``. After a crash at any moment, the file is either the old one or the complete new one.

    The new file gets the permissions of the old one. It gets the same owner and group if the system allows that;
    otherwise the group has no access. Access control lists and other extended attributes are not kept.

    Args:
        path: The file. If it is a link, its target is replaced.
        text: The new content; text is written as UTF-8.
        mode: Permissions of a new file; None follows the umask.
        check: Called just before the replacement; it may raise an error to prevent it.

    Raises:
        LibraryError: If the file cannot be written. The old one is untouched.
    """
    data = text.encode() if isinstance(text, str) else text
    if len(data) > MAX_BYTES:
        problem = f"would be larger than {MAX_BYTES:,} bytes, and could not be read back"
        raise LibraryError(path, "the file", problem, "Split the library")
    target = library_path(path)  # replaces the target of a link, not the link
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        _write_durably(temporary, data, _status(target), mode)
        check()
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        remedy = "What was there is untouched; make room, or choose another path"
        raise LibraryError(path, "the file", problem, remedy) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and its parent folders, so that they survive a power failure.

    Raises:
        OSError: If one cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_name(folder.parent)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power failure, if the system can do that."""
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_name(folder: Path) -> None:
    """Make the name of a folder survive a power failure: the process that made it may have been killed too early."""
    with contextlib.suppress(PermissionError):  # this project did not make a folder that it may not list
        sync_folder(folder.parent)


def write_all(file: int, data: bytes) -> None:
    """Write all of ``data`` at the file's position. The system may need several calls for that.

    Raises:
        OSError: If it cannot be written; a part may have been written.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _write_durably(path: Path, data: bytes, old: os.stat_result | None, mode: int | None) -> None:
    wanted = mode if old is None else stat.S_IMODE(old.st_mode) & 0o777
    file = os.open(path, CREATE, 0o666 if wanted is None else wanted & PRIVATE)
    try:
        if wanted is not None and os.name != "nt":
            os.fchmod(file, wanted if old is None else _take_over(file, old, wanted))
        write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)


def _take_over(file: int, old: os.stat_result, mode: int) -> int:
    """Give a file the owner and group of another file if possible, and return the permissions that are then safe."""
    new = os.fstat(file)
    if (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid):
        return mode
    for owner in (old.st_uid, -1):  # a member of the group may set the group, but not the owner
        with contextlib.suppress(PermissionError):
            os.fchown(file, owner, old.st_gid)
            return mode
    return mode & ~0o070  # otherwise another group would get the group's permissions


# -- meaning -----------------------------------------------------------------------------------------------


def _check_format(plain: Any, path: str | Path) -> None:
    name = plain.get("format") if isinstance(plain, dict) else None
    if name == FORMAT:
        return
    newer = re.fullmatch(r"flex-dspy/(\d{1,9})", name) if isinstance(name, str) else None
    if newer and int(newer[1]) > int(FORMAT.rpartition("/")[2]):
        problem = f"is {name}, and this version reads {FORMAT}"
        raise LibraryVersionError(path, "format", problem, "Upgrade flex-dspy")
    problem = f'is no experience library: "format" should be "{FORMAT}"'
    raise LibraryFormatError(path, "format", problem, "Check the path, or restore the file from a backup")


def _read_document(text: str, path: str | Path) -> _Document:
    try:
        return _DOCUMENT.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = _place(first["loc"], json.loads(text)) or _line_in(first["msg"])
        raise LibraryFormatError(path, place, first["msg"], CORRECT) from error


def _place(location: Sequence[int | str], plain: Any) -> str:
    """A pydantic location as a path of keys, with the entry's id if the location is inside an entry."""
    keys = ".".join(str(key) for key in location)
    if location[:1] != ("experiences",) or len(location) < 2 or not isinstance(location[1], int):
        return keys
    entry = plain["experiences"][location[1]]
    return f"{keys} (entry {entry['id']})" if isinstance(entry, dict) and "id" in entry else keys


def _line_in(message: str) -> str:
    """The position in a message of pydantic's JSON parser."""
    found = re.search(r"line (\d+) column (\d+)", message)
    return f"line {found[1]}, column {found[2]}" if found else "the file"


def _check_entries(document: _Document, path: str | Path) -> None:
    first: dict[str, int] = {}
    for index, experience in enumerate(document.experiences):
        if experience.id in first:
            problem = f"has the id of experiences.{first[experience.id]}"
            remedy = "Delete one of the two, or give it another id"
            raise LibraryFormatError(path, f"experiences.{index} (entry {experience.id})", problem, remedy)
        first[experience.id] = index
        if max(experience.created_at, experience.updated_at) > document.seen:
            problem = f'is dated later than the library\'s clock: "seen" is {document.seen}'
            raise LibraryFormatError(path, f"experiences.{index} (entry {experience.id})", problem, CORRECT)


def _check_sums(document: _Document, library: ExperienceLibrary, path: str | Path) -> None:
    sums = {"hash": (document.hash, library.hash), "checksum": (document.checksum, library.checksum)}
    for key, (stated, actual) in sums.items():
        if stated is not None and stated != actual:
            remedy = (
                'If you edited the file on purpose, delete the "hash" and "checksum" lines and load it '
                "again; if not, restore it from a backup, or from the version logged in MLflow"
            )
            raise LibraryFormatError(path, key, f"the content does not match its {key}", remedy)
