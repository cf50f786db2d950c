"""Scopes in MLflow: a version holds nothing that the readers of the store may not see."""

from pathlib import Path

import pytest

from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import Commit, Experience, Insert
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.registry import load_library
from flex_dspy.tracking.tracker import MLflowTracker

pytestmark = [
    pytest.mark.usefixtures("no_figures"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]


def lessons(step: int) -> list[Experience]:
    return [Experience("golden", f"step {step} of {scope or 'all'}", scope=scope) for scope in ("", "ours", "theirs")]


@pytest.mark.slow
def test_a_version_holds_the_scopes_of_the_tracker_alone(mlflow_uri: str, tmp_path: Path) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.tracking import MlflowClient

    tracker = MLflowTracker("scopes", tracking_uri=mlflow_uri, registered_name="scoped", scopes=["ours"])
    tracker.start({"task": "t"})
    first = ExperienceLibrary(lessons(1), task="t")
    second = first.apply(Commit("r", 1, tuple(map(Insert, lessons(2))))).as_version(first.hash)
    for step, library in enumerate((first, second), 1):
        tracker.log_version(Version(library, step, {}))
    tracker.finish()
    assert not tracker.missing
    assert load_library("scoped/2", mlflow_uri) == second.scoped("ours")
    client = MlflowClient(mlflow_uri)
    for number in ("1", "2"):
        registered = client.get_model_version("scoped", number)
        folder = Path(download_artifacts(registered.source, dst_path=str(tmp_path / number), tracking_uri=mlflow_uri))
        files = {path.name: path.read_text() for path in folder.rglob("*") if path.suffix in (".json", ".html", ".csv")}
        assert {"library.json", "library.html"} <= files.keys()
        said = "".join([*files.values(), str(registered), str(client.get_run(registered.run_id).data)])
        assert "of ours" in said
        assert "theirs" not in said
    assert "step 2 of ours" in files["diff.html"]
    assert client.get_model_version("scoped", "2").tags["hash"] == second.scoped("ours").hash
