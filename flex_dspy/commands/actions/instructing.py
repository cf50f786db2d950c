"""``flex-dspy library export --as`` and ``import --into``: lessons for agents, and a person's edits of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flex_dspy.commands.actions.asking import ask
from flex_dspy.commands.actions.tables import print_json
from flex_dspy.commands.actions.views import scoped_view
from flex_dspy.commands.options.sharing import InstructionOptions
from flex_dspy.evaluation.entry_values import EntryValue, read_valuation, value_file
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.paths import journal_of
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.sharing.edited import EditConflict, read_edits
from flex_dspy.sharing.instructions import Instructions, export_instructions, write_agents_md, write_skill
from flex_dspy.tracking.registry import read_library


def export(
    name: str,
    out: Path,
    options: InstructionOptions,
    scopes: Sequence[str],
    *,
    as_json: bool,
    tracking_uri: str | None,
) -> None:
    """Write the best lessons of the shared scope and the given scopes, and print which lessons were left out."""
    library = scoped_view(read_library(name, tracking_uri), scopes)
    values = _values(name, options.estimates, library)
    made = export_instructions(library, values, tokens=options.tokens, name=options.name or "")
    if options.form == "skill":
        out = write_skill(out, made, options.description)
    else:
        write_agents_md(out, made)
    if as_json:
        print_json(_export_dict(made, out))
    else:
        print(f"{made.choice.text()}\n{made.tokens:,} tokens of {options.tokens:,}\nfile     {out}")


def _values(name: str, estimates: Path | None, library: ExperienceLibrary) -> dict[str, EntryValue]:
    """Measured values of the entries that have not changed since; empty if there is no file."""
    file = estimates or value_file(name)
    return read_valuation(file).still_true(library) if estimates or file.exists() else {}


def _export_dict(made: Instructions, out: Path) -> dict[str, object]:
    return {
        "file": str(out),
        "name": made.section.name,
        "tokens": made.tokens,
        "entries": [entry.id for entry in made.choice.entries],
        "left_out": [{"entry": entry.id, "reason": reason} for entry, reason in made.choice.left_out],
    }


def import_edits(source: Path, into: Path, name: str | None, *, is_confirmed: bool, as_json: bool) -> None:
    """Print a person's changes in exported lessons, and apply them to the library."""
    is_learning = journal_of(into).exists()
    store = LibraryStore(into)
    before = store.library
    found = read_edits(source, before, name)
    after = before.edit(found.edits) if found.edits else before
    if not as_json:
        _print_changes(before, after, found.conflicts)
    is_made = bool(found.edits) and (
        is_confirmed or (not as_json and ask(f"make {len(found.edits)} edits in {into}", "make the edits"))
    )
    if is_made:
        store.edit(found.edits)
        if not is_learning:  # during a run only the run writes its file
            store.checkpoint(before.hash)
    if as_json:
        conflicts = [asdict(conflict) for conflict in found.conflicts]
        print_json({"is_made": is_made, "diff": after.diff(before).as_dict(), "conflicts": conflicts})
    elif is_made:
        print(f"library  {into}\nexport it again, so that {source} shows what the library holds now")


def _print_changes(before: ExperienceLibrary, after: ExperienceLibrary, conflicts: tuple[EditConflict, ...]) -> None:
    print(after.diff(before).text() if after != before else "nothing to take over")
    if conflicts:
        print(f"{len(conflicts)} edits are left out:")
        print(*(f"  {conflict.text()}" for conflict in conflicts), sep="\n")
