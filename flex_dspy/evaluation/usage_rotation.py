"""Keeps a usage log small. It replaces old records by totals with the same counts.

    <name>.outcomes.jsonl             the newest records
    <name>.outcomes.4.jsonl           part 4: older records, unchanged
    <name>.outcomes.totals-3.jsonl    totals of all parts up to number 3, by entry and version

A log that has grown to ``MOST_BYTES`` becomes a part, and the parts before it are merged into totals. Processes append
without a lock. A process that opened the log before it was renamed still writes into that part. Therefore a part is
merged only when the next log is full. A crash cannot make a record count twice, because the name of the totals says
which parts they hold.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from flex_dspy.evaluation.usage_records import UsageRecord
from flex_dspy.libraries.library_file import sync_folder

MOST_BYTES = 8_000_000  # 20,000 records of 10 lessons each

_NUMBER = re.compile(r"\.(totals-)?(\d+)\.jsonl$")


def log_files(log: Path) -> list[Path]:
    """Files that hold the records of a log, oldest first. The log itself is the last, even if it does not exist.

    Args:
        log: Path of the log.
    """
    totals, parts = _files_by_number(log)
    folded = max(totals, default=0)
    return [*([totals[folded]] if totals else []), *(parts[n] for n in sorted(parts) if n > folded), log]


def rotate(
    log: Path, read: Callable[[Path], list[UsageRecord]], write: Callable[[Iterable[UsageRecord]], bytes]
) -> None:
    """Merge the parts of a log and begin a new log, if it is too large and no other process is doing this.

    Args:
        log: Path of the log.
        read: Reads the records of a file.
        write: Formats records as lines.

    Raises:
        OSError: If a file cannot be written.
        LibraryFormatError: If a part is damaged.
    """
    if not _is_large(log):
        return
    with contextlib.suppress(Timeout), FileLock(log.with_suffix(".lock"), timeout=0):
        if not _is_large(log):
            return
        *old, current = log_files(log)
        last = max((_number(path) for path in old), default=0)
        if any("totals-" not in path.name for path in old):
            records = [record for path in old for record in read(path)]
            _replace(log.with_suffix(f".totals-{last}.jsonl"), write(fold(records)), old[-1].stat().st_mode)
        _remove_folded(log, last)
        current.rename(log.with_suffix(f".{last + 1}.jsonl"))
        sync_folder(log.parent)


def fold(records: Iterable[UsageRecord]) -> list[UsageRecord]:
    """Merge records into totals with the same counts: one for each version, entry, score, and whether it was relied on.

    Records with a source stay unchanged, because an example counts only once for each source. There are at most as many
    of them as there were examples.
    """
    kept: list[UsageRecord] = []
    counts: Counter[UsageRecord] = Counter()
    for record in records:
        if record.source:
            kept.append(record)
            continue
        for entry_id in record.shown:
            relied = (entry_id,) if entry_id in record.relied else ()
            counts[replace(record, example="", shown=(entry_id,), relied=relied, count=1)] += record.count
    return [*(replace(record, count=count) for record, count in counts.items()), *kept]


def _is_large(log: Path) -> bool:
    try:
        return log.stat().st_size >= MOST_BYTES
    except FileNotFoundError:
        return False


def _files_by_number(log: Path) -> tuple[dict[int, Path], dict[int, Path]]:
    """Files with totals, and files of parts, each by number."""
    totals: dict[int, Path] = {}
    parts: dict[int, Path] = {}
    for path in log.parent.glob(f"{glob.escape(log.stem)}.*.jsonl"):
        if found := _NUMBER.fullmatch(path.name.removeprefix(log.stem)):
            (totals if found[1] else parts)[int(found[2])] = path
    return totals, parts


def _number(path: Path) -> int:
    found = _NUMBER.search(path.name)
    return int(found[2]) if found else 0


def _replace(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        if os.name != "nt":
            os.fchmod(file.fileno(), mode & 0o777)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def _remove_folded(log: Path, last: int) -> None:
    totals, parts = _files_by_number(log)
    newest = max(totals, default=0)
    for path in (*(totals[n] for n in totals if n < newest), *(parts[n] for n in parts if n <= min(last, newest))):
        path.unlink(missing_ok=True)
