"""The file that says who may use a server, and what it keeps to itself."""

import asyncio
import os
from pathlib import Path

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.serving.tokens import read_clients

ONE, TWO, THREE = "first-token-0123456789", "second_token_0123456789", "third~token+0123456789=="


def token_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return path


def named(path: Path, token: str) -> str | None:
    found = asyncio.run(read_clients(path).verify_token(token))
    return None if found is None else found.client_id


def test_each_line_is_a_client(tmp_path: Path) -> None:
    path = token_file(tmp_path, f"# agents\n\nalice:{ONE}\n  {TWO}  \nalice:{THREE}\n")
    assert [named(path, token) for token in (ONE, TWO, THREE)] == ["alice", "client-4", "alice"]
    assert [named(path, token) for token in ("", ONE[:-1], ONE + "x", f"alice:{ONE}", "alice", "é\ud800")] == [None] * 6


def test_the_token_goes_nowhere(tmp_path: Path) -> None:
    clients = read_clients(token_file(tmp_path, f"alice:{ONE}\n"))
    found = asyncio.run(clients.verify_token(ONE))
    assert found is not None
    assert ONE not in repr(clients) + repr(vars(clients)) + repr(found) + found.model_dump_json()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no token; make one"),
        (f"{ONE}\nshort\n", "line 2: must be TOKEN or NAME:TOKEN"),
        (f"a name:{ONE}\n", "line 1: must be"),
        ("alice:a token with blanks in it\n", "line 1: must be"),
        (f"alice:{ONE}\nbob:{ONE}\n", "line 2: the token is that of another client"),
    ],
)
def test_a_line_that_is_no_client_is_refused_without_showing_it(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_clients(token_file(tmp_path, text))
    assert not any(secret in str(caught.value) for secret in (ONE, "short", "blanks"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize(("mode", "refused"), [(0o600, False), (0o400, False), (0o640, False), (0o644, True)])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int, refused: bool) -> None:
    path = token_file(tmp_path, f"alice:{ONE}\n", mode)
    if refused:
        with pytest.raises(ConfigurationError, match="others may read or change the tokens: chmod 600"):
            read_clients(path)
    else:
        assert named(path, ONE) == "alice"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the tokens cannot be read: No such file"):
        read_clients(tmp_path / "missing")
    (tmp_path / "tokens").write_bytes(b"\xff\xfe" + ONE.encode())
    (tmp_path / "tokens").chmod(0o600)
    with pytest.raises(ConfigurationError, match="no UTF-8 text"):
        read_clients(tmp_path / "tokens")
