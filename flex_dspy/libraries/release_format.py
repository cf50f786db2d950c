"""The library formats of the FLEX release: its "2.0" files, and the older lists of entries.

Values without a field in this project (dates, retrieval weights, a method given as an object) are kept in
``origin`` and written back, so that a release file can be read and written without loss.

The release's own reader (the experience library class of arXiv 2511.06449's code) reads any object with a
``version`` as "2.0", and sorts the entries of an older list into zones by the words in them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import LibraryFormatError, LibraryVersionError
from flex_dspy.core.zones import ZONES, Zone
from flex_dspy.libraries.experience import Experience, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.splitting import split_entry

VERSION = "2.0"
_SCOPE = "flex_dspy_scope"  # the release's code ignores it; without it, the entry would be shared by all
_WEIGHTS = {"golden": 1.0, "warning": 0.8, "mixed": 0.9}
_REMEDY = "Correct it, or fetch the file from the release again"

# How the release sorts an older list into zones, and the priority it gives its entries.
_GOLDEN_WORDS = ("success", "correct", "excellent", "best practice")
_WARNING_WORDS = ("error", "wrong", "avoid", "mistake", "failed")
_LIST_PRIORITY = 2


class _WrongError(Exception):
    """A value has the wrong type. The error names its keys below the entry."""

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        super().__init__(problem)


def is_release(document: Any) -> bool:
    """Whether a JSON document claims one of the release's formats."""
    keyed = isinstance(document, dict) and "format" not in document
    return isinstance(document, list) or (keyed and "version" in document and "library" in document)


# -- reading -----------------------------------------------------------------------------------------------


def read_release(document: Any, path: str | Path = "<document>", *, split: bool = False) -> ExperienceLibrary:
    """The library in a document of the FLEX release.

    Args:
        document: The parsed JSON: a dict of version "2.0", or the older list of entries.
        path: Name of the document in error messages.
        split: Whether to split entries beyond the caps into several (see ``flex_dspy.libraries.splitting``);
            otherwise they stay whole.

    Raises:
        LibraryFormatError: If something in it has the wrong type.
        LibraryVersionError: If its version is not "2.0".
    """
    _check_text(document, path)
    if isinstance(document, list):
        return ExperienceLibrary(_distinct(_parts(_read_list(document, path), split)))
    if document["version"] != VERSION:
        problem = f"the release's version {document['version']!r} is not known"
        raise LibraryVersionError(path, "version", problem, f"Convert the file to version {VERSION}")
    experiences = _distinct(_parts(_read_zones(document["library"], path), split))
    return ExperienceLibrary(experiences, origin={**document, "library": list(document["library"])})


def _check_text(document: Any, path: str | Path) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        problem = "half a surrogate pair is no character"
        raise LibraryFormatError(path, "a text", problem, _REMEDY) from error


def _read_list(entries: list[Any], path: str | Path) -> Iterator[Experience]:
    for index, entry in enumerate(entries):
        plain = _rename_keys(entry) if isinstance(entry, dict) else entry
        yield _experience(plain, None, index + 1, path, str(index))


def _read_zones(library: Any, path: str | Path) -> Iterator[Experience]:
    if not isinstance(library, dict):
        raise LibraryFormatError(path, "library", "should be an object of zones", _REMEDY)
    created = 0
    for zone, entries in library.items():
        if zone not in ZONES or not isinstance(entries, list):
            problem = f"should be a list of entries under one of {', '.join(ZONES)}"
            raise LibraryFormatError(path, f"library.{zone[:80]}", problem, _REMEDY)
        for index, entry in enumerate(entries):
            created += 1
            yield _experience(entry, zone, created, path, f"library.{zone}.{index}")


def _parts(experiences: Iterator[Experience], split: bool) -> Iterator[Experience]:
    """The entries with new numbers; overlong entries are split if ``split`` is set."""
    parts = chain.from_iterable(map(split_entry, experiences)) if split else experiences
    for number, part in enumerate(parts, start=1):
        yield replace(part, created_at=number, updated_at=number)


def _distinct(experiences: Iterator[Experience]) -> list[Experience]:
    """The entries with distinct ids, because a release file may hold one lesson twice."""
    result: dict[str, Experience] = {}
    for experience in experiences:
        entry_id = experience.id
        while entry_id in result:
            entry_id = hashlib.sha256(f"{entry_id} again".encode()).hexdigest()[:16]
        result[entry_id] = replace(experience, id=entry_id)
    return list(result.values())


def _rename_keys(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of an older list with the keys and the priority of "2.0"."""
    names = {"trajectory": "revised_trajectory", "zone": "memory_type", "category": "problem_category"}
    renamed = {names.get(key, key): value for key, value in entry.items()}
    return {"priority": _LIST_PRIORITY, **renamed}


def _experience(entry: Any, zone: Zone | None, created: int, path: str | Path, place: str) -> Experience:
    try:
        experience = _convert(entry, zone, created)
    except _WrongError as error:
        raise LibraryFormatError(path, f"{place}{error.key}", str(error), _REMEDY) from error
    except ValueError as error:  # from Experience: a priority or a count out of range
        raise LibraryFormatError(path, place, str(error), _REMEDY) from error
    written = _entry(experience, exported="")
    kept = {key: value for key, value in entry.items() if key not in written or written[key] != value}
    return replace(experience, origin=kept)


def _convert(entry: Any, zone: Zone | None, created: int) -> Experience:
    if not isinstance(entry, dict):
        raise _WrongError("", "should be an object")
    if not entry.keys() & {"method", "rules", "revised_trajectory"}:
        raise _WrongError("", "is no experience: it has no method, rules or revised_trajectory")
    method = _method(entry.get("method", ""))
    rules = _rules(entry.get("rules", []))
    trajectory = _text(entry, "revised_trajectory")
    _text(entry, "created_at")
    return Experience(
        zone=zone or _zone(entry, "\n".join([method, trajectory, *(rule.text for rule in rules)])),
        method=method,
        rules=rules,
        trajectory=trajectory,
        category=_text(entry, "problem_category"),
        priority=_count(entry, "priority", 1),
        scope=_text(entry, _SCOPE),
        shown=_count(entry, "usage_count", 0),
        created_at=created,
        updated_at=created,
    )


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise _WrongError(f".{key}", "should be a text")
    return value


def _count(entry: dict[str, Any], key: str, default: int) -> int:
    value = entry.get(key, default)
    if type(value) is not int:
        raise _WrongError(f".{key}", "should be a whole number")
    return value


def _method(value: Any) -> str:
    """The method as text. Four entries of the release hold an object with a category and the method itself."""
    if isinstance(value, dict):
        return "\n".join(f"{key.replace('_', ' ').capitalize()}: {text}" for key, text in value.items())
    if not isinstance(value, str):
        raise _WrongError(".method", "should be a text")
    return value


def _rules(value: Any) -> tuple[Rule, ...]:
    if not isinstance(value, list):
        raise _WrongError(".rules", "should be a list")
    return tuple(_rule(rule, f".rules.{index}") for index, rule in enumerate(value))


def _rule(value: Any, place: str) -> Rule:
    plain = {"rule": value} if isinstance(value, str) else value
    if not isinstance(plain, dict) or not isinstance(plain.get("rule"), str):
        raise _WrongError(place, "should be a text, or an object with a text under rule")
    examples = plain.get("examples", [])
    if not isinstance(examples, list) or not all(isinstance(example, str) for example in examples):
        raise _WrongError(f"{place}.examples", "should be a list of texts")
    return Rule(plain["rule"], tuple(examples))


def _zone(entry: dict[str, Any], content: str) -> Zone:
    """The zone that an entry of a list names; otherwise the zone that the release would choose."""
    stated = entry.get("memory_type")
    if stated is not None:
        for zone in ZONES:
            if stated == zone:
                return zone
        raise _WrongError(".memory_type", f"should be one of {', '.join(ZONES)}")
    words = content.lower()
    if any(word in words for word in _GOLDEN_WORDS):
        return "golden"
    return "warning" if any(word in words for word in _WARNING_WORDS) else "mixed"


# -- writing -----------------------------------------------------------------------------------------------


def write_release(library: ExperienceLibrary) -> str:
    """The text of a "2.0" file that the release's own code reads.

    Precedents and counters that the release has no field for are left out: its code would not keep them.

    Args:
        library: Any library. One read from a release file is written back with its foreign fields.
    """
    exported = datetime.now(UTC).isoformat()
    zones = list(library.origin.get("library", ZONES))
    zones += [zone for zone, count in library.sizes().items() if count and zone not in zones]
    document = {
        "version": VERSION,
        "created_at": exported,
        "library": {zone: [_entry(e, exported) for e in library if e.zone == zone] for zone in zones},
        "config": {"retrieval_weights": _WEIGHTS},
    }
    document |= {key: value for key, value in library.origin.items() if key != "library"}
    return json.dumps(document, ensure_ascii=False, indent=2)


def _entry(experience: Experience, exported: str) -> dict[str, Any]:
    written = {
        "method": experience.method,
        "rules": [{"rule": rule.text, "examples": list(rule.examples)} for rule in experience.rules],
        "revised_trajectory": experience.trajectory,
        "memory_type": experience.zone,
        "problem_category": experience.category,
        "priority": experience.priority,
        "created_at": exported,
        "usage_count": experience.shown,
        "last_used": None,
    }
    scope = {_SCOPE: experience.scope} if experience.scope else {}
    return written | scope | _still_true(experience)


def _still_true(experience: Experience) -> dict[str, Any]:
    """The foreign fields, without those that a merge has made wrong."""
    kept = dict(experience.origin)
    if "method" in kept and _method(kept["method"]) != experience.method:
        del kept["method"]
    if "rules" in kept and _rules(kept["rules"]) != experience.rules:
        del kept["rules"]
    return kept
