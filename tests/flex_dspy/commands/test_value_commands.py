"""``flex-dspy library value`` and ``library prune``, against a scripted model."""

import json
from pathlib import Path

import pytest

from flex_dspy import cli
from flex_dspy.commands.actions.value import effect_table
from flex_dspy.core.errors import ConfigurationError, DataError, LibraryError
from flex_dspy.core.tables import table_text
from flex_dspy.evaluation.entry_values import EntryValue, Valuation, read_valuation, value_file
from flex_dspy.libraries.experience import Commit, Experience, Insert, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from tests.llm_server import LLMServer
from tests.scripted import problems, student, write

LIBRARY = ExperienceLibrary(
    [
        Experience(zone="golden", method="In each case, what is asked is a product and one more.", category="product"),
        Experience(zone="warning", method="In no case is it what a sum is.", rules=(Rule("Never add."),)),
        Experience(zone="warning", method="In no case is it what a sum is at all.", rules=(Rule("Never add."),)),
    ],
    task="math",
    seen=9,
)
BAD = EntryValue(-0.3, -0.4, -0.2, 40, 100, 0.05)


def command(*words: object) -> None:
    """``flex-dspy library ...``, whose errors are raised."""
    cli.call(["library", *map(str, words)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    LIBRARY.save(tmp_path / "library.json")
    return tmp_path / "library.json"


@pytest.fixture
def model(tmp_path: Path, llm_server: LLMServer, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Options that name the model and data."""
    monkeypatch.setenv("API_KEY", "test-key")
    llm_server.script = student
    data = write(problems(8), tmp_path / "data.jsonl")
    return ["--task", "math", "--data", data, "--lm", "openai/test", "--api-base", llm_server.url, "--quiet"]


def harmful(path: Path, *places: int) -> None:
    """Write down that these entries do harm."""
    ids = [entry.id for entry in LIBRARY]
    Valuation.of(LIBRARY, {ids[place]: BAD for place in places}).write(value_file(path))


# -- value ---------------------------------------------------------------------------------------------------


def test_value_prints_a_table_and_writes_the_estimates(
    path: Path, model: list[object], llm_server: LLMServer, capsys: pytest.CaptureFixture[str]
) -> None:
    command("value", path, "--calls", 40, "--seed", 3, *model)
    said = capsys.readouterr().out
    written = read_valuation(value_file(path))
    assert all(entry.id in said and str(written.estimates[entry.id]) in said for entry in LIBRARY)
    assert "3 of 3 entries were shown in trials" in said
    assert "actor" in said
    assert (written.library, written.calls, written.seed) == (LIBRARY.hash, 40, 3)
    assert 0 < len(llm_server.requests) <= 40
    command("value", path, "--calls", 40, "--seed", 3, *model, "--json")
    assert json.loads(capsys.readouterr().out).keys() == written.estimates.keys()


def test_value_prints_only_the_ends_of_a_long_table(path: Path) -> None:
    effects = {entry.id: EntryValue(n / 10, examples=1, pairs=1) for n, entry in enumerate(LIBRARY)}
    table, measured = effect_table(LIBRARY, effects, top=1)
    lines = [*table_text(table).splitlines(), str(measured)]
    assert len(lines) == 5
    assert lines[2] == "... 1 entries between ..."
    assert "+0.000" in lines[1]
    assert "+0.200" in lines[3]


def test_value_of_what_is_no_file_needs_a_place_to_write(path: Path, model: list[object]) -> None:
    folder = path.parent
    with pytest.raises(ConfigurationError, match="--out"):
        command("value", folder, "--calls", 4, *model)
    command("value", folder, "--calls", 4, "--out", folder / "found.json", *model)
    assert read_valuation(folder / "found.json").library == LIBRARY.hash


# -- prune ---------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_go_and_changes_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harmful(path, 0)
    before = path.read_bytes()
    command("prune", path, "--by", "value,redundant", "--dry-run")
    said = capsys.readouterr().out
    assert "1 value, 1 redundant; 3 entries before, 1 after" in said
    assert "says the same" in said
    command("prune", path, "--by", "value,redundant", "--dry-run", "--json")
    plan = json.loads(capsys.readouterr().out)
    assert [removal["why"] for removal in plan["removals"]] == ["value", "redundant"]
    assert (plan["before"], plan["after"], plan["is_done"]) == (3, 1, False)
    assert path.read_bytes() == before


def test_what_does_harm_is_removed_and_the_file_is_a_version_of_the_one_before(path: Path) -> None:
    harmful(path, 1)
    command("prune", path)
    pruned = ExperienceLibrary.load(path)
    assert len(pruned) == 2
    assert pruned.parent == LIBRARY.hash
    assert not list(path.parent.glob("*.journal.jsonl"))


def test_the_stale_go_by_their_outcomes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("prune", path, "--by", "stale", "--stale-after", 5)
    assert "removed: 3 stale" in capsys.readouterr().out.replace("to be ", "")
    assert len(ExperienceLibrary.load(path)) == 0


def test_estimates_of_entries_that_changed_since_are_left_aside(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harmful(path, 0, 1)
    first = next(iter(LIBRARY))
    changed = ExperienceLibrary([first, *(Experience(zone="golden", method="new") for _ in range(1))], seen=9)
    changed.save(path)
    command("prune", path, "--dry-run")
    said = capsys.readouterr().out
    assert "1 entries were changed or removed" in said
    assert "1 value; 2 entries before, 1 after" in said


def test_in_the_middle_of_a_run_only_the_journal_is_written(path: Path) -> None:
    harmful(path, 0)
    LibraryStore(path).commit([Commit("run", 1, (Insert(Experience(zone="golden", method="fresh")),))])
    before = path.read_bytes()
    command("prune", path)
    assert path.read_bytes() == before
    assert len(LibraryStore(path).library) == 3


def test_accuracy_is_measured_before_and_after_and_logged(
    path: Path, model: list[object], mlflow_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    harmful(path, 1)
    command("prune", path, *model, "--tracking-uri", mlflow_uri, "--experiment", "pruned")
    said = capsys.readouterr().out
    assert "accuracy +0.0%" in said
    client = MlflowClient(mlflow_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'pruned'")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`flex_dspy.version` != ''")
    assert run.data.metrics["accuracy"] == run.data.metrics["accuracy_before"] == 0.5
    assert run.data.metrics["accuracy_gain"] == 0.0
    assert run.data.params["removed_value"] == "1"
    assert client.search_model_versions(f"tags.hash = '{ExperienceLibrary.load(path).hash}'")


def test_nothing_is_removed_where_accuracy_would_fall(
    path: Path, model: list[object], llm_server: LLMServer, tmp_path: Path
) -> None:
    def needs_it(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> object:
        said = dict(student(role, {**inputs, "earlier_attempts": "told"}, messages))
        return said if "product and one more" in inputs["experiences"] else {**said, "answer": -1}

    llm_server.script = needs_it  # type: ignore[assignment]
    harmful(path, [entry.category for entry in LIBRARY].index("product"))
    write(problems(20), tmp_path / "data.jsonl")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="accuracy would fall"):
        command("prune", path, *model, "--no-tracking")
    assert path.read_bytes() == before


def test_what_is_missing_is_said(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="flex-dspy library value"):
        command("prune", path)
    with pytest.raises(LibraryError, match="no library file"):
        command("prune", tmp_path / "none.json")


@pytest.mark.parametrize("words", [("--by", "age"), ("--confidence", "1"), ("--stale-after", "0")])
def test_wrong_options_are_refused(path: Path, words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["library", "prune", str(path), *words])


def test_a_valuation_file_is_json_that_a_person_can_read(path: Path) -> None:
    harmful(path, 0)
    document = json.loads(value_file(path).read_text())
    assert document["format"] == "flex-dspy-value/1"
    assert next(iter(document["estimates"].values()))["effect"] == -0.3
