"""The card of a shared library: a README.md with the hub's YAML, made from measured facts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.learning.version import VersionRecord
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.sharing.audit import Audit
from flex_dspy.sharing.escaping import escape_line
from flex_dspy.sharing.instructions import slug
from flex_dspy.sharing.manifest import Manifest
from flex_dspy.sharing.provenance import Provenance

CARD = "README.md"

_TEXT = """\
# Experience library: {task}

Lessons that an agent learned by solving problems (FLEX, Forward Learning from Experience, arXiv 2511.06449), for
flex-dspy. It holds text alone: lessons, and the problems and answers that they come from.

{table}

## How to use it

```bash
flex-dspy library pull {address} --hash {hash} --out library.json
```

The command checks the sizes and hashes, shows what the library contains, and lists what is suspicious in it. The hash
protects you only if you have it from the sender by another way than this page.
"""


def card_text(
    library: ExperienceLibrary,
    manifest: Manifest,
    provenance: Provenance,
    audit: Audit,
    *,
    address: str,
    licence: str = "",
) -> str:
    """Write the card.

    Args:
        library: The library.
        manifest: The library's hash and size.
        provenance: How the library was learned and measured.
        audit: What the sender's audit found.
        address: The address where the library will be.
        licence: The hub's identifier of the library's licence, such as ``mit``; "" if there is none.
    """
    rows = _rows(library, manifest, provenance, audit, licence)
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows)])
    text = _TEXT.format(task=_cell(library.task or "no task"), table=table, address=address, hash=library.hash)
    return f"{_front_matter(library, provenance, licence)}\n{text}"


def _rows(
    library: ExperienceLibrary, manifest: Manifest, provenance: Provenance, audit: Audit, licence: str
) -> Iterator[tuple[str, str]]:
    sizes = ", ".join(f"{count} {zone}" for zone, count in library.sizes().items() if count) or "empty"
    yield "entries", f"{len(library)} ({sizes}), of {library.precedent_count} solved cases"
    yield "data", "; ".join(_data_text(*item) for item in provenance.data.items()) or "not recorded"
    yield "models", ", ".join(f"{model} ({role})" for role, model in provenance.models.items()) or "not recorded"
    yield "measured", _measured_text(provenance)
    yield "licence", licence or "none was given: ask the sender before you use or pass on the library"
    yield "audit by the sender", audit.text()
    yield "content hash", manifest.hash
    yield "SHA-256 of the file", manifest.sha256
    yield "size", f"{manifest.size:,} bytes"


def _data_text(use: str, data: Mapping[str, Any]) -> str:
    name, size, digest = (data.get(key, "") for key in ("name", "size", "digest"))
    return f"{use}: {name or data.get('source', '')}, {size} examples, digest {digest}"


def _measured_text(provenance: Provenance) -> str:
    record = provenance.measured
    if record is None:
        return "no measurement of this version is recorded"
    mean, low, high = _score(record)
    baseline = record.metrics.get("baseline_accuracy")
    without = "" if baseline is None else f"; {named_score_text(record.score, baseline)} without the library"
    errors = f", {record.errors} of them errors" if record.errors else ""
    data = provenance.data.get("validation", {})
    on = f"; data {data.get('name', '')}, digest {data['digest']}" if data.get("digest") else "; data not recorded"
    n = round(record.metrics["n"])
    return f"{record.score} {mean} [{low}, {high}] (95% interval) on {n} examples{errors}{without}{on}"


def _score(record: VersionRecord) -> tuple[str, str, str]:
    mean, low, high = (record.metrics[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    shown = [named_score_text(record.score, number, mean, low, high) for number in (mean, low, high)]
    return shown[0], shown[1], shown[2]


def _cell(text: str) -> str:
    return escape_line(text).replace("|", "&#x7c;")


# -- the hub's YAML ----------------------------------------------------------------------------------------


def _front_matter(library: ExperienceLibrary, provenance: Provenance, licence: str) -> str:
    """The YAML at the top. Values are written as JSON, which is valid YAML, so they cannot break the structure."""
    fields: dict[str, Any] = {"license": licence} if licence else {}
    fields |= {"library_name": "flex-dspy", "tags": ["flex", "dspy", "experience-library"]}
    if provenance.measured is not None:
        fields["model-index"] = [_index(library, provenance.measured, provenance.data.get("validation", {}))]
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _index(library: ExperienceLibrary, record: VersionRecord, data: Mapping[str, Any]) -> dict[str, Any]:
    """The measurement in the hub's form."""
    name = str(data.get("name") or "validation")
    low, high = (round(record.metrics[f"accuracy_{end}"], 4) for end in ("low", "high"))
    metric = {
        "type": slug(record.score) or "score",
        "value": round(record.metrics["accuracy"], 4),
        "name": f"{record.score} (95% interval {low} to {high}, n = {round(record.metrics['n'])})",
    }
    return {
        "name": library.task or "experience library",
        "results": [
            {
                "task": {"type": "text-generation"},
                "dataset": {"name": name, "type": slug(name) or "validation", "revision": data.get("digest", "")},
                "metrics": [metric],
            }
        ],
    }
