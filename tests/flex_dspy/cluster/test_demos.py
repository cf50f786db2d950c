"""The shipped libraries, learned on three workers while a driver and a worker are killed and a worker is added."""

import pytest

from flex_dspy.cluster.executor import DaskExecutor
from tests.cluster_demos import HASHES, disturbance, kill_driver, learn_demo


@pytest.mark.slow
@pytest.mark.parametrize("task", ["aime", "uspto50k"])
def test_the_shipped_library_comes_out_whatever_dies(task, tmp_path):
    path = tmp_path / "library.json"
    with DaskExecutor("local:3") as cluster:
        before = kill_driver(task, path, cluster.client.scheduler.address)
        found = learn_demo(task, path, cluster, disturbance("all of it", cluster))
    assert before >= 70
    assert found.startswith(HASHES[task])
