"""When ``best`` moves: the rule itself, and what it does in a store."""

from __future__ import annotations

from typing import Any

import pytest

from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.promotion import Promote, is_better
from flex_dspy.tracking.tracker import MLflowTracker

pytestmark = [
    pytest.mark.usefixtures("no_figures"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]


def scores(right: int, n: int = 20, start: int = 0) -> dict[str, float]:
    return {f"e{start + i}": float(i < right) for i in range(n)}


@pytest.mark.parametrize(
    ("new", "held", "promote", "verdict"),
    [
        (scores(11), scores(10), "best", True),
        (scores(10), scores(10), "best", False),
        (scores(9), scores(10), "best", False),
        (scores(11), scores(10), "significant", False),
        (scores(16), scores(10), "significant", True),  # 6 won, none lost: p = 0.03
        (scores(15), scores(10), "significant", False),  # 5 won, none lost: p = 0.06
        (scores(11, 40), scores(10, 20), "best", True),  # the common twenty decide
        (scores(5, 5, 100), scores(1), "best", None),
        ({f"e{i}": 0.8 for i in range(9)}, {f"e{i}": 0.5 for i in range(9)}, "significant", True),
    ],
)
def test_the_rule(new: dict[str, float], held: dict[str, float], promote: Promote, verdict: bool | None) -> None:
    assert is_better(new, held, promote) is verdict


def versions(*right: int, n: int = 20, digest: str = "d1") -> list[Version]:
    made, library = [], ExperienceLibrary(task="sums")
    for step, solved in enumerate(right, 1):
        lesson = Experience("golden", f"method {step} {digest}", precedents=(Precedent(f"x{step}", "p", "a"),))
        library = library.apply(Commit(digest, step, (Insert(lesson),))).as_version(None)
        records = tuple(
            Record(f"e{i}", "p", "12", {"answer": "12"}, float(i < solved), labels={"answer": "12"}) for i in range(n)
        )
        made.append(Version(library, step, Evaluation(records).metrics(), "val", digest, records))
    return made


def best_after(uri: str, name: str, logged: list[Version], promote: Promote) -> int | None:
    from mlflow import MlflowClient

    tracker = MLflowTracker("promotion", tracking_uri=uri, registered_name=name, promote=promote)
    tracker.start({"task": "sums"})
    for version in logged:
        tracker.log_version(version)
    tracker.finish()
    assert tracker.missing == []
    found: Any = MlflowClient(uri).get_registered_model(name).aliases.get("best")
    return int(found) if found else None


@pytest.mark.slow  # a dozen versions in a real store
def test_best_moves_as_it_is_told(mlflow_uri: str) -> None:
    assert best_after(mlflow_uri, "p-best", versions(10, 11, 11, 16), "best") == 4
    assert best_after(mlflow_uri, "p-significant", versions(10, 11, 15), "significant") == 1
    assert best_after(mlflow_uri, "p-never", versions(10, 16), "never") is None


def test_another_run_s_version_is_compared_on_the_examples_that_both_have(mlflow_uri: str) -> None:
    """The examples of the version that is best are read from the store."""
    assert best_after(mlflow_uri, "p-other", versions(10), "best") == 1
    assert best_after(mlflow_uri, "p-other", versions(10, n=40, digest="d2"), "best") == 1  # equal on the common 20
    assert best_after(mlflow_uri, "p-other", versions(11, n=30, digest="d3"), "best") == 3
    assert best_after(mlflow_uri, "p-other", versions(18, digest="d4"), "significant") == 4
