"""The states that a disk may be in after a power failure: what was not synced may be missing, torn, or out of order.

As in ALICE (Pillai et al., OSDI 2014) and in the crash tests of SQLite: of the writes to a file since it was synced,
any may be on the disk and any not, or a part of one; of the changes of a folder's names since that was synced, any may
be there and any not. A rename is there whole or not at all. Syncing a file does not sync its name.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.recording import Acknowledged, Names, Operation, SyncFile, SyncFolder, Truncate, Write

Pending = Write | Truncate | Names


@dataclass
class Disk:
    """What is on the disk for certain.

    Attributes:
        files: Content by number.
        names: Number by path; -1 is a folder.
        acknowledged: By kind, the largest number that a caller was told is safe.
        pending: What was asked and may not be there, in its order.
    """

    files: dict[int, bytes] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    pending: list[Pending] = field(default_factory=list)

    def take(self, operation: Operation) -> None:
        """Go on by one operation."""
        if isinstance(operation, Acknowledged):
            self.acknowledged[operation.kind] = operation.value
        elif isinstance(operation, SyncFile | SyncFolder):
            synced = [each for each in self.pending if _is_synced_by(each, operation)]
            self.pending = [each for each in self.pending if not _is_synced_by(each, operation)]
            self.files, self.names = self.with_(synced)
        else:
            self.pending.append(operation)

    def with_(self, operations: Sequence[Pending]) -> tuple[dict[int, bytes], dict[str, int]]:
        """Files and names, if these operations reached the disk."""
        files, names = dict(self.files), dict(self.names)
        for operation in operations:
            if isinstance(operation, Names):
                for name, file in operation.changes:
                    if file is None:
                        names.pop(name, None)
                    else:
                        names[name] = file
            else:
                files[operation.file] = _changed(files.get(operation.file, b""), operation)
        return files, names


def _is_synced_by(operation: Pending, sync: SyncFile | SyncFolder) -> bool:
    if isinstance(operation, Names):
        return isinstance(sync, SyncFolder) and operation.folder == sync.folder
    return isinstance(sync, SyncFile) and operation.file == sync.file


def _changed(content: bytes, operation: Write | Truncate) -> bytes:
    if isinstance(operation, Truncate):
        return content[: operation.size].ljust(operation.size, b"\0")
    start, data = operation.offset, operation.data
    return content[:start].ljust(start, b"\0") + data + content[start + len(data) :]


def disks_after(operations: Sequence[Operation]) -> Iterator[Disk]:
    """What is certain after each of the operations, and before the first."""
    disk = Disk()
    yield disk
    for operation in operations:
        disk.take(operation)
        yield disk


def crashes(disk: Disk, rng: random.Random, samples: int = 6) -> Iterator[list[Pending]]:
    """Which of the pending operations may have reached the disk, and as what.

    Args:
        disk: What is certain.
        rng: Chooses among the many.
        samples: How many random subsets there are.
    """
    pending = disk.pending
    yield []
    yield list(pending)
    for index in range(len(pending)):
        yield [*pending[:index], *pending[index + 1 :]]
        yield [pending[index]]
    for index, operation in enumerate(pending):
        if isinstance(operation, Write):
            for part in _torn(operation):
                yield [*pending[:index], part, *pending[index + 1 :]]
    for _ in range(samples if len(pending) > 1 else 0):
        yield [operation for operation in pending if rng.random() < 0.5]


def _torn(write: Write) -> Iterator[Write]:
    """A write of which a part is there: its start, nothing but its length, or its start and its length."""
    data = write.data
    for kept in (1, len(data) // 2, len(data) - 1):
        yield Write(write.file, write.offset, data[:kept])
        yield Write(write.file, write.offset, data[:kept].ljust(len(data), b"\0"))
    yield Write(write.file, write.offset, bytes(len(data)))
    if len(data) > 1:  # the later block came first
        half = len(data) // 2
        yield Write(write.file, write.offset, bytes(half) + data[half:])


def lay_out(disk: Disk, survivors: Sequence[Pending], folder: Path) -> frozenset[tuple[str, bytes]]:
    """Write a disk into a folder, and say what is in it. A name in a folder that is missing is missing."""
    files, names = disk.with_(survivors)
    above = {name: [str(each) for each in Path(name).parents if each != Path()] for name in names}
    there = {name: file for name, file in names.items() if all(each in names for each in above[name])}
    for name, file in sorted(there.items()):
        path = folder / name
        if file < 0:
            path.mkdir()
        else:
            path.write_bytes(files.get(file, b""))
    return frozenset((name, files.get(file, b"")) for name, file in there.items())
