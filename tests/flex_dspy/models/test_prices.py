"""What tokens cost."""

import subprocess
import sys

import pytest

from flex_dspy.core.dspy_internals import model_table
from flex_dspy.models.prices import FREE, Price, list_price


def test_a_call():
    price = Price.per_million(3, 15)
    assert price.cost({"prompt_tokens": 1_000, "completion_tokens": 200}) == pytest.approx(0.006)
    assert price.cost({}) == 0
    assert price.cost({"prompt_tokens": None, "completion_tokens": 10}) == pytest.approx(150e-6)


@pytest.mark.parametrize(("cached", "usd"), [(0, 3.0), (400_000, 1.92), (2_000_000, 0.3)])
def test_what_the_provider_had_in_its_cache_is_cheaper(cached, usd):
    usage = {"prompt_tokens": 1_000_000, "prompt_tokens_details": {"cached_tokens": cached}}
    assert Price.per_million(3, 15, cached=0.3).cost(usage) == pytest.approx(usd)


def test_list_prices():
    price = list_price("openai/gpt-4o")
    assert price is not None
    assert 0 < price.cached < price.prompt < price.completion < 1e-3
    assert list_price("openai/no-such-model") is None
    assert list_price("gpt-4o") is None
    assert list_price("offline/chemist") == FREE
    assert model_table()["gpt-4o"]["litellm_provider"] == "openai"


def test_the_list_is_not_fetched_from_the_network():
    script = (
        "import os; os.environ.pop('LITELLM_LOCAL_MODEL_COST_MAP', None)\n"
        "import urllib.request\n"
        "def refuse(*a, **k): raise SystemExit('asked the network')\n"
        "urllib.request.urlopen = refuse\n"
        "from flex_dspy.models.prices import list_price\n"
        "assert list_price('openai/gpt-4o')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
