"""``flex-dspy library ...``: look at libraries, compare, merge, convert and edit them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flex_dspy.commands import listing, log_run, prune, value
from flex_dspy.commands.entry_editor import revision_from_editor, revision_from_options
from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.core.terminal import print_styled
from flex_dspy.learning.version import VersionRecord
from flex_dspy.libraries.diffing import diff
from flex_dspy.libraries.editing import find_entry
from flex_dspy.libraries.experience import EXPERIENCES_JSON, PersonEdit, Pin, Remove
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge
from flex_dspy.libraries.store import LibraryStore, journal_of
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.tracking import registry


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    _ACTIONS[arguments.action](arguments)


def _read(name: str, arguments: argparse.Namespace) -> ExperienceLibrary:
    return registry.read_library(name, arguments.tracking_uri)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


# -- looking -----------------------------------------------------------------------------------------------


def _show(arguments: argparse.Namespace) -> None:
    library = _read(arguments.library, arguments)
    entries = listing.selected(library, zone=arguments.zone, category=arguments.category, entry_id=arguments.id)
    if arguments.id and not entries:
        find_entry(library, arguments.id)  # says which ids are near
    page = entries[arguments.skip : arguments.skip + arguments.limit]
    if arguments.json:
        _print_json(EXPERIENCES_JSON.dump_python(page, mode="json"))
        return
    for entry in page:
        print(listing.entry_text(entry, None if len(entries) == 1 else listing.PRECEDENTS), end="\n\n")
    until = arguments.skip + len(page)
    more = f"; --skip {until} for more" if until < len(entries) else ""
    print(f"{len(page)} of {len(entries)} entries, of {len(library)} in the library{more}")


def _stats(arguments: argparse.Namespace) -> None:
    figures = _read(arguments.library, arguments).stats(arguments.top)
    if arguments.json:
        _print_json(figures)
    else:
        print(listing.statistics_text(figures))


def _versions(arguments: argparse.Namespace) -> None:
    path = Path(arguments.library)
    file = path / "library.json" if path.is_dir() else path
    log = file.with_suffix(".versions.jsonl")
    if not (path.exists() or log.exists()) and file.suffix != ".json":
        _registered(arguments)
        return
    if not log.exists():
        raise LibraryError(file, "the versions", f"there is no {log.name}", "Only learning publishes versions")
    records = [_record(line, log, number) for number, line in enumerate(log.read_bytes().splitlines(), start=1)]
    if arguments.json:
        _print_json(records)
        return
    print(*(VersionRecord(**record).text() for record in records), sep="\n")


def _record(line: bytes, log: Path, number: int) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
        VersionRecord(**record).text()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LibraryError(log, f"line {number}", f"is no version: {error}", "Remove the line") from error
    return record


def _registered(arguments: argparse.Namespace) -> None:
    versions = registry.registered_versions(registry.registered_name(arguments.library), arguments.tracking_uri)
    if arguments.json:
        fields = ("number", "aliases", "description", "tags")
        _print_json([{name: getattr(version, name) for name in fields} for version in versions])
        return
    for version in versions:
        names = f"  [{', '.join(version.aliases)}]" if version.aliases else ""
        print(f"{version.number:>4}  {version.tags.get('hash', '')[:12]}  {version.description}{names}")


def _diff(arguments: argparse.Namespace) -> None:
    difference = diff(_read(arguments.older, arguments), _read(arguments.newer, arguments))
    if arguments.json:
        _print_json(difference.as_dict())
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    (print_styled if colour else print)(difference.text(colour=colour, limit=arguments.limit))


def _search(arguments: argparse.Namespace) -> None:
    library = _read(arguments.library, arguments)
    retriever = ExperienceRetriever(library, exclude_self=False)  # a person may ask about a known problem
    hits = retriever.hits(arguments.query, arguments.k)
    weights = retriever.ZONE_WEIGHT
    if arguments.json:
        _print_json([listing.hit_dict(hit, weights) for hit in hits])
        return
    for number, hit in enumerate(hits, start=1):
        print(listing.hit_text(hit, number, weights), end="\n\n")
    print(f"{len(hits)} of {len(library)} entries fit best" if hits else "nothing in the library fits")


# -- making ------------------------------------------------------------------------------------------------


def _merge(arguments: argparse.Namespace) -> None:
    _check_free(arguments)
    libraries = [_read(name, arguments) for name in arguments.libraries]
    merged = merge(*libraries, names=[_name(name) for name in arguments.libraries], any_task=arguments.any_task)
    _write(Path(arguments.out), merged.library)
    if arguments.json:
        _print_json(
            {
                "hash": merged.library.hash,
                "entries": len(merged.library),
                "duplicates": merged.duplicates,
                "conflicts": [
                    {"kind": c.kind, "about": c.about, "entries": c.entries, "against": c.against}
                    for c in merged.conflicts
                ],
                "overlong": merged.overlong,
            }
        )
        return
    for name, library in zip(arguments.libraries, libraries, strict=True):
        print(f"{len(library):>7} entries  {library.precedent_count:>8} precedents  {name}")
    made = f"{len(merged.duplicates)} made of several"
    print(f"{len(merged.library):>7} entries  {merged.library.precedent_count:>8} precedents  together, {made}")
    if merged.overlong:
        print(f"{len(merged.overlong)} entries have outgrown the caps by merging: {', '.join(merged.overlong[:5])}")
    if merged.conflicts:
        print(f"{len(merged.conflicts)} contradictions, for you to decide (--json lists all):")
        print(*(f"  {conflict.text()}" for conflict in merged.conflicts[:10]), sep="\n")
    print(f"library  {arguments.out}")


def _name(reference: str) -> str:
    """What a library is called in the provenance of its entries."""
    path = Path(reference)
    if not path.exists():
        return reference
    return path.resolve().parent.name if path.name == "library.json" else path.resolve().stem


def _import(arguments: argparse.Namespace) -> None:
    _check_free(arguments)
    library = _read(arguments.source, arguments).for_task(arguments.task)
    if arguments.task not in ("", library.task):
        raise ConfigurationError(f"{arguments.source} was learned on {library.task!r}, not on {arguments.task!r}")
    _write(Path(arguments.out), library)
    print(f"{library}\nlibrary  {arguments.out}")


def _export(arguments: argparse.Namespace) -> None:
    _check_free(arguments)
    library, out = _read(arguments.library, arguments), Path(arguments.out)
    if arguments.format == "json":
        _write(out, library)
    else:
        _make_folder(out)
        library.export(out)
    print(f"{len(library)} entries\nfile     {arguments.out}")


def _check_free(arguments: argparse.Namespace) -> None:
    out = Path(arguments.out)
    if journal_of(out).exists():
        raise ConfigurationError(f"{out} has commits of a learning run in {journal_of(out).name}: choose another file")
    if out.exists() and not arguments.overwrite:
        raise ConfigurationError(f"{out} is there already: choose another file, or say --overwrite")


def _write(path: Path, library: ExperienceLibrary) -> None:
    _make_folder(path)
    library.save(path)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LibraryError(path, "the folder", f"cannot be made: {error.strerror}", "Choose another path") from error


# -- editing -----------------------------------------------------------------------------------------------


def _edit(arguments: argparse.Namespace) -> None:
    path = Path(arguments.library)
    _check_own(path)
    is_learning = journal_of(path).exists()
    store = LibraryStore(path)
    before = store.library
    edit = _chosen_edit(arguments, before)
    if edit is None:
        print("nothing changed")
        return
    after = store.edit([edit])
    if not is_learning:  # in the middle of a run, only the run may write its file: it needs the snapshots between
        after = store.checkpoint(before.hash)
    print(after.diff(before).text())


def _check_own(path: Path) -> None:
    """Refuse what is no file of this project: an edit would replace it by one."""
    remedy = "Import it first, if it is a folder, a version or a file of the FLEX release"
    if path.is_file():
        with path.open("rb") as file:
            if b'"flex-dspy/' not in file.read(_HEAD_BYTES):
                raise LibraryError(path, "the file", "is no library file of this project", remedy)
    elif not journal_of(path).exists():
        raise LibraryError(path, "the file", "is no library file", remedy)


_HEAD_BYTES = 1 << 16


def _chosen_edit(arguments: argparse.Namespace, library: ExperienceLibrary) -> PersonEdit | None:
    entry = find_entry(library, arguments.id)
    if arguments.remove:
        return Remove(entry.id, arguments.reason, arguments.force)
    if arguments.pin or arguments.unpin:
        return Pin(entry.id, arguments.pin, arguments.reason)
    if arguments.set:
        return revision_from_options(entry, arguments.set, arguments.reason)
    return revision_from_editor(entry, arguments.reason)


_ACTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "show": _show,
    "stats": _stats,
    "versions": _versions,
    "diff": _diff,
    "search": _search,
    "merge": _merge,
    "import": _import,
    "export": _export,
    "edit": _edit,
    "log": log_run.run,
    "value": value.run,
    "prune": prune.run,
}
