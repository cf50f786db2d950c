"""Push and pull: every place gives back what it was given, and what was changed on the way is refused."""

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import fsspec
import pytest
import yaml

from flex_dspy.core.errors import ConfigurationError, LibraryFormatError, RemoteError
from flex_dspy.learning.run_folder import RunFolder
from flex_dspy.learning.version import Version
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.sharing.addresses import Address
from flex_dspy.sharing.exchange import pull, push
from flex_dspy.sharing.provenance import Provenance, provenance_of
from flex_dspy.tracking.tracker import MLflowTracker
from tests.hub_server import hub_server

LESSON = Experience(
    "golden", "Count the complement.", (Rule("P(some) = 1 - P(none)"),), precedents=(Precedent("d-1", "A six?", "1/6"),)
)
LIBRARY = ExperienceLibrary([LESSON, Experience("warning", "Guess.")], task="dice", runs={"r1": 2}, seen=2)
OTHER = ExperienceLibrary([LESSON], task="dice")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared/dice"


def files(tmp_path: Path) -> Path:
    return tmp_path / "shared" / "dice"


def test_what_is_pushed_is_pulled(place: str) -> None:
    stated = push(LIBRARY, place)
    pulled = pull(place, LIBRARY.hash)
    assert pulled.library.to_json() == LIBRARY.to_json()
    assert pulled.manifest == stated
    assert (stated.hash, stated.size, stated.entries) == (LIBRARY.hash, len(LIBRARY.to_json().encode()), 2)
    assert "that you gave" in pulled.checks()
    assert "in the sender's manifest" in pull(place).checks()


def test_a_changed_library_is_refused(place: str, tmp_path: Path) -> None:
    push(LIBRARY, place)
    file = files(tmp_path) / "library.json"
    file.write_text(file.read_text().replace("Guess.", "Guess!"))
    with pytest.raises(LibraryFormatError, match=r"SHA-256 of the file: is .* not the one that was sent"):
        pull(place)


def test_a_library_that_was_changed_with_its_sums_is_refused(place: str, tmp_path: Path) -> None:
    """Who changes the library may write new sums into it, and into the manifest; only the hash tells."""
    push(LIBRARY, place)
    OTHER.save(files(tmp_path) / "library.json")
    with pytest.raises(LibraryFormatError, match="SHA-256"):
        pull(place)
    data = (files(tmp_path) / "library.json").read_bytes()
    manifest = files(tmp_path) / "flex-dspy.json"
    told = json.loads(manifest.read_text()) | {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    manifest.write_text(json.dumps(told))
    with pytest.raises(LibraryFormatError, match="content hash"):
        pull(place)
    manifest.write_text(json.dumps(told | {"hash": OTHER.hash}))
    assert pull(place).library == OTHER  # nothing shows it
    with pytest.raises(LibraryFormatError, match=rf"content hash: is {OTHER.hash[:16]}"):
        pull(place, LIBRARY.hash)


def test_a_manifest_must_be_one(place: str, tmp_path: Path) -> None:
    push(LIBRARY, place)
    (files(tmp_path) / "flex-dspy.json").write_text('{"format": "flex-dspy-share/1", "hash": "abc"}')
    with pytest.raises(LibraryFormatError, match=r"flex-dspy\.json: hash: is no manifest"):
        pull(place)


def test_sizes_are_limited(place: str, tmp_path: Path) -> None:
    push(LIBRARY, place)
    with pytest.raises(RemoteError, match="100 are allowed"):
        pull(place, max_bytes=100)
    (files(tmp_path) / "flex-dspy.json").unlink()
    with pytest.raises(RemoteError, match=r"library\.json: is larger than 100 bytes"):
        pull(place, max_bytes=100)
    (files(tmp_path) / "flex-dspy.json").write_bytes(b" " * 70_000)
    with pytest.raises(RemoteError, match=r"flex-dspy\.json: is larger"):
        pull(place)


def test_the_sum_of_the_file_is_a_hash_too(place: str) -> None:
    stated = push(LIBRARY, place)
    for expected in (stated.sha256, stated.sha256[:16].upper(), stated.hash):
        assert pull(place, expected).is_expected
    with pytest.raises(LibraryFormatError, match="content hash"):
        pull(place, stated.sha256[:-1] + ("0" if stated.sha256[-1] != "0" else "1"))


def test_lessons_that_wait_for_approval_are_not_shared(tmp_path: Path, place: str) -> None:
    """The content hash does not cover them."""
    waiting = LIBRARY.with_waiting([Experience("golden", "Trust me.")])
    assert waiting.hash == LIBRARY.hash
    push(waiting, place)
    assert b"Trust me" not in (files(tmp_path) / "library.json").read_bytes()
    waiting.save(tmp_path / "waiting.json")
    pulled = pull(f"file://{tmp_path}/waiting.json", LIBRARY.hash)
    assert pulled.library.waiting == ()
    assert "1 lessons that wait for approval were left out" in pulled.checks()


def test_a_file_alone_has_no_manifest(tmp_path: Path) -> None:
    LIBRARY.save(tmp_path / "one.json")
    pulled = pull(f"file://{tmp_path}/one.json")
    assert pulled.library == LIBRARY
    assert "no manifest" in pulled.checks()
    with pytest.raises(ConfigurationError, match="name a folder"):
        push(LIBRARY, f"file://{tmp_path}/one.json")
    with pytest.raises(RemoteError, match="is not there"):
        pull(f"file://{tmp_path}/two.json")


def test_another_library_is_not_overwritten_unasked(place: str) -> None:
    push(OTHER, place)
    push(OTHER, place)
    with pytest.raises(ConfigurationError, match=f"another library lies at .*{OTHER.hash[:12]}"):
        push(LIBRARY, place)
    push(LIBRARY, place, overwrite=True)
    assert pull(place).library == LIBRARY


def test_secrets_are_not_pushed(place: str) -> None:
    leaky = ExperienceLibrary([replace(LESSON, id="", method="Use sk-proj-4f9aB2kQ8xW1mN7vT3yR5zLq.")])
    with pytest.raises(ConfigurationError, match="1 places look like secrets"):
        push(leaky, place)
    push(leaky, place, with_secrets=True)
    assert pull(place).library == leaky


@pytest.mark.parametrize("wrong", ["", "abc", "z" * 64, "0" * 15])
def test_a_hash_has_digits(place: str, wrong: str) -> None:
    push(LIBRARY, place)
    if wrong:
        with pytest.raises(ConfigurationError, match="hexadecimal digits"):
            pull(place, wrong)
    assert pull(place, LIBRARY.hash[:16]).is_expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chemist", "is no address"),
        ("simplecache::s3://bucket/x", "is no address"),
        ("nowhere://x", "Protocol not known"),
        ("hf://chemist", "no repository"),
    ],
)
def test_wrong_addresses(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        push(LIBRARY, text, overwrite=True)


def test_a_missing_package_is_named() -> None:
    with patch.dict(sys.modules, {"gcsfs": None}), pytest.raises(ConfigurationError, match=r"gs:// needs .*gcsfs"):
        Address.parse("gs://bucket/x")


def test_addresses_are_shown_without_their_login() -> None:
    assert str(Address.parse("https://bob:hunter2@host/x?key=abc")) == "https://host/x"


# -- the card ----------------------------------------------------------------------------------------------


def test_the_card_says_how_it_was_learned_and_measured(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    data = {
        "training": {"name": "dice-train", "digest": "aa11", "source": "", "size": 2},
        "validation": {"name": "dice-val", "digest": "bb22", "source": "", "size": 50},
    }
    folder.write_note("r1", {"lm": "openai/small", "critic_lm": "openai/large", "api_base": "http://u:pw@host"}, data)
    LIBRARY.save(folder.library)
    numbers = {"accuracy": 0.5, "accuracy_low": 0.366, "accuracy_high": 0.634, "n": 50, "baseline_accuracy": 0.1}
    VersionLog(folder.library, "r1").add(2, LIBRARY, numbers)
    provenance = provenance_of(folder.library, LIBRARY)
    stated = push(LIBRARY, "memory://card", provenance, licence="cc-by-4.0")
    card = fsspec.filesystem("memory").cat_file("/card/README.md").decode()
    for told in ("training: dice-train, 2 examples, digest aa11", "openai/large (critic)", "cc-by-4.0", stated.sha256):
        assert told in card
    assert "accuracy 50.0% [36.6%, 63.4%] (95% interval) on 50 examples; 10.0% without the library" in card
    assert "data dice-val, digest bb22" in card
    assert "host" not in card
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc-by-4.0"
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.5
    assert provenance_of(folder.library, OTHER) == Provenance()


@pytest.mark.slow
def test_the_card_of_a_version_in_mlflow(mlflow_uri: str) -> None:
    tracker = MLflowTracker("shared", tracking_uri=mlflow_uri, registered_name="shared-dice")
    tracker.start({"task": "dice", "actor": "openai/small"})
    numbers = {"accuracy": 0.5, "accuracy_low": 0.366, "accuracy_high": 0.634, "n": 50.0}
    tracker.log_version(Version(LIBRARY, 2, numbers, "dice-val", "bb22"))
    tracker.finish()
    found = provenance_of("shared-dice/1", LIBRARY, mlflow_uri)
    assert found.measured is not None
    assert found.measured.metrics["accuracy"] == 0.5
    assert found.data["validation"] == {"name": "dice-val", "digest": "bb22", "size": 50}
    assert provenance_of("shared-dice/1", OTHER, mlflow_uri) == Provenance()


def test_nothing_can_end_its_place_in_a_card() -> None:
    hostile = ExperienceLibrary([LESSON], task="x |\n---\n# Owned\n<script>`")
    push(hostile, "memory://hostile", licence='mit"\n---\nevil: 1')
    card = fsspec.filesystem("memory").cat_file("/hostile/README.md").decode()
    assert card.count("\n---\n") == 2 - 1
    assert not any(line.startswith("# Owned") for line in card.splitlines())
    assert "<script" not in card
    assert yaml.safe_load(card.split("---\n")[1])["license"].startswith("mit")


# -- the hub, and others over a network ----------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "/sub/folder"])
def test_the_hub(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        address = f"hf://team/dice{folder}"
        push(LIBRARY, address, licence="mit")
        assert hub.private == {"models/team/dice": True}
        [(message, names)] = hub.commits
        assert message == f"Library {LIBRARY.hash[:12]}"
        assert [name.rpartition("/")[2] for name in names] == ["README.md", "flex-dspy.json", "library.json"]
        assert pull(address, LIBRARY.hash).library.to_json() == LIBRARY.to_json()
        with pytest.raises(ConfigurationError, match="another library"):
            push(OTHER, address)
        key = f"models/team/dice{folder}/library.json"
        hub.files[key] = hub.files[key].replace(b"Guess.", b"Guess!")
        with pytest.raises(LibraryFormatError, match="not the one that was sent"):
            pull(address)
        with pytest.raises(RemoteError, match="is not there"):
            pull("hf://team/other")


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        push(LIBRARY, "hf://datasets/team/dice", is_public=True)
        assert hub.private == {"datasets/team/dice": False}
        assert pull("hf://datasets/team/dice").library == LIBRARY


def test_a_web_server_can_be_read_and_not_written() -> None:
    with hub_server() as hub:
        hub.private["models/team/dice"] = False
        hub.files["models/team/dice/library.json"] = LIBRARY.to_json().encode()
        address = f"{hub.url}/team/dice/resolve/main/library.json"
        assert pull(address, LIBRARY.hash).library == LIBRARY
        with pytest.raises(RemoteError, match="cannot write there"):
            push(LIBRARY, f"{hub.url}/team/dice/resolve/main", overwrite=True)


@pytest.mark.slow
def test_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.mkdir("flex")
        push(LIBRARY, "s3://flex/team/dice")
        assert pull("s3://flex/team/dice", LIBRARY.hash).library.to_json() == LIBRARY.to_json()
        changed = system.cat_file("flex/team/dice/library.json").replace(b"Guess.", b"Guess!")
        system.pipe_file("flex/team/dice/library.json", changed)
        with pytest.raises(LibraryFormatError, match="not the one that was sent"):
            pull("s3://flex/team/dice", LIBRARY.hash)
        with pytest.raises(RemoteError):
            push(LIBRARY, "s3://missing-bucket/dice")
        assert system.ls("") == ["flex"]  # no bucket is made
    finally:
        moto.stop()
        assert os.environ["AWS_ENDPOINT_URL"]
