"""Scaling laws of runs, files, points and registered names; and measured anew, on training examples too."""

import asyncio
import json
from pathlib import Path
from typing import Any

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError, LibraryError, LibraryFormatError, OverlapError
from flex_dspy.core.examples import example_id
from flex_dspy.evaluation.intervals import wilson
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.learning.version import Version, Versions
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import language_model
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.studies import Scaling, Snapshots, measure_scaling, registry_libraries, scaling
from flex_dspy.tasks.registry import get_task
from flex_dspy.tracking.tracker import MLflowTracker

pytestmark = pytest.mark.usefixtures("shared_chemists")

# Top-1 accuracy of the offline chemist on 994 validation products of USPTO-50k, studied.
MEASURED = {0: (0, 0), 50: (45, 141), 190: (141, 197), 724: (368, 268), 2_754: (878, 323), 10_476: (1_892, 372)}


def numbers(solved: int, n: int = 994) -> dict[str, float]:
    low, high = wilson(solved, n)
    return {"accuracy": solved / n, "accuracy_low": low, "accuracy_high": high, "n": float(n)}


def entries(count: int) -> ExperienceLibrary:
    return ExperienceLibrary([Experience(zone="golden", method=f"Lesson {n}.") for n in range(count)])


def logged(path: Path | None, run: str = "r1", solved: int = 0) -> Versions:
    log = VersionLog(path, run)
    for step, (size, right) in MEASURED.items():
        log.add(step, entries(size // 10), numbers(right + solved))
    return log.records


def points(*accuracies: float) -> list[CurvePoint]:
    return [CurvePoint(10 * 4**n, each, each - 0.05, each + 0.05, n + 1, 100) for n, each in enumerate(accuracies)]


# -- what is there already -----------------------------------------------------------------------------------


def test_the_law_of_a_run() -> None:
    study = scaling(logged(None))
    curve = study["validation"]
    assert curve.fit is not None
    assert curve.fit.form == "log-linear"
    assert curve.fit.parameters["b"].value == pytest.approx(0.10, abs=0.01)
    assert curve.baseline is not None
    assert curve.baseline.accuracy == 0.0
    assert len(curve.learned) == 5
    assert "log-linear, a + b log10(n) with n in examples: a = " in study.text()


def test_versions_that_were_not_measured_are_left_out() -> None:
    versions = logged(None)
    bare = VersionLog(None, "r1")
    bare.add(20, entries(2), {})
    assert scaling(Versions([*bare.records, *versions])) == scaling(versions)
    with pytest.raises(ConfigurationError, match="no version was measured"):
        scaling(bare.records)


def test_a_run_by_its_folder_its_library_or_its_log(tmp_path: Path) -> None:
    logged(tmp_path / "library.json", "old", solved=9)
    versions = logged(tmp_path / "library.json", "new")
    for source in (tmp_path, str(tmp_path / "library.json"), tmp_path / "library.versions.jsonl"):
        assert scaling(source) == scaling(versions)
    with pytest.raises(LibraryError, match="no log"):
        scaling(tmp_path / "other.json")
    with (tmp_path / "library.versions.jsonl").open("a") as file:
        file.write("damage\n")
    with pytest.raises(LibraryFormatError, match="line 13"):
        scaling(tmp_path)


def test_entries_and_epochs_on_the_axis() -> None:
    versions = logged(None)
    by_entries = scaling(versions, against="entries")["validation"]
    assert [by_entries.at(point) for point in by_entries.points] == [0, 4, 14, 36, 87, 189]
    by_epoch = scaling(versions, against="epochs", epoch=724)["validation"]
    assert by_epoch.at(by_epoch.points[-1]) == pytest.approx(14.47, abs=0.01)
    assert by_epoch.fit is not None
    slope = scaling(versions)["validation"].fit
    assert slope is not None
    assert by_epoch.fit.parameters["b"].value == pytest.approx(slope.parameters["b"].value)
    with pytest.raises(ConfigurationError, match="epoch=len"):
        scaling(versions, against="epochs")


def test_too_few_versions_say_so(tmp_path: Path, drawn: list[Any]) -> None:
    study = scaling(points(0.1, 0.2))
    assert study["validation"].fit is None
    assert "at least 3 different sizes above 0, and there are 2" in study.text()
    study.figure(tmp_path / "two.png")
    assert any("at least 3" in text.get_text() for text in drawn[0].texts)
    assert "fitted" not in study.to_pandas().columns
    assert "at least 3" in study._repr_html_()


def test_graded_scores(tmp_path: Path) -> None:
    study = scaling([CurvePoint(10 * 4**n, 3 + n, 2.8 + n, 3.2 + n, n + 1, 100) for n in range(4)])
    fit = study["validation"].fit
    assert fit is not None
    assert fit.form == "log-linear"
    assert float(fit.at(40)[0]) == pytest.approx(4)
    study.figure(tmp_path / "graded.png")


def test_a_table_a_page_and_json() -> None:
    study = scaling({"validation": logged(None), "training": points(0.1, 0.2, 0.3, 0.4)}, title="Reactions <1>")
    frame = study.to_pandas()
    assert list(frame["measured on"]) == ["validation"] * 6 + ["training"] * 4
    row = frame.iloc[3]
    assert row["fitted_low"] < row["fitted"] < row["fitted_high"]
    page = study._repr_html_()
    assert "Reactions &lt;1&gt;" in page
    assert page.count("curve (95% band)") == 2
    again = Scaling.from_json(study.to_json())
    assert again == study
    assert again["validation"].fit == study["validation"].fit
    told = json.loads(study.to_json())["curves"][0]["fit"]
    assert told["parameters"]["b"]["low"] < 0.1 < told["parameters"]["b"]["high"] + 0.01
    for text in ("[]", "{}", '{"title": "", "curves": [{}]}'):
        with pytest.raises(ValueError, match="no scaling study"):
            Scaling.from_json(text)


def test_the_figure(tmp_path: Path, drawn: list[Any]) -> None:
    study = scaling({"validation": logged(None), "training": points(0.1, 0.2, 0.3, 0.4)}, title="Reactions")
    path = study.figure(tmp_path / "scaling.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    (axes,) = drawn
    texts = [text.get_text() for text in axes.texts]
    assert {"37.4%", "40.0%", "no library: 0.0%"} <= {*texts}
    assert any(text.startswith("validation, n = 994: +") and "ten times the examples" in text for text in texts)
    assert next(label.get_text() for label in axes.get_xticklabels()) == "50\n4"
    assert (axes.get_xscale(), axes.get_ylim()[0]) == ("log", 0)
    with pytest.raises(ValueError, match="at least one example"):
        scaling([CurvePoint(0, 0.0, 0.0, 0.1, 0, 60)]).figure(path)


# -- measured anew -------------------------------------------------------------------------------------------


class Recites(dspy.Module):
    """Answers what an experience in its prompt says of the topic."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.retriever = ExperienceRetriever(views=["lexical"], **settings)

    async def aforward(self, question: str) -> dspy.Prediction:
        await asyncio.sleep(0)
        topic = question.split()[0]
        return dspy.Prediction(answer=topic if topic in self.retriever(question).experiences else "unknown")


TOPICS = [f"{a}{b}" for a in ("bar", "dok", "fel", "gur") for b in ("an", "es", "im", "ot", "uv")]


def example(topic: str, number: int) -> dspy.Example:
    return dspy.Example(question=f"{topic} number {number}", answer=topic).with_inputs("question")


def right(gold: dspy.Example, prediction: dspy.Prediction) -> bool:
    return bool(gold.answer == prediction.answer)


def learned(topics: int) -> ExperienceLibrary:
    """A library of the first topics, each from one training example of its own, every second one from two."""
    return ExperienceLibrary(
        [
            Experience(
                zone="golden",
                method=f"On {topic}.",
                precedents=tuple(
                    Precedent(example_id(case), case.question, topic)
                    for case in (example(topic, number) for number in range(1 + n % 2))
                ),
            )
            for n, topic in enumerate(TOPICS[:topics])
        ]
    )


LIBRARIES = {0: ExperienceLibrary(), 3: learned(2), 6: learned(4), 12: learned(8), 30: learned(20)}


def test_training_accuracy_counts_no_example_that_rests_on_itself() -> None:
    validation = [example(topic, 99) for topic in TOPICS]
    training = [example(topic, 0) for topic in TOPICS]
    study = measure_scaling(
        Recites(), LIBRARIES, right, validation=validation, training=training, progress=False, form="log-linear"
    )
    assert [point.accuracy for point in study["validation"].points] == [0.0, 0.1, 0.2, 0.4, 1.0]
    assert [point.accuracy for point in study["training"].points] == [0.0, 0.05, 0.1, 0.2, 0.5]
    assert [(point.examples, point.entries) for point in study["training"].points][-1] == (30, 20)
    assert study["training"].fit is not None
    with pytest.raises(ConfigurationError, match="from their own solutions"):
        measure_scaling(Recites(exclude_self=False), LIBRARIES, right, training=training)
    with pytest.raises(OverlapError):
        measure_scaling(Recites(), LIBRARIES, right, validation=training, progress=False)


def test_errors_in_common_are_known_where_the_examples_are() -> None:
    validation = [example(topic, 99) for topic in TOPICS]
    curve = measure_scaling(Recites(), LIBRARIES, right, validation=validation, progress=False)["validation"]
    assert curve.correlation is not None
    assert len(curve.correlation) == 4
    # 2 solved of 20, and 4 among which are these: correlated by sqrt(2 * 16 / (4 * 18)).
    assert curve.correlation[0][1] == pytest.approx(0.98 * (4 / 9) ** 0.5)
    assert [row[place] for place, row in enumerate(curve.correlation)] == pytest.approx([1.0] * 4)
    assert scaling(curve.points)["validation"].correlation is None


def test_nothing_to_measure() -> None:
    for libraries, examples in (({}, [example("baran", 1)]), (LIBRARIES, [])):
        with pytest.raises(ConfigurationError, match="nothing to measure"):
            measure_scaling(Recites(), libraries, right, validation=examples)


def test_snapshots_keep_the_libraries_of_a_run() -> None:
    task, snapshots = get_task("uspto50k"), Snapshots()
    with dspy.context(lm=language_model("offline", expert="chemist")):
        optimizer = ForwardLearning(task.metric, study=True, checkpoint_every=4, tracker=snapshots, progress=False)
        optimizer.compile(task.actor(), trainset=task.load("train").examples[:8])
    assert list(snapshots.libraries) == [0, 4, 8]
    assert [record.hash for record in optimizer.versions] == [each.hash for each in snapshots.libraries.values()]
    assert len(snapshots.libraries[4]) >= 2


# -- in MLflow -----------------------------------------------------------------------------------------------


def test_a_registered_name_is_its_newest_run(mlflow_uri: str) -> None:
    for solved, versions in ((0, 1), (30, 3)):
        tracker = MLflowTracker("scaling", tracking_uri=mlflow_uri, registered_name="scaling-law")
        tracker.start({"task": "dice", "try": solved})
        for step, (size, right_ones) in list(MEASURED.items())[:versions]:
            tracker.log_version(Version(entries(size // 10), step, numbers(right_ones + solved)))
        tracker.finish()
    curve = scaling("scaling-law", tracking_uri=mlflow_uri)["validation"]
    assert [point.examples for point in curve.points] == [0, 50, 190]
    assert [round(point.accuracy * 994) for point in curve.points] == [30, 171, 227]
    assert [point.n for point in curve.points] == [994] * 3
    libraries = registry_libraries("scaling-law", mlflow_uri)
    assert {step: len(library) for step, library in libraries.items()} == {0: 0, 50: 4, 190: 14}
    assert scaling("scaling-law@newest", tracking_uri=mlflow_uri)["validation"] == curve
    with pytest.raises(ConfigurationError, match="There is no nothing-of-that-name"):
        scaling("nothing-of-that-name", tracking_uri=mlflow_uri)
