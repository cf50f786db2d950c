"""What the doctor finds between here and a model."""

import asyncio

import dspy
import pytest

from flex_dspy.models.doctor import MOST_CALLS, Finding, diagnose, report
from flex_dspy.models.lm import language_model
from flex_dspy.signatures.critic import Lesson, StudyWorkedAnswer
from tests.llm_faults import Fault
from tests.llm_server import LLMServer

pytestmark = pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class:UserWarning")

LESSON = Lesson(category="sums", method="add the ones first", rules=[])


def helpful(role, inputs, messages):
    if role == "critic":
        return {"lesson": LESSON.model_dump()}
    return LESSON.model_dump_json() if "as JSON" in messages[-1]["content"] else "ready"


@pytest.fixture(autouse=True)
def _no_loop_left_open():
    """litellm takes the thread's event loop, which would be made for it, and closed by nobody."""
    asyncio.set_event_loop(None)


@pytest.fixture
def server(llm_server, monkeypatch) -> LLMServer:
    monkeypatch.setenv("API_KEY", "very-secret")
    llm_server.script = helpful
    return llm_server


def found(lm: dspy.LM) -> dict[str, Finding]:
    findings = diagnose({"actor": lm}, StudyWorkedAnswer)
    assert "very-secret" not in report(findings)
    return {finding.check: finding for finding in findings}


@pytest.mark.parametrize("backend", ["native", "litellm"])
def test_a_model_in_good_health(server, backend):
    checks = found(language_model("openai/m", api_base=server.url, backend=backend))
    assert [check for check, finding in checks.items() if finding.ok is False] == []
    assert checks["key"].text.startswith("from the variable API_KEY")
    assert checks["address"].text == server.url
    assert checks["name"].ok
    assert checks["connection"].ok
    assert checks["http"].ok
    for check in ("answer", "latency", "usage", "lesson", "lesson as JSON", "JSON schema"):
        assert checks[check].ok, checks[check]
    assert "--price MODEL=PROMPT,COMPLETION" in checks["price"].text
    assert len(server.requests) <= MOST_CALLS
    assert checks["cost"].text.startswith(f"these checks took {len(server.requests)} calls")


def test_a_model_is_checked_once_for_all_its_roles(server):
    lm = language_model("openai/m", api_base=server.url)
    findings = diagnose({"actor": lm, "critic": lm, "updater": language_model("offline/chemist")}, StudyWorkedAnswer)
    assert [finding.text for finding in findings if finding.check == "model"] == [
        "openai/m, for actor, critic",
        "offline/chemist, for updater",
    ]
    assert findings[-1] == Finding("offline", True, "an offline expert: it needs no key, no network and no money")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault(401, "Incorrect API key: very-secret"), "the key is refused"),
        (Fault(402), "no credit"),
        (Fault(404), "check the model's name"),
        (Fault(429), "--rpm and --tpm"),
        (Fault(400, "no such field"), "no such field"),
        (Fault(500, "out of order"), "out of order"),
    ],
)
def test_a_model_that_does_not_answer(server, fault, text):
    server.script = lambda *_: fault
    checks = found(language_model("openai/m", api_base=server.url))
    assert checks["answer"].ok is False
    assert text in checks["answer"].text
    assert "lesson" not in checks
    assert len(server.requests) == 1


def test_settings_that_the_provider_refuses(server):
    def script(role, inputs, messages):
        strict = server.requests[-1].body.get("temperature") is not None
        return Fault(400, "temperature does not support 0.2 with this model") if strict else "ready"

    server.script = script
    checks = found(language_model("openai/m", api_base=server.url, temperature=0.2))
    assert checks["answer"].ok is False
    assert "it answers without temperature: leave --temperature out" in checks["answer"].text


def test_a_model_that_is_too_weak(server):
    server.script = lambda *_: "ready"
    server.faults = type("Always", (), {"draw": staticmethod(lambda digest, times: "no usage")})()
    checks = found(language_model("openai/m", api_base=server.url))
    assert checks["usage"].ok is False
    assert checks["lesson"].ok is False
    assert "take a stronger model" in checks["lesson"].text
    assert checks["JSON schema"].ok is None


def test_no_key(server, monkeypatch):
    monkeypatch.delenv("API_KEY")
    checks = found(language_model("openai/m", api_base=server.url))
    assert checks["key"] == Finding(
        "key", False, "there is none: set OPENAI_API_KEY, or API_KEY (any word, where the server asks for none)"
    )
    assert "set OPENAI_API_KEY" in checks["answer"].text
    monkeypatch.setenv("OPENAI_API_KEY", "own")
    assert found(language_model("openai/m", api_base=server.url))["key"].text == "from the variable OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("address", "check"),
    [("http://no-such-host.invalid/v1", "name"), ("http://127.0.0.1:9/v1", "connection")],
)
def test_an_address_where_nobody_is(address, check, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    checks = found(language_model("openai/m", api_base=address))
    assert checks[check].ok is False
    assert checks["answer"].ok is False


def test_report():
    findings = [Finding("key", True, "there"), Finding("window", None, "not known"), Finding("x", False, "broken")]
    assert report(findings).splitlines() == ["ok    key     there", "-     window  not known", "FAIL  x       broken"]
