"""The commands with a language model behind them: the scripted server."""

import json
from pathlib import Path

import dspy
import pytest

from flex_dspy.cli import main
from flex_dspy.libraries.library import ExperienceLibrary
from tests.llm_server import LLMServer
from tests.scripted import problems, student, write

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "none")
    monkeypatch.chdir(tmp_path)
    dspy.configure_cache(disk_cache_dir=str(tmp_path / "cache"))
    with LLMServer(student) as running:
        yield running


@pytest.fixture
def learned(server, tmp_path):
    """The folder of a run on eight problems."""
    assert learn(server, "--out", str(tmp_path / "run")) == 0
    return tmp_path / "run"


def learn(server: LLMServer, *more: str) -> int:
    train, val = write(problems(8), Path("train.jsonl")), write(problems(6, start=90), Path("val.jsonl"))
    command = ["learn", "aime", "--train", str(train), "--val", str(val), "--checkpoint-every", "8", "--quiet"]
    return main([*command, *model(server), "--no-tracking", *more])


def model(server: LLMServer) -> list[str]:
    return ["--lm", "openai/test", "--api-base", server.url]


def evaluate(server: LLMServer, *more: str) -> int:
    data = str(write(problems(6, start=90), Path("val.jsonl")))
    return main(["eval", "aime", "--data", data, "--quiet", *model(server), *more])


def test_a_run_says_what_each_role_took(server, learned, capsys) -> None:
    assert learn(server, "--out", str(learned)) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    usage = server.usage
    assert int(lines["critic"][1].replace(",", "")) == usage["critic"].calls == 8
    assert int(lines["all"][2].replace(",", "")) == usage["all"].prompt_tokens
    assert {"actor", "verifier", "validation"} <= lines.keys()


def test_a_dry_run_asks_nothing_and_leaves_nothing(server, tmp_path, capsys) -> None:
    assert learn(server, "--dry-run", "--price", "openai/test=1,10") == 0
    said = capsys.readouterr().out
    assert "Nothing was asked" in said
    row = next(line for line in said.splitlines() if line.startswith("critic")).split()
    assert row[2:5] == ["8", "to", "24"]  # a lesson an example at least, and one each of three rollouts at most
    assert not server.requests
    assert not (tmp_path / "exps").exists()


def test_a_spent_budget_has_an_exit_code_of_its_own_and_the_same_command_goes_on(server, tmp_path, capsys) -> None:
    out = str(tmp_path / "run")
    assert learn(server, "--out", out, "--budget-tokens", "12000") == 3
    assert "--budget-tokens" in capsys.readouterr().err
    ExperienceLibrary.load(tmp_path / "run" / "library.json")
    assert learn(server, "--out", out, "--budget-tokens", "2000000") == 0
    assert ExperienceLibrary.load(tmp_path / "run" / "library.json").seen == 8


def test_a_budget_in_money_needs_a_price(server, capsys) -> None:
    assert learn(server, "--budget-usd", "1") == 1
    assert "--price" in capsys.readouterr().err
    assert not server.requests


def test_samples_give_pass_at_k(server, learned, tmp_path, capsys) -> None:
    out, library = tmp_path / "eval", str(learned / "library.json")
    assert evaluate(server, "--library", library, "--pass-at", "4", "--no-baseline", "--out", str(out)) == 0
    numbers = json.loads((out / "with-library" / "metrics.json").read_text())
    assert {"accuracy", "pass_at_2", "pass_at_4", "maj_at_4", "samples"} <= numbers.keys()
    assert len((out / "with-library" / "records.jsonl").read_text().splitlines()) == 6 * 4
    assert "pass_at_4" in capsys.readouterr().out


def test_the_same_tokens_without_a_library_are_more_samples(server, learned, capsys) -> None:
    library = str(learned / "library.json")
    assert evaluate(server, "--library", library, "--equal-compute", "--no-cache", "--out", "eval") == 0
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if "samples for as many tokens" in line)
    assert int(row.split(" samples")[0].split()[-1]) > 1


def test_records_are_judged_anew_without_a_model(server, learned, tmp_path, capsys) -> None:
    library = str(learned / "library.json")
    assert evaluate(server, "--library", library, "--no-baseline", "--out", "eval") == 0
    asked = len(server.requests)
    capsys.readouterr()
    assert main(["rescore", "eval/with-library", "--metric", "tests.scripted:right"]) == 0
    assert len(server.requests) == asked
    assert "0 became right, 0 became wrong" in capsys.readouterr().out
    assert main(["rescore", "eval/with-library", "--metric", "tests.scripted:right", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["before"]["accuracy"] == numbers["after"]["accuracy"]
    assert (tmp_path / "eval" / "with-library" / "records.rescored.jsonl").exists()
    assert main(["rescore", "eval/with-library", "--metric", "no.such:metric"]) == 1


def test_what_was_learned_from_is_refused_however_it_is_written(server, learned, tmp_path, capsys) -> None:
    example = problems(1)[0]
    row = {"problem": example.problem.replace("what", " WHAT "), "answer": example.answer}
    (tmp_path / "again.jsonl").write_text(json.dumps(row) + "\n")
    library = ["--library", str(learned / "library.json")]
    assert main(["eval", "aime", "--data", "again.jsonl", "--quiet", *model(server), *library]) == 1
    assert "--overlap" in capsys.readouterr().err


@pytest.mark.parametrize(
    "actor",
    [
        ["--actor", "direct"],
        ["--actor", "icl", "--shots", "3", "--train", "train.jsonl"],
        ["--actor", "direct", "--experience", "none"],
    ],
)
def test_actors_are_one_option(server, learned, actor) -> None:
    before = len(server.requests)
    assert evaluate(server, "--library", str(learned / "library.json"), *actor, "--no-baseline", "--out", "eval") == 0
    asked = server.requests[before:]
    assert len(asked) == 6
    assert all("reasoning" not in request.messages[-1]["content"].partition("Respond")[2] for request in asked)
    shown = [request.inputs["experiences"] for request in asked]
    assert all((text == "(no experience yet)") == ("none" in actor) for text in shown)


def test_recall_needs_an_actor_that_calls_tools(server, capsys) -> None:
    assert evaluate(server, "--no-retrieve") == 0
    assert learn(server, "--experience", "recall") == 1
    assert "react" in capsys.readouterr().err


def test_a_role_takes_its_instructions_temperature_and_cap_from_the_command(server, tmp_path) -> None:
    (tmp_path / "critic.txt").write_text("Write one lesson in plain words.")
    own = ["--instructions", "critic=critic.txt", "--temperature", "critic=0.3", "--max-tokens", "700"]
    assert learn(server, *own, "--max-tokens", "critic=900", "--out", "run") == 0
    critic, actor = server.of("critic")[0], server.of("actor")[0]
    assert "Write one lesson in plain words." in critic.messages[0]["content"]
    assert (critic.body["temperature"], critic.body["max_completion_tokens"]) == (0.3, 900)
    assert (actor.body.get("temperature"), actor.body["max_completion_tokens"]) == (None, 700)


def test_doctor_says_which_key_and_that_the_answer_is_no_lesson(server, capsys) -> None:
    server.script = lambda role, inputs, messages: "hello"
    assert main(["doctor", *model(server)]) == 1
    said = capsys.readouterr().out
    assert "ok    key" in said
    assert "API_KEY" in said
    assert "ok    answer" in said
    assert "FAIL  lesson" in said or "FAIL  structured" in said
    assert main(["doctor", *model(server), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert {finding["ok"] for finding in findings if "key" in finding["check"]} == {True}
    assert False in {finding["ok"] for finding in findings}
