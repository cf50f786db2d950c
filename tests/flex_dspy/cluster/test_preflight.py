"""What is said before the first call: no cluster, no workers, other versions, no key."""

import pytest

from flex_dspy import language_model
from flex_dspy.cli import main
from flex_dspy.cluster import preflight
from flex_dspy.cluster.connection import connect
from flex_dspy.core.errors import ConfigurationError


class Workers:
    """A client whose workers reply what a test says."""

    def __init__(self, **replies):
        self.replies = replies
        self.asked = []

    def run(self, function, *arguments, on_error="raise"):
        self.asked.append((function, arguments))
        return self.replies


def test_workers_with_the_same_versions_are_taken():
    preflight.check_workers(Workers(first=preflight.versions(), second=preflight.versions()))


def test_each_difference_is_named():
    other = {**preflight.versions(), "rdkit": "2020.1", "dspy": "none"}
    with pytest.raises(ConfigurationError) as caught:
        preflight.check_workers(Workers(first=preflight.versions(), second=other, third=ImportError("no flex_dspy")))
    message = str(caught.value)
    assert "first" not in message
    for part in (
        "second has rdkit 2020.1",
        "second has dspy none",
        "third cannot import flex_dspy.cluster: no flex_dspy",
    ):
        assert part in message


def test_a_cluster_without_workers_is_refused():
    with pytest.raises(ConfigurationError, match="no workers"):
        preflight.check_workers(Workers())


def test_a_worker_without_the_key_that_is_here_is_named_and_the_key_is_not(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted0123456789abcdef")
    workers = Workers(first=[], second=[("API_KEY", "OPENAI_API_KEY")])
    with pytest.raises(ConfigurationError, match="second has no key: set API_KEY or OPENAI_API_KEY") as caught:
        preflight.check_models(workers, [language_model("openai/test"), language_model("offline/chemist")])
    assert "planted" not in f"{caught.value}{workers.asked}"
    assert preflight.missing_keys([("API_KEY", "OPENAI_API_KEY"), ("NO_KEY",)]) == [("NO_KEY",)]


def test_models_that_need_no_key_ask_nothing():
    workers = Workers()
    preflight.check_models(workers, [language_model("offline/chemist"), language_model("openai/test")])
    assert workers.asked == []


@pytest.mark.parametrize("address", ["local:0", "local:many", "head"])
def test_an_address_that_is_none_is_said(address):
    with pytest.raises(ConfigurationError, match="is no cluster: give an address such as tcp://head:8786, or local:N"):
        connect(address, 4)


def test_no_address_at_all_is_said(monkeypatch):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(ConfigurationError, match="set DASK_SCHEDULER_ADDRESS"):
        connect(None, 4)


def test_an_address_where_nobody_answers_is_said(monkeypatch):
    monkeypatch.setattr("flex_dspy.cluster.connection._TIMEOUT", "0.2s")
    with pytest.raises(ConfigurationError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        connect("tcp://127.0.0.1:9", 4)


def test_the_command_takes_the_address_from_the_environment(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "nowhere")
    assert main(["learn", "aime", "--train-samples", "2", "--no-tracking", "--out", str(tmp_path / "run")]) == 1
    assert "'nowhere' is no cluster" in capsys.readouterr().err


def test_a_missing_package_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("flex_dspy.commands.actions.clusters.importlib.util.find_spec", lambda name: None)
    command = ["eval", "aime", "--no-retrieve", "--samples", "2", "--no-tracking", "--cluster", "local:2"]
    assert main([*command, "--out", str(tmp_path)]) == 1
    assert "pip install 'flex-dspy[cluster]'" in capsys.readouterr().err
