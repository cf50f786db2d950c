"""Which texts lose what, and that ordinary ones lose nothing."""

import gzip
import os
from pathlib import Path

import pytest

from flex_dspy.core.secrets import mask_secrets, redact, redact_error, redact_url, redact_values, url_secrets

SECRET = "hunter2/Q"
ROOT = Path(__file__).parents[3]

KEYS = [
    "sk-7Qx1ZrT9vLw3KdYb5NfHs8Ug",
    "sk-ant-api03-7Qx1ZrT9vLw3-KdYb5NfHs8Ug_AA",
    "sk-proj-7Qx1ZrT9vLw3KdYb5NfHs8Ug2Ma4",
    "gsk_7Qx1ZrT9vLw3KdYb5NfHs8Ug2Ma4Ec6",
    "xai-7Qx1ZrT9vLw3KdYb5NfHs8Ug2Ma4Ec6",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "AIzaSyD7Qx1ZrT9vLw3KdYb5NfHs8Ug2Ma4Ec",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
    "ghp_7Qx1ZrT9vLw3KdYb5NfHs8Ug2Ma4Ec6Pj0Rt",
    "gho_7Qx1ZrT9vLw3KdYb5NfHs8Ug2Ma4Ec6Pj0Rt",
    "github_pat_11ABCDEFG0abcdefghijkl_mnopqrst",
    "glpat-7Qx1ZrT9vLw3KdYb5NfH",
    "xoxb-123456789012-7Qx1ZrT9vLw3",
    "xoxp-123456789012-7Qx1ZrT9vLw3",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
]
AROUND = ["{}", "key {}.", "'{}'", '{{"key": "{}"}}', "a\n{}\nb", "({})", "Incorrect key: {}, see the page", "={}"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("around", AROUND)
def test_a_key_is_known_by_its_form(key: str, around: str) -> None:
    text = around.format(key)
    for mask in (mask_secrets, redact):
        assert mask(text) == around.format("(withheld)")


@pytest.mark.parametrize(
    "text",
    [
        f"api_key={SECRET}", f"OPENAI_API_KEY={SECRET}", f"token={SECRET}", f"sig={SECRET}", f"password={SECRET}",
        f"Authorization: Bearer {SECRET}", f"authorization: Basic {SECRET}", "Bearer 7Qx1ZrT9vLw3hunter2/Q",
        f'{{"api_key": "{SECRET}"}}', f"{{'password': '{SECRET}'}}", f"x-api-key: {SECRET}", f"client_secret={SECRET}",
        f"https://host/v1?key={SECRET}&b=1", f"/v1?a=1&api_key={SECRET}", f"https://host/#access_token={SECRET}",
        f"https://host/v1?X-Amz-Signature={SECRET}", f"https://host/v1?sv=1&sig={SECRET} and more",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)  # fmt: skip
def test_a_secret_is_known_by_what_stands_before_it(text: str) -> None:
    assert "hunter2" not in mask_secrets(text)
    assert "hunter2" not in redact(text)
    assert "(withheld)" in mask_secrets(text)


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("http://bob:hunter2@127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://bob@host/v1", "http://host/v1"),
        ("http://:hunter2@host", "http://host"),
        ("http://bob:hunter2@[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://bob:hun@ter2@host/v1", "http://host/v1"),
        ("http://bob:hun/ter2@host/v1", "http://host/v1"),
        ("http://bob:hun?ter2@host/v1", "http://host/v1"),
        ("http://bob:hun#ter2@host:1/v1", "http://host:1/v1"),
        ("http://host/v1?api_key=hunter2", "http://host/v1"),
        ("http://host/v1?anything=hunter2#hunter2", "http://host/v1"),
        ("postgresql+psycopg://me:hunter2@host/db?sslmode=require", "postgresql+psycopg://host/db"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:////tmp/mlflow.db?timeout=5", "sqlite:////tmp/mlflow.db"),
        ("s3://bucket/folder@2/file", "s3://bucket/folder@2/file"),
        ("chemist@best", "chemist@best"),
        ("openai/gsm8k:main@train", "openai/gsm8k:main@train"),
        ("", ""),
    ],
)
def test_an_address_keeps_its_place_alone(address: str, plain: str) -> None:
    assert redact_url(address) == plain
    assert redact(f"see {address}, or not.") == f"see {plain}, or not."


def test_a_text_keeps_the_addresses_that_hold_no_secret() -> None:
    text = "https://host/#/experiments?workflowType=machine_learning and http://h/a?q=cats&page=2#part"
    assert mask_secrets(text) == text
    assert mask_secrets("see http://bob:hunter2@h/a?q=cats.") == "see http://h/a?q=cats."


def test_what_an_address_holds_is_known() -> None:
    secrets = ["hun%2Fter2", "hun/ter2", "abcd123", "efgh"]
    assert url_secrets("http://bob:hun%2Fter2@host/v1?x=abcd123&stream=true#token=efgh") == secrets
    assert url_secrets("http://host/v1") == url_secrets(None) == url_secrets("offline") == []
    assert redact("refused: abcdef", ["abcdef"]) == "refused: (withheld)"


@pytest.mark.parametrize("name", ["API_KEY", "OPENAI_API_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "MY_SECRET"])
def test_the_value_of_a_variable_that_holds_a_key_is_a_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "correct horse 7 battery")
    assert mask_secrets("said: correct horse 7 battery!") == "said: (withheld)!"
    for ordinary in ("none", "test-key", "EMPTY", "1234567"):  # what servers are given that ask for no key
        monkeypatch.setenv(name, ordinary)
        assert mask_secrets(f"said: {ordinary}!") == f"said: {ordinary}!"


def test_options_are_redacted_inside_out() -> None:
    options = {
        "api_base": "http://a:b@h/v1?c=d",
        "price": [("m", [1.0])],
        "api_key": "x",
        "token": None,
        "n": 3,
        "max_tokens": [[None, 4000]],
    }
    assert redact_values(options) == {
        "api_base": "http://h/v1", "price": [["m", [1.0]]], "api_key": "(withheld)", "token": None, "n": 3,
        "max_tokens": [[None, 4000]],
    }  # fmt: skip


def test_an_error_and_its_causes_are_redacted() -> None:
    class RefusedError(Exception):
        message = "the key hunter2-long"

    error = RefusedError(f"at http://bob:{SECRET}@host")
    error.__cause__ = ValueError("hunter2-long", 3)
    error.__cause__.__context__ = KeyError("token=hunter2-long")
    redact_error(error, ["hunter2-long"])
    assert "hunter2" not in str((error, error.message, error.__cause__, error.__cause__.__context__))
    assert error.__cause__.args[1] == 3


ORDINARY = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "[CH3:1][C@@H:2]([OH:3])C(=O)[NH:4][CH3:5]>>[CH3:1][C@@H:2]([OH:3])C(=O)O.[NH2:4][CH3:5]",
    "([*:1][C@H:2]=[N+:3]=[N-:4])>>[*:1]", "InChI=1S/C8H9NO2/c1-6(10)9-7-2-4-8(11)5-3-7/h2-5,11H,1H3,(H,9,10)",
    "max_tokens=4000, token_budget=9, sig=0.05, p=0.01, key=product, token=None",
    "Let key = 3 and token = 5. The secret: always check the parity. Password: how many are there?",
    "for token in text.split(): count[token] += 1; token=text.split()[0]", "flex-dspy-journal/1 US20160123456A1",
    "task-0123456789abcdef risk-adjusted-returns-of-2020-bonds disk-1234567890123456", "a:b@c 3:4@5",
    "bearer of good news, bearer certificates; the authorization of the board", "dGhpcyBpcyBub3QgYSBrZXk=",
    "flex-uspto50k@best sqlite:///mlflow.db models:/chemist/3 user@example.org ratio 3:1", "sk-learn, sk-1",
]  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert mask_secrets(text) == text
    assert redact(text) == text


@pytest.mark.parametrize("folder", ["data", "exps", "signatures", "programs"])
def test_nothing_that_ships_is_masked(folder: str) -> None:
    files = [path for path in (ROOT / folder).iterdir() if path.suffix in (".csv", ".jsonl", ".json", ".py", ".md")]
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert mask_secrets(text) == text, path


@pytest.mark.parametrize(
    "piece",
    [
        "C.C.",
        "a_b-",
        "x",
        "http://",
        "sk-",
        "eyJ-",
        "[CH3:1][C@:2]",
        "?a_",
        "bearer ",
        "token=",
        "password:",
        ":a",
        "a:/",
    ],
)
def test_time_grows_with_the_length_alone(piece: str) -> None:
    """A pattern that looks ever further back or ahead would take minutes here."""
    text = piece * (200_000 // len(piece))
    assert len(mask_secrets(f"{text}(")) <= 3 * len(text)


REAL_DATA = Path(os.environ.get("FLEX_DSPY_REAL_DATA", "no such folder"))


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA.exists(), reason="FLEX_DSPY_REAL_DATA names no folder of real data sets")
def test_nothing_in_real_data_is_masked() -> None:
    for path in (path for path in sorted(REAL_DATA.rglob("*")) if path.suffix in (".csv", ".jsonl", ".json", ".gz")):
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", errors="replace") as file:
            text = file.read(2_000_000)
        assert mask_secrets(text) == text, path
