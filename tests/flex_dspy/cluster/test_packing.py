"""What is sent to workers: programs and models, and never a key."""

import threading

import dspy
import pytest

from flex_dspy.cluster.packing import Keys, expert_engine, pack, unpack
from flex_dspy.cluster.shared_limits import SharedLimits
from flex_dspy.cluster.worker_ledger import WorkerLedger
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.sampling import SampleCall, Sampler
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.followed import FollowedFile
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.limits import Limits
from flex_dspy.models.lm import language_model
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.equip import equip
from flex_dspy.search.retrieval import retrievers
from tests.flex_dspy.cluster.fake_workers import FakeWorkers
from tests.flex_dspy.learning.scripted_roles import study

KEY = "sk-planted0123456789abcdef"


def right(example, prediction):
    return 1.0


def call_of(model, **details):
    program = dspy.Predict("problem -> answer")
    program.set_lm(model)
    return SampleCall(Sampler(right, ledger=Ledger(budget_tokens=100), **details), program, 0)


def test_a_key_from_the_environment_stays_here_and_is_found_again_there(monkeypatch):
    monkeypatch.setenv("API_KEY", KEY)
    packed = pack(call_of(language_model("openai/test")), Keys("driver"))
    assert KEY.encode() not in packed.content
    monkeypatch.setenv("API_KEY", "sk-of-the-worker-0123456789")
    call, _ = unpack(packed.content)
    assert call.program.lm.kwargs["api_key"] == "sk-of-the-worker-0123456789"


@pytest.mark.parametrize(
    "settings",
    [{"api_key": KEY}, {"extra_headers": {"Authorization": f"Bearer {KEY}"}}, {"api_base": f"http://me:{KEY}@host/v1"}],
)
def test_a_model_that_holds_a_key_is_refused(settings):
    with pytest.raises(ConfigurationError, match="environment of the workers") as caught:
        pack(call_of(dspy.LM("openai/test", **settings)), Keys("driver"))
    assert KEY not in str(caught.value)


def test_a_key_in_the_settings_of_dspy_is_refused():
    with dspy.context(lm=dspy.LM("openai/test", api_key=KEY)), pytest.raises(ConfigurationError, match="api_key"):
        pack(call_of(language_model("offline/chemist")), Keys("driver"))


def test_a_key_in_the_program_itself_is_refused(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    call = call_of(language_model("openai/test"))
    call.program.note = f"ask with {KEY}"
    with pytest.raises(ConfigurationError, match="holds the key of openai/test") as caught:
        pack(call, Keys("driver"))
    assert KEY not in str(caught.value)


def test_no_key_is_in_any_byte_of_a_run(monkeypatch):
    monkeypatch.setenv("API_KEY", KEY)
    workers = FakeWorkers()
    with dspy.context(lm=language_model("openai/test")):
        study(12, executor=workers)
    assert len(workers.sent) > 20
    assert not any(KEY.encode() in message for message in workers.sent)


def test_ledgers_limits_and_experts_are_replaced():
    limits = Limits(requests_per_minute=30)
    call = call_of(language_model("openai/test", limits=limits))
    packed = pack((call, limits, language_model("offline/chemist")), Keys("driver"))
    (there, its_limits, expert), _ = unpack(packed.content)
    assert isinstance(there.sampler.ledger, WorkerLedger)
    assert there.sampler.ledger.budget_tokens == 100
    assert isinstance(its_limits, SharedLimits)
    assert there.program.lm.limits is its_limits
    assert list(packed.limits.values()) == [limits]
    assert list(packed.ledgers.values()) == [call.sampler.ledger]
    assert expert._async_engine_spec is expert_engine("chemist")
    assert expert_engine("chemist").workers == 1


def test_the_library_of_a_program_stays_here_even_if_it_follows_a_file(tmp_path):
    library = ExperienceLibrary([Experience("golden", "Never sent this way.")])
    for source in (library, FollowedFile(tmp_path / "library.json")):
        program = equip(dspy.Predict("problem -> answer"))
        (retriever,) = retrievers(program)
        retriever.library, retriever.k = source, 3
        packed = pack(program, Keys("driver"))
        assert b"Never sent" not in packed.content
        (there,) = retrievers(unpack(packed.content)[0])
        assert (there.k, len(there.library)) == (3, 0)


def test_settings_of_dspy_travel():
    with dspy.context(adapter=dspy.JSONAdapter(), allow_tool_async_sync_conversion=True, trace=[1]):
        _, settings = unpack(pack(right, Keys("driver")).content)
    assert isinstance(settings["adapter"], dspy.JSONAdapter)
    assert settings["allow_tool_async_sync_conversion"] is True
    assert "trace" not in settings


def test_something_that_cannot_be_sent_is_named():
    call = call_of(language_model("offline/chemist"), normalize=threading.Lock())
    with pytest.raises(ConfigurationError, match=r"SampleCall cannot be sent to a worker: TypeError: .*lock"):
        pack(call, Keys("driver"))


def test_a_ledger_that_is_pickled_elsewhere_is_a_new_one():
    import cloudpickle

    ledger = Ledger(budget_tokens=10)
    ledger.charge("actor", "m", {"prompt_tokens": 5})
    there = cloudpickle.loads(cloudpickle.dumps(ledger))
    assert type(there) is Ledger
    assert (there.total.tokens, there.budget_tokens) == (0, None)
