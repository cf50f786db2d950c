"""Makes a person's revision of an entry, from options or in an editor."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import REVISABLE, Experience, Revise

_REVISION: TypeAdapter[Revise] = TypeAdapter(Revise)


def revision_from_options(entry: Experience, assignments: Sequence[str], reason: str) -> Revise | None:
    """Make a revision from ``FIELD=VALUE`` texts.

    Args:
        entry: The current entry.
        assignments: Texts ``FIELD=VALUE``. A priority is a number. Rules are a JSON list of texts or of
            ``{"text": ..., "examples": [...]}``. Other values are used as text.
        reason: Reason of the revision.

    Returns:
        The revision, or None if nothing would change.

    Raises:
        ConfigurationError: If a field does not exist or a value is invalid for it.
    """
    fields: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in REVISABLE:
            raise ConfigurationError(f"--set {assignment}: write FIELD=VALUE, with one of {', '.join(REVISABLE)}")
        fields[name] = _from_json(name, value) if name in ("rules", "priority") else value
    return _revision(entry, fields, reason)


def _from_json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}={value}: is not JSON: {error}") from error


def revision_from_editor(entry: Experience, reason: str) -> Revise | None:
    """Let a person edit an entry as JSON in ``$VISUAL`` or ``$EDITOR``, and make the revision.

    Args:
        entry: The current entry.
        reason: Reason of the revision.

    Returns:
        The revision, or None if nothing was changed.

    Raises:
        ConfigurationError: If there is no editor, or the edited text is not a valid entry. The file is then kept.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise ConfigurationError("set EDITOR to the editor to use, or say what to change with --set FIELD=VALUE")
    plain = {name: value for name, value in asdict(entry).items() if name in REVISABLE}
    descriptor, name = tempfile.mkstemp(prefix=f"{entry.id}-", suffix=".json")
    path = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(plain, file, ensure_ascii=False, indent=2)
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)  # noqa: S603 (the person's own editor)
        edited = _object(path.read_text(encoding="utf-8"))
        revision = _revision(entry, edited, reason)
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{editor} did not work: {error}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}. What you wrote is kept in {path}") from error
    path.unlink()
    return revision


def _object(text: str) -> Mapping[str, Any]:
    value = _from_json("the text", text)
    if not isinstance(value, dict) or value.keys() - set(REVISABLE):
        raise ConfigurationError(f"the text should be an object of {', '.join(REVISABLE)}")
    return value


def _revision(entry: Experience, fields: Mapping[str, Any], reason: str) -> Revise | None:
    """Revision with the fields that differ; None if no field differs."""
    plain = dict(fields)
    if isinstance(plain.get("rules"), list):
        plain["rules"] = [{"text": rule} if isinstance(rule, str) else rule for rule in plain["rules"]]
    try:
        document = json.dumps({"entry_id": entry.id, "reason": reason, **plain})
        revision = _REVISION.validate_json(document, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    changed = {name: value for name, value in revision.fields().items() if value != getattr(entry, name)}
    return Revise(entry.id, reason, **changed) if changed else None
