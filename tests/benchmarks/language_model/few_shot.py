"""The methods that ask the model nothing while they learn."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import dspy
import numpy as np
import numpy.typing as npt

from tests.benchmarks.language_model.examples import Data
from tests.benchmarks.language_model.program import OnThreads
from tests.benchmarks.language_model.workspace import Learned, Workspace

DIMENSIONS = 4096
SIZES = (3, 4, 5)  # characters of an n-gram


def bare(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """The program as it is."""
    return Learned(student)


def knn(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """The nearest training examples as demonstrations.

    ``KNNFewShot`` by default bootstraps anew for each answer, which would take up to four answers for one. It is told
    to show the labelled examples as they are; with a signature that has no reasoning the two are the same.
    """
    shown = workspace.settings.shown
    optimizer = dspy.KNNFewShot(
        shown,
        data.train,
        vectorizer=dspy.Embedder(hashed_ngrams),
        max_bootstrapped_demos=0,
        max_labeled_demos=shown,
    )
    return Learned(OnThreads(optimizer.compile(student)), note="takes no tokens to learn")


def hashed_ngrams(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Vectors of texts without a model: counts of their hashed n-grams, of length 1.

    Returns:
        Shape ``(len(texts), DIMENSIONS)``.
    """
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        padded = f" {' '.join(text.lower().split())} "
        for size in SIZES:
            for start in range(len(padded) - size + 1):
                vector[zlib.crc32(padded[start : start + size].encode()) % DIMENSIONS] += 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
