"""Reads libraries by name: a file, a folder of files, or ``NAME@best`` or ``NAME/3`` in the MLflow registry."""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.secrets import redact_url
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locations import LIBRARY_FILE, read_path
from flex_dspy.libraries.paths import journal_of
from flex_dspy.tracking.mlflow_store import check_sqlite, connect, report_errors, resolve_uri

_REFERENCE = re.compile(r"(?:models:/)?(?P<name>\w[\w .-]*)(?:@(?P<alias>[\w-]+)|/(?P<number>\d+))")


def is_reference(text: str) -> bool:
    """Whether a text has the form of a registered library, ``NAME@alias`` or ``NAME/version``.

    Some paths (``exps/1``) have the same form, so check first whether such a file exists.
    """
    return _REFERENCE.fullmatch(text) is not None


def name_of(text: str) -> str:
    """The name in a reference such as ``NAME@alias``; any other text is returned unchanged."""
    match = _REFERENCE.fullmatch(text)
    return match["name"] if match else text


def read_library(name: str | Path, tracking_uri: str | None = None) -> ExperienceLibrary:
    """Read the library with this name.

    Args:
        name: A file, a folder, or ``NAME@alias`` or ``NAME/version`` in MLflow. A file of this project is read with the
            commits in its journal; of a file of the FLEX release, overlong entries are split. Of a folder,
            ``library.json`` is read; if there is none, all its ``*.json`` files except backups are merged.
        tracking_uri: The tracking store; None for MLflow's own choice.

    Raises:
        ConfigurationError: If there is no such library in MLflow, or files of one folder are of different tasks.
        LibraryError: If a file does not exist, or cannot be used.
    """
    path = Path(name)
    if is_registered(path, str(name)):
        return load_library(str(name), tracking_uri)
    return read_path(path)


def is_registered(path: Path, name: str) -> bool:
    """Whether a name means a library in MLflow: it has the form of a reference, and no file exists at ``path``."""
    return not (path.exists() or journal_of(path).exists()) and is_reference(name)


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version in the MLflow registry.

    Attributes:
        number: Its number.
        aliases: Its other names, such as ``best``.
        description: One line about it.
        tags: Its identity (``hash``, ``parent``, ``step``) and its ``accuracy``.
    """

    number: int
    aliases: tuple[str, ...]
    description: str
    tags: Mapping[str, str]


def list_versions(name: str, tracking_uri: str | None = None) -> list[RegisteredVersion]:
    """The versions of a registered library, oldest first.

    Args:
        name: The registered name, such as ``flex-uspto50k``.
        tracking_uri: The tracking store; None for MLflow's own choice.

    Raises:
        ConfigurationError: If there is no such store or name; the message lists the existing names.
    """
    uri = resolve_uri(tracking_uri)
    with report_errors(f"list {name} in", uri):
        check_sqlite(uri, must_exist=True)
        client = connect(uri)
        found = client.search_model_versions(f"name = '{name}'")
        if not found:
            raise ConfigurationError(f"There is no {name} in {redact_url(uri)}. {_what_there_is(client, name)}")
        aliases = client.get_registered_model(name).aliases
    by_number = sorted(found, key=lambda version: int(version.version))
    return [
        RegisteredVersion(
            number=int(version.version),
            aliases=tuple(sorted(alias for alias, number in aliases.items() if int(number) == int(version.version))),
            description=version.description or "",
            tags=dict(version.tags),
        )
        for version in by_number
    ]


def load_library(reference: str, tracking_uri: str | None = None, dst: str | Path | None = None) -> ExperienceLibrary:
    """Load a library from the MLflow registry.

    Args:
        reference: ``NAME@alias``, such as ``chemist@best``, or ``NAME/version``, such as ``chemist/3``.
        tracking_uri: The tracking store; None for MLflow's own choice.
        dst: Path for a copy of the library file; None for no copy.

    Returns:
        The library, equal to the one that was logged.

    Raises:
        ConfigurationError: If there is no such store, name, alias or version; the message lists what exists.
        LibraryError: If the file in the registry is damaged.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigurationError(f"{reference!r} is no registered library. Write NAME@alias or NAME/version.")
    uri = resolve_uri(tracking_uri)
    with report_errors(f"read {reference} from", uri, "Start its server, or correct MLFLOW_TRACKING_URI."):
        check_sqlite(uri, must_exist=True)
        text = _download(connect(uri), uri, match)
    library = ExperienceLibrary.from_json(text, reference)
    if dst is not None:
        library.save(dst)
    return library


def model_id_of(client: Any, uri: str, reference: str) -> str | None:
    """The id of the logged model that ``NAME@alias`` or ``NAME/version`` names; None for another kind of reference.

    Raises:
        ConfigurationError: If there is no such name, alias or version.
    """
    match = _REFERENCE.fullmatch(reference)
    return _find_version(client, uri, match).tags.get("model_id") if match else None


def _download(client: Any, uri: str, match: re.Match[str]) -> bytes:
    """The bytes of the registered library file."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    version = _find_version(client, uri, match)
    # Not "models:/NAME/1", because MLflow looks that up in the process's own store, which may be another store.
    source = client.get_model_version_download_uri(version.name, version.version)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = download_artifacts(f"{source}/{LIBRARY_FILE}", dst_path=folder, tracking_uri=uri)
        except (MlflowException, OSError) as error:
            raise ConfigurationError(
                f"{match[0]} has no {LIBRARY_FILE} at {redact_url(source)}: it is no library, or its files are gone."
            ) from error
        return Path(path).read_bytes()


def _find_version(client: Any, uri: str, match: re.Match[str]) -> Any:
    from mlflow.exceptions import MlflowException

    name, alias, number = match["name"], match["alias"], match["number"]
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        known = _what_there_is(client, name)
        raise ConfigurationError(f"There is no {match[0]} in {redact_url(uri)}. {known}") from error


_NOTHING = "Nothing is registered yet: learn with tracking first."


def _what_there_is(client: Any, name: str) -> str:
    """The existing names, or the existing versions of a name, for an error message."""
    names = [model.name for model in client.search_registered_models(max_results=100)]
    if name not in names:
        listed = difflib.get_close_matches(name, names, 20, 0.0)  # the most similar first
        more = f" and {len(names) - len(listed)} more" if len(names) > len(listed) else ""
        return f"Registered: {', '.join(listed)}{more}." if names else _NOTHING
    aliases = [f"{name}@{alias}" for alias in sorted(client.get_registered_model(name).aliases)]
    newest = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
    numbers = [f"{name}/1 to {name}/{newest[0].version}"] if newest else []
    return f"There are: {', '.join(aliases + numbers) or 'no versions'}."
