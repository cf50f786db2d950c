"""The layout of a library file: one field on each line and one list item on each line, so that people can read it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from json.encoder import encode_basestring as _text
from typing import Any

from flex_dspy.libraries.experience import Experience

_TRACE, _RULE = '"trace": ', '"rule": '
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def value_json(value: Any) -> str:
    """Any value as JSON on one line."""
    return str(value) if type(value) is int else _encode(value)  # the encoder is slow to start


def entries_json(key: str, entries: Iterable[Experience]) -> str:
    """A list of entries under a key of the document."""
    body = ",\n".join(map(entry_json, entries))
    return f'  "{key}": [\n{body}\n  ]' if body else f'  "{key}": []'


def entry_json(entry: Experience) -> str:
    """One entry as JSON: one field on each line, one list item on each line."""
    rules = [f'{{"text": {_text(r.text)}, "examples": [{", ".join(map(_text, r.examples))}]}}' for r in entry.rules]
    precedents = [
        f'{{"example_id": {_text(p.example_id)}, "problem": {_text(p.problem)}, "answer": {_text(p.answer)}'
        f"{f', {_TRACE}{_text(p.trace)}' if p.trace else ''}"
        f"{f', {_RULE}{_text(p.rule)}' if p.rule else ''}}}"
        for p in entry.precedents
    ]
    # This takes half of a checkpoint's time, so it is written field by field: an encoder takes more than twice as long.
    sources = [value_json(asdict(source)) for source in entry.sources]
    more = f',\n      "sources": {_list_json(sources)}' if sources else ""
    more += f',\n      "step": {_text(entry.step)}' if entry.step else ""
    more += f',\n      "author": {_text(entry.author)}' if entry.author else ""
    more += f',\n      "scope": {_text(entry.scope)}' if entry.scope else ""
    return f"""    {{
      "id": {_text(entry.id)},
      "zone": {_text(entry.zone)},
      "method": {_text(entry.method)},
      "rules": {_list_json(rules)},
      "trajectory": {_text(entry.trajectory)},
      "category": {_text(entry.category)},
      "priority": {entry.priority},
      "precedents": {_list_json(precedents)},
      "shown": {entry.shown},
      "helped": {entry.helped},
      "hurt": {entry.hurt},
      "merged": {entry.merged},
      "created_at": {entry.created_at},
      "updated_at": {entry.updated_at},
      "pinned": {"true" if entry.pinned else "false"},
      "origin": {value_json(entry.origin) if entry.origin else "{}"}{more}
    }}"""


def _list_json(items: list[str]) -> str:
    return "[\n        " + ",\n        ".join(items) + "\n      ]" if items else "[]"
