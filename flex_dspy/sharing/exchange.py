"""Pushes a library to an address, and pulls one from there. Do not trust a pulled library before a person has read it.

Example:
    >>> from flex_dspy.libraries.experience import Experience
    >>> from flex_dspy.libraries.library import ExperienceLibrary
    >>> library = ExperienceLibrary([Experience("golden", "Count the complement.")], task="dice")
    >>> _ = push(library, "memory://dice")
    >>> pull("memory://dice", library.hash).library == library
    True
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from flex_dspy.core.errors import ConfigurationError, LibraryFormatError, RemoteError
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import parse
from flex_dspy.libraries.locations import LIBRARY_FILE
from flex_dspy.sharing import manifest as manifests
from flex_dspy.sharing.addresses import Address, Repository
from flex_dspy.sharing.audit import audit
from flex_dspy.sharing.card import CARD, card_text
from flex_dspy.sharing.hub import commit_files
from flex_dspy.sharing.manifest import MANIFEST, Manifest, read_manifest
from flex_dspy.sharing.provenance import Provenance

MAX_BYTES = 64 << 20  # largest pulled library; reading takes several times its size in memory
_SHORTEST_HASH = 16  # least number of hexadecimal digits of a hash that a user gives

_TAMPERED = "Do not use it. Ask the sender for the hash, and to push the library again"


@dataclass(frozen=True, slots=True)
class Pulled:
    """A library that was pulled.

    Attributes:
        library: The library.
        manifest: The sender's manifest; None for a file without a manifest.
        is_expected: Whether a hash was given and the library has it.
        left_out: Number of lessons that wait for approval. They are left out because nobody has read them.
    """

    library: ExperienceLibrary
    manifest: Manifest | None
    is_expected: bool
    left_out: int = 0

    def checks(self) -> str:
        """One line that names the checks that the library passed."""
        left_out = f"; {self.left_out} lessons that wait for approval were left out" if self.left_out else ""
        if self.is_expected:
            return f"the hash is the one that you gave{left_out}"
        if self.manifest is not None:
            return f"the hash is the one in the sender's manifest; only --hash shows that it is the sender's{left_out}"
        return f"there is no manifest and no --hash was given: nothing shows that it is whole{left_out}"


def push(
    library: ExperienceLibrary,
    address: str,
    provenance: Provenance | None = None,
    *,
    licence: str = "",
    is_public: bool = False,
    overwrite: bool = False,
    with_secrets: bool = False,
) -> Manifest:
    """Write a library, its card and its manifest to an address. Lessons that wait for approval are not written.

    Args:
        library: The library.
        address: A folder, such as ``hf://owner/name`` or ``s3://bucket/chemist``.
        provenance: How the library was learned and measured; for the card.
        licence: Identifier of the library's licence, such as ``mit``.
        is_public: Whether everybody may read a repository that this call creates on the hub.
        overwrite: Replace another library at the address.
        with_secrets: Push the library even if the audit finds a text that looks like a secret.

    Returns:
        The manifest.

    Raises:
        ConfigurationError: If the address is invalid, another library is there, or the library contains a secret.
        RemoteError: If the place cannot be reached, or refuses the files.
    """
    place = _place(address)
    if place.is_file:
        raise ConfigurationError(
            f"{place} names a file: name a folder, which gets a library.json, a card and a manifest"
        )
    library = library.with_waiting(())
    report = audit(library)
    if (secrets := report.counts().get("secret", 0)) and not with_secrets:
        raise ConfigurationError(
            f"{secrets} places look like secrets: flex-dspy library audit shows them. Nothing was pushed"
        )
    _check_free(place, library, overwrite=overwrite)
    data = library.to_json().encode()
    stated = Manifest.of(library, data)
    card = card_text(library, stated, provenance or Provenance(), report, address=str(place), licence=licence)
    # The manifest is written last: before that, a reader finds a hash that does not match, and reads nothing.
    files = {LIBRARY_FILE: data, CARD: card.encode(), MANIFEST: stated.to_json()}
    if place.protocol == "hf":
        commit_files(place, files, f"Library {library.hash[:12]}", is_public=is_public)
    else:
        place.write(files)
    return stated


def _place(address: str) -> Address:
    place = Address.parse(address)
    if place.protocol == "hf":
        Repository.of(place)  # raises an error that explains the fault of the address
    return place


def _check_free(place: Address, library: ExperienceLibrary, *, overwrite: bool) -> None:
    if overwrite:
        return
    known = _stated(place)
    if known is not None and known.hash != library.hash:
        raise ConfigurationError(
            f"another library lies at {place} ({known.hash[:12]}): pull and merge it, or --overwrite"
        )


def pull(address: str, expected: str = "", *, max_bytes: int = MAX_BYTES) -> Pulled:
    """Read a library from an address and make every check. Write nothing.

    Args:
        address: A folder that ``push`` wrote to, or a library file.
        expected: The hash that the sender told you, or at least its first sixteen digits: the content hash, which
            covers task and entries, or the SHA-256 of the file, which covers everything. "" if no hash is known.
        max_bytes: Largest size of the library's file in bytes.

    Raises:
        ConfigurationError: If the address or the hash is invalid.
        LibraryFormatError: If the library is damaged, or does not match its manifest or ``expected``.
        RemoteError: If the library does not exist, is too large, or cannot be read.
    """
    place = _place(address)
    if expected and not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST_HASH},64}}", expected.lower()):
        raise ConfigurationError(f"a hash has {_SHORTEST_HASH} to 64 hexadecimal digits, got {expected!r}")
    stated = _stated(place)
    if stated is not None and stated.size > max_bytes:
        problem = f"is {stated.size:,} bytes, and {max_bytes:,} are allowed"
        raise RemoteError(str(place), LIBRARY_FILE, problem, "Allow more with --max-bytes, if you trust it")
    data = _read_library(place, max_bytes)
    digest = hashlib.sha256(data).hexdigest()
    if stated is not None:
        _check(str(place), "SHA-256 of the file", stated.sha256, digest)
    library = parse(data, str(place), split=stated is None)
    if stated is not None:
        _check(str(place), "content hash", stated.hash, library.hash)
    if not digest.startswith(expected.lower()):
        _check(str(place), "content hash", expected.lower(), library.hash[: len(expected)])
    return Pulled(library.with_waiting(()), stated, bool(expected), len(library.waiting))


def _stated(place: Address) -> Manifest | None:
    """The manifest at an address; None if there is none."""
    try:
        return read_manifest(place.read(place.file(MANIFEST), manifests.MAX_BYTES), f"{place}/{MANIFEST}")
    except FileNotFoundError:
        return None


def _read_library(place: Address, max_bytes: int) -> bytes:
    try:
        return place.read(place.url if place.is_file else place.file(LIBRARY_FILE), max_bytes)
    except FileNotFoundError as error:
        raise RemoteError(
            str(place), LIBRARY_FILE, "is not there", "Check the address, and your login for it"
        ) from error


def _check(place: str, what: str, stated: str, actual: str) -> None:
    if stated and stated != actual:
        problem = f"is {actual[:16]}..., where {stated[:16]}... was stated: the library is not the one that was sent"
        raise LibraryFormatError(place, what, problem, _TAMPERED)
