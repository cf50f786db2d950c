"""Tasks of one's own: registered, by module and attribute, or brought by an installed package."""

import logging
import subprocess
import sys
from pathlib import Path

import dspy
import pytest

from flex_dspy.cli import main
from flex_dspy.core.errors import ConfigurationError, DataError
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tasks import names as task_names
from flex_dspy.tasks.registry import TASKS, get_task, register
from flex_dspy.tasks.task import Task
from tests.llm_server import LLMServer
from tests.scripted import problems, student, write

ROWS = [("fine work", "good"), ("dull", "bad"), ("a joy", "good"), ("no", "bad")]
SIGNATURE = "text -> label: Literal['good', 'bad']"


def right(example, prediction, trace=None):
    return example.label == prediction.label


def reviews(name="reviews", **settings) -> Task:
    return Task(name, SIGNATURE, right, **settings)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch, tmp_path):
    """No test leaves a task, a module or a folder on the path behind."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    before = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("made_up"):
            del sys.modules[name]


@pytest.fixture
def csv(tmp_path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    return path


# -- what a task needs -------------------------------------------------------------------------------------


def test_a_task_is_a_name_a_signature_and_a_metric(csv):
    task = register(reviews())
    assert get_task("reviews") is task
    data = task.load(str(csv))
    assert [(example.text, example.label) for example in data.examples] == ROWS
    assert list(data.examples[0].inputs().keys()) == ["text"]
    assert task.actor().attempt.predict.signature.output_fields["label"].annotation.__args__ == ("good", "bad")
    assert len(task.load(str(csv), limit=2, seed=1).examples) == 2


@pytest.mark.parametrize(
    "found",
    [
        [{"text": text, "label": label} for text, label in ROWS],
        [dspy.Example(text=text, label=label) for text, label in ROWS],
        (dspy.Example(text=text, label=label).with_inputs("text") for text, label in ROWS),
    ],
)
def test_a_loader_is_any_function_that_gives_examples(found):
    task = reviews(load=lambda source: found)
    data = task.load("train")
    assert [dict(example.inputs().items()) for example in data.examples] == [{"text": text} for text, _ in ROWS]
    assert (data.source, len(data.digest)) == ("train", 64)
    assert task.splits == {"train": "train", "val": "val", "test": "test"}


def test_a_limit_and_a_seed_are_kept_whether_the_loader_takes_them_or_not():
    rows = [{"text": str(n)} for n in range(50)]
    asked = []

    def drawing(source, limit=None, seed=None):
        asked.append((limit, seed))
        return rows[:limit]

    assert len(reviews(load=drawing).load("train", limit=5, seed=3).examples) == 5
    assert asked == [(5, 3)]
    plain = reviews(load=lambda source: rows)
    assert [example.text for example in plain.load("train", limit=3).examples] == ["0", "1", "2"]
    drawn = [example.text for example in plain.load("train", limit=3, seed=1).examples]
    assert drawn != ["0", "1", "2"]
    assert drawn == [example.text for example in plain.load("train", limit=3, seed=1).examples]


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (lambda source: [], "no example"),
        (lambda source: {}["elsewhere"], "KeyError: 'elsewhere'"),
        (lambda source: [{"words": "x"}], "no text .its fields: words"),
        (lambda source: 7, "TypeError"),
    ],
)
def test_a_loader_that_fails_is_an_error_in_its_own_words(load, said):
    with pytest.raises(DataError, match=said):
        reviews(load=load).load("train")


def test_columns_have_the_types_of_their_fields_and_bad_rows_are_told(tmp_path):
    task = Task("sums", "a: int, b: int -> total: int, steps: list[str]", lambda example, prediction: True)
    path = tmp_path / "sums.csv"
    path.write_text('a,b,total,steps,by\n1,2,3,"[""add""]",me\n1,x,3,,me\n,2,3,,me\n4,5,,,me\n')
    data = task.load(path)
    first, last = data.examples
    assert (first.a, first.total, first.steps, first.by) == (1, 3, ["add"], "me")
    assert "total" not in last
    assert [(row.row, row.reason) for row in data.bad_rows] == [(3, "b is no int: 'x'"), (4, "no a")]
    (tmp_path / "other.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match=r"Expected the columns a, b and, where known, total, steps; columns seen: x"):
        task.load(tmp_path / "other.csv")


@pytest.mark.parametrize("settings", [{"name": ""}, {"name": "a:b"}, {"name": "a/b"}, {"load": "train.csv"}])
def test_what_cannot_be_a_task_is_an_error(settings):
    with pytest.raises(ConfigurationError):
        reviews(**settings)


@pytest.mark.parametrize("signature", ["no arrow", 7, dspy.Example])
def test_what_is_no_signature_is_an_error(signature):
    with pytest.raises(ConfigurationError, match="no signature"):
        Task("reviews", signature, right)


# -- names -------------------------------------------------------------------------------------------------


def test_two_tasks_do_not_have_one_name():
    first = register(reviews(aliases=("r",)))
    assert register(first) is first
    for other in (reviews(), reviews("r"), reviews("others", aliases=("aime",))):
        with pytest.raises(ConfigurationError, match="already"):
            register(other)
    assert get_task("r") is first
    second = register(reviews(), replace=True)
    assert get_task("reviews") is second
    with pytest.raises(ConfigurationError, match="no task 'r'"):
        get_task("r")


def test_what_is_no_task_is_not_registered():
    with pytest.raises(ConfigurationError, match=r"flex_dspy\.Task, got function"):
        register(right)


def test_an_unknown_name_is_answered_with_those_that_are_near():
    register(reviews())
    with pytest.raises(ConfigurationError, match=r"did you mean reviews\? tasks are uspto50k, .*gsm8k, .*reviews"):
        get_task("reviws")
    with pytest.raises(ConfigurationError, match="did you mean uspto50k or uspto"):
        get_task("uspto5k")


# -- module:attribute --------------------------------------------------------------------------------------

MODULE = """
from flex_dspy import Task

def right(example, prediction, trace=None):
    return example.answer == prediction.answer

TASK = Task("{name}", "problem -> answer: int", right, splits={{"train": "train.jsonl", "val": "val.jsonl"}})

def make():
    return TASK

class Held:
    task = TASK
"""


def module(folder: Path, name: str = "made_up_task", task: str = "cases") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(MODULE.format(name=task))
    return folder


@pytest.mark.parametrize("attribute", ["TASK", "make", "Held.task"])
def test_a_task_is_found_in_a_module_of_the_current_folder(tmp_path, attribute):
    module(tmp_path)
    assert get_task(f"made_up_task:{attribute}").name == "cases"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("made_up_task:MISSING", r"no 'MISSING' in .*made_up_task\.py"),
        ("made_up_task:right", "gives no task"),
        ("made_up_task:__name__", "no flex_dspy.Task, but str"),
        ("made_up_task.py:TASK", "say made_up_task:TASK"),
        ("made_up_other:TASK", "made_up_other cannot be imported: ModuleNotFoundError"),
        ("made_up_broken:TASK", "made_up_broken cannot be imported: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_had_from_a_module_is_an_error_that_says_why(tmp_path, name, said):
    module(tmp_path)
    (tmp_path / "made_up_broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigurationError, match=said):
        get_task(name)


def test_a_task_of_ones_own_is_learned_on_the_command_line(tmp_path, monkeypatch, capsys):
    module(tmp_path)
    write(problems(6), Path("train.jsonl"))
    write(problems(4, start=90), Path("val.jsonl"))
    monkeypatch.setenv("API_KEY", "none")
    with LLMServer(student) as server:
        asked = ["made_up_task:TASK", "--lm", "openai/test", "--api-base", server.url, "--quiet"]
        assert main(["learn", *asked, "--no-tracking", "--checkpoint-every", "6", "--out", "run"]) == 0
        assert main(["eval", *asked, "--data", "val.jsonl", "--library", "run/library.json", "--out", "eval"]) == 0
    library = ExperienceLibrary.load(Path("run/library.json"))
    assert library.task == "cases"
    assert len(library) > 0
    assert "cases: learning from 6 examples" in capsys.readouterr().out


# -- entry points ------------------------------------------------------------------------------------------


def installed(folder: Path, package: str, *points: str) -> None:
    """A package as an installer leaves it: modules and a dist-info folder, on the path."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(["[flex_dspy.tasks]", *points, ""]))
    sys.path.append(str(folder))


def test_an_installed_package_brings_a_task(tmp_path):
    installed(module(tmp_path / "site"), "made-up", "cases = made_up_task:TASK")
    assert "made_up_task" not in sys.modules
    assert task_names.task_names()[-1] == "cases"
    assert "made_up_task" not in sys.modules
    assert get_task("cases") is get_task("cases") is sys.modules["made_up_task"].TASK


def test_a_function_may_give_it_and_its_alias_is_found(tmp_path):
    folder = module(tmp_path / "site")
    file = folder / "made_up_task.py"
    file.write_text(
        file.read_text()
        .replace('"cases", ', '"cases", aliases=("c",), signature=')
        .replace(", right,", ", metric=right,")
    )
    installed(folder, "made-up", "cases = made_up_task:make")
    assert get_task("c").name == "cases"


def test_a_broken_package_is_named_and_harms_no_other_task(tmp_path, caplog):
    installed(module(tmp_path / "site"), "made-up", "cases = made_up_task:TASK", "broken = made_up_missing:TASK")
    with caplog.at_level(logging.WARNING):
        assert get_task("aime").name == "aime"
        assert get_task("cases").name == "cases"
        assert not caplog.records
        with pytest.raises(ConfigurationError, match="no task 'nothing'"):
            get_task("nothing")
    assert "left out: task 'broken' of made-up (made_up_missing:TASK) cannot be loaded" in caplog.text
    with pytest.raises(ConfigurationError, match=r"'broken' of made-up .* ModuleNotFoundError"):
        get_task("broken")


def test_two_packages_with_one_name_are_told_apart_by_their_modules(tmp_path):
    for name in ("one", "two"):
        folder = module(tmp_path / name, f"made_up_{name}")
        installed(folder, f"made-up-{name}", f"cases = made_up_{name}:TASK")
    with pytest.raises(ConfigurationError, match=r"made-up-one \(made_up_one:TASK\) and .*made-up-two .*module:attr"):
        get_task("cases")
    assert get_task("made_up_two:TASK").name == "cases"


def test_an_entry_point_is_named_as_its_task(tmp_path):
    installed(module(tmp_path / "site"), "made-up", "others = made_up_task:TASK")
    with pytest.raises(ConfigurationError, match="calls itself 'cases'"):
        get_task("others")


def test_a_package_does_not_take_the_name_of_a_built_in_task(tmp_path, caplog):
    installed(module(tmp_path / "site", task="aime"), "made-up", "aime = made_up_task:TASK")
    assert get_task("aime").expert == "mathematician"
    assert "of made-up (made_up_task:TASK) is left out: a built-in task has this name" in caplog.text


# -- the command line --------------------------------------------------------------------------------------


def test_help_names_every_task_and_imports_none(tmp_path):
    installed(module(tmp_path / "site"), "made-up", "cases = made_up_task:TASK", "broken = made_up_missing:TASK")
    code = (
        "import sys; sys.path.append('site'); from flex_dspy.cli import main\n"
        "main(['learn', '--help'])\n"
        "print(sorted({'dspy', 'numpy', 'made_up_task'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "fitness | broken | cases |" in " ".join(said.split())
    assert said.splitlines()[-1] == "[]"


def test_an_unknown_task_is_refused_before_anything_is_imported(capsys):
    register(reviews())
    with pytest.raises(SystemExit):
        main(["learn", "reviw"])
    assert "there is no task 'reviw'; did you mean reviews?" in capsys.readouterr().err


def test_a_registered_task_is_known_to_commands_of_the_process(csv, capsys):
    register(reviews())
    assert main(["eval", "reviews", "--data", str(csv), "--no-retrieve", "--no-tracking"]) == 1
    assert "no offline expert for this task yet" in capsys.readouterr().err
