"""A learning process that is killed: a short run of what ``python -m tests.reliability`` does for minutes."""

import random
import sys
from pathlib import Path

import pytest

from tests.reliability.kills import check, kill_one, processes


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_killed_learner_acknowledged_is_learned_from_once(tmp_path: Path) -> None:
    rng, context, number = random.Random(2), processes(), 0
    for _ in range(6):
        number = kill_one(tmp_path / "library.json", number, rng, context)
    check(tmp_path / "library.json", number)
