"""Registers the methods of ``ExperienceLibrary`` whose modules import the library's own.

``flex_dspy.libraries`` imports this module, so that the methods always work, whichever of its modules is imported.
"""

from __future__ import annotations

from pathlib import Path

from flex_dspy.libraries.library import ExperienceLibrary, register_methods
from flex_dspy.libraries.library_file import load, parse, write_atomically
from flex_dspy.libraries.merging import merge
from flex_dspy.libraries.release_format import write_release


def _save(library: ExperienceLibrary, path: str | Path) -> None:
    write_atomically(Path(path), library.to_json())


def _export(library: ExperienceLibrary, path: str | Path) -> None:
    write_atomically(Path(path), write_release(library) + "\n")


def _merge(*libraries: ExperienceLibrary) -> ExperienceLibrary:
    return merge(*libraries).library


register_methods(parse=parse, load=load, save=_save, export=_export, merge=_merge)
