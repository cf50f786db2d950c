"""The long run: ``python -m tests.reliability --minutes 5``. It prints what was injected, survived and lost."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from tests.reliability import kills, metric_inputs
from tests.reliability.power_loss import disks_after
from tests.reliability.recording import Recorder
from tests.reliability.test_power_loss import WORK, check_every_crash
from tests.reliability.trials import TRIALS

Trial = Callable[[], Counter[str]]


class Tally:
    """How often each fault was injected, and how often something was lost."""

    def __init__(self) -> None:
        self.injected: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def run(self, name: str, trial: Trial) -> None:
        """Count one trial; whatever it raises is a loss, and is printed."""
        try:
            self.injected += trial()
        except Exception:
            traceback.print_exc()
            self.injected[name] += 1
            self.lost[name] += 1

    def table(self) -> str:
        """A line a fault."""
        rows = [f"{'fault':<44}{'injected':>10}{'survived':>10}{'lost':>6}"]
        for name, times in sorted(self.injected.items()):
            rows.append(f"{name:<44}{times:>10,}{times - self.lost[name]:>10,}{self.lost[name]:>6}")
        total, lost = self.injected.total(), self.lost.total()
        return "\n".join([*rows, f"{'all':<44}{total:>10,}{total - lost:>10,}{lost:>6}"])


def disk_trial(name: str, seed: int) -> Counter[str]:
    """One trial on a failing disk."""
    with tempfile.TemporaryDirectory() as folder:
        injected = TRIALS[name](Path(folder), seed)
    return Counter({f"{name}: {kind}": count for kind, count in injected.items()})


def power_trial(name: str, seed: int) -> Counter[str]:
    """Power failures at every point of one piece of work."""
    work, check = WORK[name]
    with tempfile.TemporaryDirectory() as folder:
        (root := Path(folder).resolve() / "root").mkdir()
        with Recorder(root).at_work() as recorder:
            work(root, recorder)
        states, refused = check_every_crash(disks_after(recorder.operations), Path(folder), check, seed=seed)
    return Counter({f"power failure: {name}": states - refused, f"power failure: {name}, named": refused})


def kill_trial(seed: int, times: int = 10) -> Counter[str]:
    """Kills of a learning process, and a last learner that goes on from them."""
    rng, context, number = random.Random(seed), kills.processes(), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "library.json"
        for _ in range(times):
            number = kills.kill_one(path, number, rng, context)
        kills.check(path, number)
    return Counter({"SIGKILL of a learning process": times, "acknowledged before a SIGKILL": number})


def metric_trial(name: str, seed: int, times: int = 300) -> Counter[str]:
    """Hostile answers for one metric."""
    rng = random.Random(seed)
    for _ in range(times):
        metric_inputs.check(name, rng)
    return Counter({f"hostile answer: {name}": times})


def _trials(seed: int) -> Iterator[tuple[str, Trial]]:
    """All kinds of trials in turn, without end."""
    for number in count(seed):
        for name in TRIALS:
            for each in range(10):
                yield f"{name}: trial", partial(disk_trial, name, 10 * number + each)
        for name in metric_inputs.METRICS:
            yield f"hostile answer: {name}", partial(metric_trial, name, number)
        yield "SIGKILL of a learning process", partial(kill_trial, number)
        for name in WORK:
            yield f"power failure: {name}", partial(power_trial, name, number)


def main() -> int:
    """Run trials in turn until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.getLogger("flex_dspy").setLevel(logging.ERROR)
    tally, end = Tally(), time.monotonic() + 60 * arguments.minutes
    for name, trial in _trials(arguments.seed):
        tally.run(name, trial)
        if time.monotonic() > end:
            break
    print(tally.table())
    return int(tally.lost.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
