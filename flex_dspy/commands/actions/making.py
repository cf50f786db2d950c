"""``flex-dspy library merge``, ``import`` and ``export``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flex_dspy.commands.actions.tables import print_json, print_table
from flex_dspy.commands.actions.views import scoped_view
from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.core.tables import build_table
from flex_dspy.libraries.conflicts import Conflict
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import Merged, merge, new_conflicts
from flex_dspy.libraries.paths import journal_of
from flex_dspy.tracking.registry import read_library


def merge_libraries(names: Sequence[str], out: Path, *, any_task: bool, as_json: bool, tracking_uri: str | None) -> int:
    """Merge libraries, write the result, and print a summary and the entries that contradict each other.

    Returns:
        Number of contradictions that are new in the merged library.
    """
    libraries = [read_library(name, tracking_uri) for name in names]
    merged = merge(*libraries, names=[_origin(name) for name in names], any_task=any_task)
    write_library(out, merged.library)
    new = new_conflicts(merged, libraries)
    if as_json:
        print_json(_merge_dict(merged, new))
        return len(new)
    rows = [(name, len(each), each.precedent_count) for name, each in zip(names, libraries, strict=True)]
    together = f"together, {len(merged.duplicates)} made of several"
    rows.append((together, len(merged.library), merged.library.precedent_count))
    print_table(build_table(["library", "entries", "precedents"], rows))
    if merged.overlong:
        print(f"{len(merged.overlong)} entries have outgrown the caps by merging: {', '.join(merged.overlong[:5])}")
    if merged.conflicts:
        between = f"{len(new)} of them between the libraries"
        print(f"{len(merged.conflicts)} contradictions, {between}, for you to decide (--json lists all):")
        print(
            *(f"  {conflict.text()}" for conflict in [*new, *(c for c in merged.conflicts if c not in new)][:10]),
            sep="\n",
        )
    print(f"library  {out}")
    return len(new)


def _merge_dict(merged: Merged, new: Sequence[Conflict]) -> dict[str, object]:
    conflicts = [
        {
            "kind": each.kind,
            "about": each.about,
            "entries": each.entries,
            "against": each.against,
            "is_new": each in new,
        }
        for each in merged.conflicts
    ]
    return {
        "hash": merged.library.hash,
        "entries": len(merged.library),
        "duplicates": merged.duplicates,
        "conflicts": conflicts,
        "overlong": merged.overlong,
    }


def _origin(reference: str) -> str:
    """Name of a library for the provenance of its entries."""
    path = Path(reference)
    if not path.exists():
        return reference
    return path.resolve().parent.name if path.name == "library.json" else path.resolve().stem


def import_library(source: str, out: Path, *, task: str, tracking_uri: str | None) -> None:
    """Import a library and write it as a file in this project's format.

    Raises:
        ConfigurationError: If the library is for another task.
    """
    library = read_library(source, tracking_uri).for_task(task)
    if task not in ("", library.task):
        raise ConfigurationError(f"{source} was learned on {library.task!r}, not on {task!r}")
    write_library(out, library)
    print(f"{library}\nlibrary  {out}")


def export(name: str, out: Path, form: str, scopes: Sequence[str], tracking_uri: str | None) -> None:
    """Write a library in the format of the FLEX release, or in the format of this project (``json``).

    Other programs do not support scopes. So only the shared entries and the entries of the given scopes are written.
    """
    whole = read_library(name, tracking_uri)
    library = scoped_view(whole, scopes)
    if form == "json":
        write_library(out, library)
    else:
        _make_folder(out)
        library.export(out)
    print(f"{len(library)} entries\nfile     {out}")
    if left := len(whole) - len(library):
        print(f"{left} entries of other scopes are left out: name their scopes by --scope")


def check_free(out: Path, *, overwrite: bool) -> None:
    """Raise an error if a path belongs to a run, or if a file exists and must not be overwritten.

    Raises:
        ConfigurationError: If a run or a file would be overwritten.
    """
    if journal_of(out).exists():
        raise ConfigurationError(f"{out} has commits of a learning run in {journal_of(out).name}: choose another file")
    if out.exists() and not overwrite:
        raise ConfigurationError(f"{out} is there already: choose another file, or say --overwrite")


def write_library(path: Path, library: ExperienceLibrary) -> None:
    """Write a library file, and create its folders if necessary.

    Raises:
        LibraryError: If the file cannot be written.
    """
    _make_folder(path)
    library.save(path)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LibraryError(path, "the folder", f"cannot be made: {error.strerror}", "Choose another path") from error
