"""A disk that fails in every way: short runs of what ``python -m tests.reliability`` does for minutes."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability import metric_inputs
from tests.reliability.faults import KINDS
from tests.reliability.trials import TRIALS


@pytest.mark.parametrize("name", TRIALS)
def test_a_failing_disk_loses_nothing(name: str, tmp_path: Path) -> None:
    injected: Counter[str] = Counter()
    for seed in range(3):
        (root := tmp_path / str(seed)).mkdir()
        injected += TRIALS[name](root, seed)
    assert {kind.split()[0] for kind in injected} >= KINDS.keys() - {"unlink", "ftruncate", "flock", "replace"}
    assert injected.total() > 12


@pytest.mark.parametrize("name", metric_inputs.METRICS)
def test_a_metric_judges_any_answer(name: str) -> None:
    rng = random.Random(1)
    for _ in range(150):
        metric_inputs.check(name, rng)
