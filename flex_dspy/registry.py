"""Libraries by name: ``NAME@best`` or ``NAME/3`` in the MLflow registry, wherever a file name will do."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from flex_dspy.errors import ConfigurationError
from flex_dspy.library import ExperienceLibrary
from flex_dspy.mlflow_store import brief, check_sqlite, connect, resolve_uri, without_login

LIBRARY_FILE = "library.json"
_REFERENCE = re.compile(r"(?:models:/)?(?P<name>\w[\w .-]*)(?:@(?P<alias>[\w-]+)|/(?P<number>\d+))")


def is_reference(text: str) -> bool:
    """Whether a text has the form of a registered library, ``NAME@alias`` or ``NAME/version``.

    The form is also that of some paths (``exps/1``), so ask first whether such a file exists.
    """
    return _REFERENCE.fullmatch(text) is not None


def load_library(reference: str, tracking_uri: str | None = None, dst: str | Path | None = None) -> ExperienceLibrary:
    """Load a library from the MLflow registry.

    Args:
        reference: ``NAME@alias``, such as ``chemist@best``, or ``NAME/version``, such as ``chemist/3``.
        tracking_uri: The tracking store; None for MLflow's own choice.
        dst: Where the library file is kept as well; None for nowhere.

    Returns:
        The library, equal to the one that was logged.

    Raises:
        ConfigurationError: If there is no such store, name, alias or version; the message says what there is.
        LibraryError: If the file in the registry is damaged.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigurationError(f"{reference!r} is no registered library. Write NAME@alias or NAME/version.")
    uri = resolve_uri(tracking_uri)
    try:
        check_sqlite(uri, must_exist=True)
        text = _download(connect(uri), uri, match)
    except ConfigurationError:
        raise
    except Exception as error:  # Each kind of store fails with errors of its own driver.
        raise ConfigurationError(
            f"MLflow cannot read {reference} from {without_login(uri)}: {brief(error, uri)}. "
            "Start its server, or correct MLFLOW_TRACKING_URI."
        ) from error
    library = ExperienceLibrary.from_json(text, reference)
    if dst is not None:
        library.save(dst)
    return library


def _download(client: Any, uri: str, match: re.Match[str]) -> bytes:
    """The bytes of the registered library file."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    version = _find_version(client, uri, match)
    # Not "models:/NAME/1": MLflow looks that up in the process's own store, which need not be this one.
    source = client.get_model_version_download_uri(version.name, version.version)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = download_artifacts(f"{source}/{LIBRARY_FILE}", dst_path=folder, tracking_uri=uri)
        except (MlflowException, OSError) as error:
            raise ConfigurationError(
                f"{match[0]} has no {LIBRARY_FILE} at {without_login(source)}: it is no library, or its files are gone."
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
        raise ConfigurationError(f"There is no {match[0]} in {without_login(uri)}. {known}") from error


def _what_there_is(client: Any, name: str) -> str:
    """What a user who asked for something missing under ``name`` could ask for instead."""
    names = [model.name for model in client.search_registered_models(max_results=100)]
    if name not in names:
        listed = ", ".join(names[:20])
        return f"Registered: {listed}." if names else "Nothing is registered yet: learn with tracking first."
    aliases = [f"{name}@{alias}" for alias in sorted(client.get_registered_model(name).aliases)]
    newest = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
    numbers = [f"{name}/1 to {name}/{newest[0].version}"] if newest else []
    return f"There are: {', '.join(aliases + numbers) or 'no versions'}."
