"""``flex-dspy library show``, ``stats``, ``versions``, ``diff`` and ``search``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flex_dspy.commands.actions import listing, roles
from flex_dspy.commands.actions.tables import print_json, print_table
from flex_dspy.commands.actions.views import scoped_view
from flex_dspy.commands.options.library import Selection
from flex_dspy.core.errors import LibraryError
from flex_dspy.core.tables import build_table
from flex_dspy.core.terminal import print_styled
from flex_dspy.learning.version import VersionRecord
from flex_dspy.libraries.categories import Category, by_category
from flex_dspy.libraries.diffing import diff
from flex_dspy.libraries.editing import find_entry
from flex_dspy.libraries.experience import EXPERIENCES_JSON
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.tracking import registry
from flex_dspy.tracking.mlflow_store import server_address
from flex_dspy.tracking.registry import read_library


def show(name: str, chosen: Selection, *, as_json: bool, tracking_uri: str | None) -> None:
    """Print one page of the selected entries."""
    library = read_library(name, tracking_uri)
    entries = listing.select(library, chosen)
    if chosen.entry_id and not entries:
        find_entry(library, chosen.entry_id)  # its error lists similar ids
    if chosen.by_category:
        _show_categories(by_category(entries), chosen, as_json=as_json)
        return
    page = entries[chosen.skip : chosen.skip + chosen.limit]
    if as_json:
        print_json(EXPERIENCES_JSON.dump_python(page, mode="json"))
        return
    for entry in page:
        most = None if len(entries) == 1 else listing.PRECEDENTS
        print(listing.entry_text(entry, most, server_address(tracking_uri)), end="\n\n")
    more = _more(chosen, len(page), len(entries)) if entries else "; library stats names its zones and categories"
    print(f"{len(page)} of {len(entries)} entries, of {len(library)} in the library{more}")


def _show_categories(categories: Sequence[Category], chosen: Selection, *, as_json: bool) -> None:
    page = categories[chosen.skip : chosen.skip + chosen.limit]
    if as_json:
        print_json([listing.category_dict(category) for category in page])
        return
    for category in page:
        print(listing.category_text(category), end="\n\n")
    print(f"{len(page)} of {len(categories)} categories{_more(chosen, len(page), len(categories))}")


def _more(chosen: Selection, shown: int, total: int) -> str:
    """How to see the rest; "" if there is none."""
    until = chosen.skip + shown
    return f"; --skip {until} for more" if until < total else ""


def show_stats(name: str, top: int, *, as_json: bool, tracking_uri: str | None) -> None:
    """Print the statistics of a library."""
    figures = read_library(name, tracking_uri).stats(top)
    if as_json:
        print_json(figures)
    else:
        listing.print_statistics(figures)


def list_versions(name: str, *, as_json: bool, tracking_uri: str | None) -> None:
    """Print the versions from the log beside a library file, or the versions registered in MLflow."""
    path = Path(name)
    file = path / "library.json" if path.is_dir() else path
    log = file.with_suffix(".versions.jsonl")
    if not (path.exists() or log.exists()) and file.suffix != ".json":
        _list_registered(name, as_json=as_json, tracking_uri=tracking_uri)
        return
    if not log.exists():
        raise LibraryError(file, "the versions", f"there is no {log.name}", "Only learning publishes versions")
    records = [_read_record(line, log, number) for number, line in enumerate(log.read_bytes().splitlines(), start=1)]
    if as_json:
        print_json(records)
    else:
        print(*(VersionRecord(**record).text() for record in records), sep="\n")


def _read_record(line: bytes, log: Path, number: int) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
        VersionRecord(**record).text()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LibraryError(log, f"line {number}", f"is no version: {error}", "Remove the line") from error
    return record


def _list_registered(name: str, *, as_json: bool, tracking_uri: str | None) -> None:
    versions = registry.list_versions(registry.name_of(name), tracking_uri)
    if as_json:
        fields = ("number", "aliases", "description", "tags")
        print_json([{field: getattr(version, field) for field in fields} for version in versions])
        return
    rows = [(v.number, v.tags.get("hash", "")[:12], ", ".join(v.aliases), v.description) for v in versions]
    print_table(build_table(["version", "hash", "aliases", "description"], rows, left=4))


def show_diff(names: tuple[str, str], limit: int | None, *, as_json: bool, tracking_uri: str | None) -> None:
    """Print the changes from one library to another, in colour on a terminal."""
    older, newer = (read_library(name, tracking_uri) for name in names)
    difference = diff(older, newer)
    if as_json:
        print_json(difference.as_dict())
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    (print_styled if colour else print)(difference.text(colour=colour, limit=limit))


def search(
    name: str,
    query: str,
    k: int,
    utility: float,
    scopes: Sequence[str],
    *,
    as_json: bool,
    tracking_uri: str | None,
) -> None:
    """Print the entries that fit a problem best, with the reasons."""
    library = scoped_view(read_library(name, tracking_uri), scopes)
    effects = roles.effects_of(name, library) if utility else None
    # A person may ask about a known problem.
    retriever = ExperienceRetriever(library, effects=effects, utility=utility, exclude_self=False, scopes=scopes)
    hits = retriever.hits(query, k)
    weights = retriever.ZONE_WEIGHT
    if as_json:
        print_json([listing.hit_dict(hit, weights) for hit in hits])
        return
    for number, hit in enumerate(hits, start=1):
        print(listing.hit_text(hit, number, weights), end="\n\n")
    print(f"{len(hits)} of {len(library)} entries fit best" if hits else "nothing in the library fits")
