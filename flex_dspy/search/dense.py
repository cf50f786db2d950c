"""The dense view: finds entries by the cosine of embeddings.

Any ``dspy.Embedder`` can be used. Texts are embedded in batches, and each text only once. A text is recognized by its
content in every library and snapshot. An entry has a vector for its lesson, and a vector for each of its first
precedents' problems. The nearest of these vectors counts.

Example:
    >>> import dspy, numpy
    >>> def letters(texts):
    ...     return numpy.array([[text.count(letter) for letter in "abc"] for text in texts], dtype="float32")
    >>> vectors = Vectors(dspy.Embedder(letters))
    >>> vectors.query("aab").tolist()
    [0.8944271802902222, 0.4472135901451111, 0.0]
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import dspy
import numpy as np
import numpy.typing as npt

from flex_dspy.core.errors import ConfigurationError, LibraryFormatError
from flex_dspy.libraries.change_log import Change
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.index_rows import DeathLog, RowLog, grow
from flex_dspy.search.indexes import LONGEST_QUERY, Match, top_rows

Floats = npt.NDArray[np.float32]
# In a product of a whole matrix, the last digits of a row's result may depend on the row's position.
_SLACK = 1e-5
# Texts in one call of the embedder, which cuts them into batches. An error loses at most the vectors of one call.
_AT_ONCE = 1_000
_NUMBERS = itertools.count()


def embedder_name(embedder: dspy.Embedder) -> str:
    """Name of an embedder in a saved program: the name of its model, or of its function."""
    model = embedder.model
    return model if isinstance(model, str) else str(getattr(model, "__qualname__", type(model).__qualname__))


class Vectors:
    """Unit vectors of texts, from one embedder. Each text is embedded once.

    Args:
        embedder: The embedder. Its own cache is used for hosted models only, because the cache would take two functions
            with the same source text for one function.
    """

    def __init__(self, embedder: dspy.Embedder) -> None:
        self.name = embedder_name(embedder)
        self.kind = f"dense {next(_NUMBERS)}"
        self._embedder = embedder
        self._caching = None if isinstance(embedder.model, str) else False
        self._number_of: dict[bytes, int] = {}
        self._matrix: Floats = np.zeros((0, 0), np.float32)
        self._lock = threading.Lock()

    @classmethod
    def of(cls, embedder: dspy.Embedder) -> Vectors:
        """Return the ``Vectors`` that exist for this embedder, or new ones."""
        vectors = _IN_USE.get(id(embedder))
        if vectors is None:  # existing vectors hold the embedder, so its id stays unique
            vectors = _IN_USE[id(embedder)] = cls(embedder)
        return vectors

    # Vectors are a cache. A second copy would embed every text again.
    def __deepcopy__(self, memo: dict[int, Any]) -> Vectors:
        return self

    def __len__(self) -> int:
        return len(self._number_of)

    @property
    def matrix(self) -> Floats:
        """The vectors, one a row, with free rows at the end; shape (room, dimensions)."""
        return self._matrix

    def query(self, text: str) -> Floats:
        """The vector of one text, shape (dimensions,). It is not kept."""
        return self._embed([text])[0]

    def number(self, text: str) -> int:
        """The row of a text's vector, or -1 if it has none yet."""
        return self._number_of.get(_digest(text), -1)

    def numbers(self, texts: Sequence[str]) -> list[int]:
        """Return the rows of the texts' vectors. Texts without a vector are embedded now, in batches.

        Raises:
            ConfigurationError: If the embedder returns something other than vectors, or vectors of another length.
        """
        with self._lock:
            digests = [_digest(text) for text in texts]
            missing = {d: text for d, text in zip(digests, texts, strict=True) if d not in self._number_of}
            keys, fresh = list(missing), list(missing.values())
            for start in range(0, len(fresh), _AT_ONCE):
                end = start + _AT_ONCE
                self._append(keys[start:end], self._embed(fresh[start:end]))
            return [self._number_of[digest] for digest in digests]

    def _embed(self, texts: list[str]) -> Floats:
        found = np.asarray(self._embedder(texts, caching=self._caching), np.float32)
        if found.ndim != 2 or len(found) != len(texts) or not np.isfinite(found).all():
            raise ConfigurationError(
                f"embedder {self.name!r} gave an array of shape {found.shape} for {len(texts)} texts; "
                "one vector of finite numbers a text is wanted"
            )
        if self._matrix.size and found.shape[1] != self._matrix.shape[1]:
            raise ConfigurationError(
                f"embedder {self.name!r} gave vectors of {found.shape[1]} numbers after ones of {self._matrix.shape[1]}"
            )
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return (found / np.where(length > 0, length, 1)).astype(np.float32)

    def _append(self, digests: Sequence[bytes], vectors: Floats) -> None:
        count, needed = len(self), len(self) + len(vectors)
        if needed > len(self._matrix):  # doubling keeps the cost of a vector constant
            room = np.zeros((max(needed, 2 * count) - count, vectors.shape[1]), np.float32)
            self._matrix = np.concatenate([self._matrix[:count], room]) if count else room
        self._matrix[count:needed] = vectors
        self._number_of.update((digest, count + at) for at, digest in enumerate(digests))

    # -- beside the library --------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the vectors to a file in numpy's own format, without the texts. An existing file is replaced."""
        path = Path(path)
        partial = path.with_name(f"{path.name}.part")
        with self._lock, partial.open("wb") as file:
            digests = np.frombuffer(b"".join(self._number_of), np.uint8).reshape(-1, 16)
            np.savez(file, embedder=np.array(self.name), digests=digests, vectors=self._matrix[: len(self)])
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path, embedder: dspy.Embedder) -> Vectors:
        """Read a file of vectors, so that their texts are not embedded again.

        Args:
            path: The file.
            embedder: The embedder that made them.

        Raises:
            LibraryFormatError: If the file cannot be read.
            ConfigurationError: If an embedder with another name made the file.
        """
        vectors = cls(embedder)
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                name, digests, rows = str(file["embedder"]), file["digests"], file["vectors"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise _damage(path, f"it is no file of vectors: {error}") from error
        if name != vectors.name:
            raise ConfigurationError(f"{path}: made by embedder {name!r}, not by {vectors.name!r}")
        if rows.ndim != 2 or digests.shape != (len(rows), 16):
            raise _damage(path, f"it has keys of shape {digests.shape} for vectors of shape {rows.shape}")
        if len(rows):
            vectors._append([digest.tobytes() for digest in digests], rows.astype(np.float32))
        return vectors


_IN_USE: WeakValueDictionary[int, Vectors] = WeakValueDictionary()


def _damage(path: str | Path, problem: str) -> LibraryFormatError:
    return LibraryFormatError(path, "the file", problem, "Delete it: the vectors are then made anew")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class DenseIndex:
    """Finds entries by the cosine between the query's embedding and the embeddings of each entry.

    A search compares the query with every vector, so its time grows linearly. Its result depends only on the snapshot's
    content, provided that a text's vector does not depend on the other texts of its batch.

    Args:
        vectors: Holds the vectors.
    """

    # Most problems of an entry that have a vector, as in the lexical index.
    PRECEDENTS = 8

    def __init__(self, vectors: Vectors) -> None:
        self.synced = 0
        self._vectors = vectors
        self._rows = RowLog()
        self._deaths = DeathLog()
        self._entry_of_row: list[str] = []
        self._live: dict[str, list[int]] = {}  # an entry's rows
        self._known: dict[str, int] = {}  # the number of precedents among them
        self._pending: list[str] = []  # texts of the newest rows, which are not embedded yet
        self._numbers: npt.NDArray[np.int64] = np.zeros(64, np.int64)  # the number of each row's vector
        self._embedded_rows = 0  # rows that have a vector
        self._in_order = True  # whether each row's number is one more than the row's before
        self._lock = threading.Lock()

    def read(self, number: int, change: Change) -> None:
        """Record the texts of a new or rewritten entry, or of new precedents.

        The next search embeds them in batches.
        """
        known, texts = self._known.get(change.entry_id, 0), []
        if change.removed or change.rewritten is not None:
            for row in self._live.pop(change.entry_id, ()):
                self._deaths.add(number, row)
            known = 0
        if change.rewritten is not None:
            texts, precedents = [change.rewritten.text()], change.rewritten.precedents
        else:
            precedents = change.precedents
        fresh = precedents[: self.PRECEDENTS - known]
        self._known[change.entry_id] = known + len(fresh)
        for text in [*texts, *(precedent.problem for precedent in fresh)]:
            if text.strip():
                self._live.setdefault(change.entry_id, []).append(self._rows.add(number))
                self._entry_of_row.append(change.entry_id)
                self._pending.append(text)

    def search(
        self, library: ExperienceLibrary, text: str, depth: int, *, skip: frozenset[str] = frozenset()
    ) -> list[Match]:
        """The ``depth`` entries nearest to a text, best first; ties by id.

        Entries with a cosine of zero or less are left out.


        Args:
            library: The snapshot to search.
            text: The query. Only the first ``LONGEST_QUERY`` characters are used.
            depth: Number of entries.
            skip: Texts whose vectors are left out.
        """
        if not self._rows.until(library.tip):
            return []
        self._embed()
        query = self._vectors.query(text[:LONGEST_QUERY])
        cosines = self._cosines(query, library)
        own = frozenset(self._vectors.number(text) for text in skip)
        wanted = depth
        while True:
            rows = top_rows(cosines, wanted)
            best = self._best(_with_close_ones(rows, cosines), query, own)
            if len(best) >= depth and len(rows) >= wanted:
                entry_of, numbers = self._entry_of_row, self._numbers[rows].tolist()
                sure = {entry_of[row] for row, number in zip(rows.tolist(), numbers, strict=True) if number not in own}
            if len(rows) < wanted or (len(best) >= depth and len(sure) >= depth):
                ranked = sorted((-cosine, entry_id) for entry_id, cosine in best.items())
                return [Match(entry_id, -cosine) for cosine, entry_id in ranked[:depth]]
            wanted *= 2  # some entries have many rows among them

    def _embed(self) -> None:
        """Embed the texts of all rows that have no vector yet."""
        with self._lock:
            pending = self._pending[:]
            if not pending:
                return
            start, end = self._embedded_rows, self._embedded_rows + len(pending)
            self._numbers = grow(self._numbers, end)
            self._numbers[start:end] = self._vectors.numbers(pending)
            fresh = self._numbers[max(start - 1, 0) : end]
            self._in_order = self._in_order and bool((np.diff(fresh) == 1).all())
            self._embedded_rows = end
            del self._pending[: len(pending)]

    def _cosines(self, query: Floats, library: ExperienceLibrary) -> Any:
        """The cosine of each row of the snapshot; zero for rows that must not be found."""
        numbers = self._numbers[: self._rows.until(library.tip)]
        ends = numbers[[0, -1]] if self._in_order else np.array([numbers.min(), numbers.max()])
        product = self._vectors.matrix[ends[0] : ends[1] + 1] @ query
        cosines: Floats = product if self._in_order else product[numbers - ends[0]]
        np.maximum(cosines, 0, out=cosines)
        dead = self._deaths.until(library.tip)
        if dead:
            cosines[np.array(dead, np.intp)] = 0
        return cosines

    def _best(self, rows: npt.NDArray[np.intp], query: Floats, own: frozenset[int]) -> dict[str, float]:
        """The cosine of each entry's nearest vector.

        Each cosine is computed on its own, so the row's position does not matter.
        """
        numbers = self._numbers[rows]
        exact = (self._vectors.matrix[numbers].astype(np.float64) * query).sum(axis=1)
        exact[np.isin(numbers, list(own))] = 0
        best: dict[str, float] = {}
        for row, cosine in zip(rows.tolist(), exact.tolist(), strict=True):
            entry_id = self._entry_of_row[row]
            if cosine > best.get(entry_id, 0.0):
                best[entry_id] = cosine
        return best


def _with_close_ones(rows: npt.NDArray[np.intp], scores: Floats) -> npt.NDArray[np.intp]:
    """These rows, and the rows whose scores are so close that rounding may have kept them out."""
    return np.flatnonzero(scores >= max(scores[rows].min() - _SLACK, _SLACK)) if len(rows) else rows
