"""What a command prints shows what is there: nothing in a library or an error reaches the terminal as a command."""

import io
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from tqdm import tqdm

from flex_dspy.cli import main
from flex_dspy.core.terminal import SafeStream, printable, safe_streams, visible
from flex_dspy.display.libraries import library_html
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore

ESC, BELL = "\x1b", "\x07"
HOSTILE = f"a{ESC}[2Jb{ESC}]52;c;cm0gLXJm{BELL}c\x00d\u202eevil\u2066\u2069e\u200bf\x9b31mg\x7fh\ri\u2028j\x85k"
KEY = "sk-7Qx1ZrT9vLw3KdYb5NfHs8Ug"
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def unseen(text: str) -> set[str]:
    return {char for char in text if unicodedata.category(char) in UNSEEN} - {"\n", "\t"}


def test_every_character_that_is_not_seen_is_written_out() -> None:
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        changed = unicodedata.category(char) in UNSEEN and char not in "\n\t"
        assert (visible(char) != char) == changed, hex(code)
        if changed:
            assert json.loads(f'"{visible(char)}"') == char
    assert visible("\ud83d \udc80") == "\\ud83d \\udc80"


def test_ordinary_text_stays() -> None:
    for text in ("Grüße, 你好, שלום, ½ ∑ 😀\n\tC[C@H](N)C", "", "plain"):
        assert printable(text) == text


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A library whose every text is hostile."""
    text = f"{HOSTILE} {KEY}"
    lesson = Experience("golden", text, (Rule(text, (text,)),), category=text, precedents=(Precedent("x", text, text),))
    store = LibraryStore(tmp_path / "library.json", task="sums")
    store.commit([Commit("run", 1, (Insert(lesson),))])
    store.checkpoint()
    ExperienceLibrary(task="sums").save(tmp_path / "empty.json")
    return tmp_path / "library.json"


@pytest.mark.parametrize(
    "command", ["show", "stats", "show --json", "stats --json", "diff", "diff --json", "search", "search --json"]
)
@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_library_is_shown_and_not_obeyed(hostile, capsys, monkeypatch, command, is_terminal) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    action, *options = command.split()
    first = [str(hostile.with_name("empty.json"))] if action == "diff" else []
    further = [HOSTILE.replace("\x00", "")] if action == "search" else []
    assert main(["library", action, *first, str(hostile), *further, *options]) == 0
    out = capsys.readouterr().out
    own = out
    for code in {"diff": ("32", "0"), "stats": ("1", "0")}.get(command, ()) if is_terminal else ():
        own = own.replace(f"\x1b[{code}m", "")
    assert unseen(own) == set()
    assert "\\u001b" in out
    assert "\\u202e" in out
    assert KEY not in out
    if options:
        json.loads(out)


def test_an_error_is_shown_and_not_obeyed(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["learn", f"no-task{HOSTILE}"])
    assert main(["library", "show", "http://bob:hunter2@host/no\x1b[2J-such"]) == 1
    said = capsys.readouterr().err
    assert unseen(said) == set()
    assert "hunter2" not in said
    assert "\\u001b" in said


def test_a_warning_is_shown_and_not_obeyed() -> None:
    """In a process of its own, as only there the command's own handler is used."""
    program = (
        "import logging, sys; from flex_dspy import cli; from flex_dspy.commands.actions import rescore\n"
        "def run(*arguments, as_json):\n"
        "    logging.getLogger('flex_dspy.x').warning('%s', sys.argv[1])\n"
        "    raise RuntimeError(sys.argv[1])\n"
        "rescore.run = run; sys.exit(cli.main(['rescore', 'x', '--metric', 'y']))"
    )
    text = f"{HOSTILE.replace(chr(0), '')} {KEY}"
    done = subprocess.run([sys.executable, "-c", program, text], capture_output=True, text=True)
    assert done.returncode == 1
    assert "WARNING" in done.stderr
    assert "Traceback" in done.stderr
    assert unseen(done.stderr) == set()
    assert KEY not in done.stderr


def test_a_progress_bar_still_moves() -> None:
    plain, wrapped = io.StringIO(), io.StringIO()
    for file in (plain, SafeStream(wrapped, has_progress=True)):
        with tqdm(total=2, file=file, position=1, bar_format="{desc}{n}", desc="x", mininterval=0) as bar:
            bar.update()
            bar.update()
    assert wrapped.getvalue() == plain.getvalue()
    assert "\x1b[A" in plain.getvalue()
    stream = SafeStream(wrapped)  # on standard output there are none
    stream.write("\rx")
    assert wrapped.getvalue().endswith("\\rx")


def test_what_a_terminal_has_no_bytes_for_is_written_out() -> None:
    raw = io.BytesIO()
    stream = SafeStream(io.TextIOWrapper(raw, "ascii"))
    stream.writelines(["é → ", "\ud800\n"])
    stream.flush()
    assert raw.getvalue() == b"\\xe9 \\u2192 \\ud800\n"
    assert stream.writable()


def test_streams_are_put_back(capsys) -> None:
    before = sys.stdout, sys.stderr
    with safe_streams():
        assert sys.stdout is not before[0]
    with pytest.raises(KeyError), safe_streams():
        raise KeyError
    assert (sys.stdout, sys.stderr) == before
    with safe_streams(is_protocol=True):
        assert sys.stdout is before[0]


def test_a_page_is_not_turned_around() -> None:
    lesson = Experience("golden", HOSTILE + "<script>", (Rule(HOSTILE),), category=HOSTILE)
    page = library_html(ExperienceLibrary([lesson], task="sums"), title=HOSTILE)
    assert unseen(page) == set()
    assert "<script>" not in page


def test_the_tests_find_what_they_look_for() -> None:
    assert len(unseen(HOSTILE)) == 12


def test_a_stream_that_the_process_was_started_without_is_no_error(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    with safe_streams():
        print("said to nobody", flush=True)
        print("neither this", file=sys.stderr)
        assert not sys.stdout.isatty()
