"""Checks whether a language model can be reached and used, and gives a remedy for each fault.

It makes at most eight small requests to each model, and none to an offline expert. No key is ever shown.
"""

from __future__ import annotations

import os
import socket
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import dspy
from dspy import (
    AdapterParseError,
    DSPyError,
    LMAuthError,
    LMBillingError,
    LMInvalidRequestError,
    LMNotConfiguredError,
    LMRateLimitError,
    LMTimeoutError,
    LMTransportError,
    LMUnsupportedModelError,
)

from flex_dspy.core.dspy_internals import model_facts, model_table
from flex_dspy.core.secrets import redact, redact_url
from flex_dspy.models.lm import LanguageModel, is_offline, secrets_of
from flex_dspy.models.prices import list_price
from flex_dspy.models.providers import address_of, key_variables
from flex_dspy.models.spending import Ledger

MOST_CALLS = 8  # for each model
PATIENCE = 10.0  # seconds for a connection
_TASK = "Instructions: Add two numbers.\nInput fields: `problem` (str)\nOutput fields: `answer` (int)"
_TINY = "Answer with the one word: ready"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Name of the check.
        ok: Whether the check passed; None if that is not known, or does not matter.
        text: The result in plain words, with a remedy if something is wrong.
    """

    check: str
    ok: bool | None
    text: str


def diagnose(models: Mapping[str, dspy.LM], exercise: type[dspy.Signature]) -> list[Finding]:
    """Check each model once, however many roles it has.

    Args:
        models: Models by role.
        exercise: A signature of the critic, with inputs ``task``, ``problem`` and ``reference`` and the output
            ``lesson``. A model that can fill it in can play a role.

    Returns:
        The findings, in the order of the checks. If a model does not answer, its later checks are left out.
    """
    findings: list[Finding] = []
    for lm in {id(lm): lm for lm in models.values()}.values():
        roles = ", ".join(role for role, model in models.items() if model is lm)
        findings.append(Finding("model", None, f"{lm.model}, for {roles}"))
        findings.extend(_check_offline() if is_offline(lm) else _check_online(lm, exercise))
    return findings


def report(findings: list[Finding]) -> str:
    """The findings as text, one line for each."""
    marks = {True: "ok  ", False: "FAIL", None: "-   "}
    width = max((len(finding.check) for finding in findings), default=0)
    return "\n".join(f"{marks[entry.ok]}  {entry.check.ljust(width)}  {entry.text}" for entry in findings)


def _check_offline() -> Iterator[Finding]:
    yield Finding("offline", True, "an offline expert: it needs no key, no network and no money")


def _check_online(lm: dspy.LM, exercise: type[dspy.Signature]) -> Iterator[Finding]:
    settings: dict[str, Any] = {"cache": False, "num_retries": 0}
    if isinstance(lm, LanguageModel):
        settings["retries"] = 0
    asked = lm.copy(**settings)
    ledger = Ledger()
    yield _key(lm)
    yield from _address(lm)
    with ledger.role("doctor"):
        answering = yield from _answers(asked)
        if answering is not None:
            yield from _latency(answering)
            yield _usage(ledger)
            yield from _fill_in_lessons(answering, exercise)
    yield _price(lm)
    yield _window(lm)
    spent = ledger.total
    money = "at an unknown price" if spent.unpriced else f"{spent.usd:.4f} USD"
    yield Finding("cost", None, f"these checks took {spent.calls} calls, {spent.tokens:,} tokens, {money}")


# -- without asking ----------------------------------------------------------------------------------------


def _key(lm: dspy.LM) -> Finding:
    names = key_variables(lm)
    found = next((name for name in names if os.environ.get(name)), None)
    if found == "API_KEY" or (found is None and lm.kwargs.get("api_key")):
        where = "the variable API_KEY" if found else "the program"
        return Finding("key", True, f"from {where}; it goes to this model's address, whoever that is")
    if found:
        return Finding("key", True, f"from the variable {found}")
    if not names:
        return Finding("key", None, "none is needed")
    return Finding(
        "key", False, f"there is none: set {names[-1]}, or API_KEY (any word, where the server asks for none)"
    )


def _address(lm: dspy.LM) -> Iterator[Finding]:
    """Check name, connection and HTTP; each check runs only if the one before passed."""
    address = address_of(lm)
    parts = urlsplit(address or "")
    if not address or not parts.hostname:
        yield Finding("address", None, f"no address: {redact_url(address)!r}" if address else "known to litellm alone")
        return
    yield Finding("address", None, redact_url(address))
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname):
        yield Finding("network", None, f"through the proxy of the variable {parts.scheme}_proxy")
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        yield Finding("name", True, f"{parts.hostname} is known")
    except OSError as error:
        yield Finding("name", False, f"{parts.hostname} has no address ({error}): check the spelling, and the network")
        return
    try:
        socket.create_connection((parts.hostname, port), timeout=PATIENCE).close()
        yield Finding("connection", True, f"port {port} takes connections")
    except OSError as error:
        yield Finding("connection", False, f"nothing answers at port {port} ({error}): is the server running?")
        return
    yield from _http(address)


def _http(address: str) -> Iterator[Finding]:
    """Check for an HTTP server: any HTTP status passes. Nothing secret is sent."""
    headers: dict[str, str]
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/models", timeout=PATIENCE) as answer:  # noqa: S310
            status, headers = answer.status, dict(answer.headers)
    except urllib.error.HTTPError as error:
        status, headers = error.code, dict(error.headers)
        error.close()
    except (OSError, ValueError) as error:
        yield Finding("http", False, f"no HTTP there ({error}): http or https, and the right port?")
        return
    yield Finding("http", True, f"a server answers (status {status} without a key)")
    limits = ", ".join(f"{name}: {value}" for name, value in headers.items() if "ratelimit" in name.lower())
    if limits:
        yield Finding("rate limits", None, limits)


def _price(lm: dspy.LM) -> Finding:
    price = list_price(str(lm.model))
    if price is None:
        return Finding("price", None, "not known: a budget in USD needs --price MODEL=PROMPT,COMPLETION")
    million = f"{price.prompt * 1e6:g} and {price.completion * 1e6:g}"
    return Finding("price", True, f"{million} USD a million tokens sent and received (list price)")


def _window(lm: dspy.LM) -> Finding:
    provider, _, name = str(lm.model).partition("/")
    size = (model_table().get(str(lm.model)) or model_facts(provider, name)).get("max_input_tokens")
    text = f"{size:,} tokens" if size else "not known; prompts that are too long are cut and sent again"
    return Finding("context window", True if size else None, text)


# -- by asking ---------------------------------------------------------------------------------------------


def _answers(lm: dspy.LM) -> Generator[Finding, None, dspy.LM | None]:
    """Make a tiny request with the model's settings; if they are refused, make one without them.

    Returns:
        The model, if it answers.
    """
    try:
        lm(_TINY)
    except DSPyError as error:
        if isinstance(error, LMInvalidRequestError) and not isinstance(error, LMUnsupportedModelError):
            yield from _explain_refusal(lm, error)
        else:
            yield Finding("answer", False, f"{_first_line(lm, error)}: {_remedy(lm, error)}")
        return None
    yield Finding("answer", True, "the model answers")
    return lm


def _explain_refusal(lm: dspy.LM, refusal: LMInvalidRequestError) -> Iterator[Finding]:
    plain = lm.copy(temperature=None, max_tokens=None, max_completion_tokens=None)
    given = [name for name, value in lm.kwargs.items() if name not in plain.kwargs and value is not None]
    try:
        if given:
            plain(_TINY)
            remedy = f"it answers without {' and '.join(given)}: leave --{given[0].replace('_', '-')} out"
            yield Finding("answer", False, f"{_first_line(lm, refusal)}: {remedy}")
            return
    except DSPyError:
        pass
    yield Finding("answer", False, f"{_first_line(lm, refusal)}: {_remedy(lm, refusal)}")


def _latency(lm: dspy.LM) -> Iterator[Finding]:
    seconds = []
    for number in range(3):
        start = time.perf_counter()
        try:
            lm(f"{_TINY} {number}")
        except DSPyError as error:
            yield Finding("latency", False, f"one of several requests failed: {_first_line(lm, error)}")
            return
        seconds.append(time.perf_counter() - start)
    yield Finding("latency", True, f"{statistics.median(seconds):.2f} s, the median of 3 tiny requests")


def _usage(ledger: Ledger) -> Finding:
    if ledger.total.unreported:
        return Finding("usage", False, "answers do not say what they took: neither budget nor --tpm can be kept")
    return Finding("usage", True, "answers say how many tokens they took")


def _fill_in_lessons(lm: dspy.LM, exercise: type[dspy.Signature]) -> Iterator[Finding]:
    """Ask for a critic's lesson in several forms: by the chat adapter, as JSON, and by a JSON schema."""
    form: Any = exercise.output_fields["lesson"].annotation
    ways: dict[str, tuple[Callable[[], object], str]] = {
        "lesson": (
            lambda: _ask_lesson(lm, exercise, dspy.ChatAdapter(use_json_adapter_fallback=False)),
            "the critic's lessons cannot be read: take a stronger model for the critic and the updater",
        ),
        "lesson as JSON": (
            lambda: _ask_lesson(lm, exercise, dspy.JSONAdapter()),
            "a lesson cannot be asked for as JSON where its first form could not be read",
        ),
        "JSON schema": (
            lambda: form.model_validate_json(_ask_by_schema(lm, form)),
            "response_format json_schema is not supported; nothing here needs it",
        ),
    }
    for check, (way, meaning) in ways.items():
        try:
            way()
            yield Finding(check, True, "filled in as asked")
        except (DSPyError, ValueError, TypeError) as error:
            why = "it was not in the form asked for" if not _is_refusal(error) else _first_line(lm, error)
            yield Finding(check, False if check == "lesson" else None, f"{meaning} ({why})")


def _ask_lesson(lm: dspy.LM, exercise: type[dspy.Signature], adapter: dspy.Adapter) -> object:
    with dspy.context(lm=lm, adapter=adapter):
        return dspy.Predict(exercise)(task=_TASK, problem="What is 17 + 25?", reference="42").lesson


def _ask_by_schema(lm: dspy.LM, form: Any) -> str:
    asked = "Write a short lesson, as JSON, on how to add two numbers of two digits."
    answer = lm(asked, response_format=form)[0]
    return str(answer["text"] if isinstance(answer, dict) else answer)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, DSPyError) and not isinstance(error, AdapterParseError)


def _first_line(lm: dspy.LM, error: Exception) -> str:
    """The first line of the provider's message, without the key."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return redact(line, secrets_of(lm))[:300]


def _remedy(lm: dspy.LM, error: DSPyError) -> str:
    if isinstance(error, LMInvalidRequestError) and error.status in (404, 405):
        return f"no such model or path: check the model's name, and that {redact_url(address_of(lm) or '')} is right"
    advice: dict[type[DSPyError], str] = {
        LMNotConfiguredError: f"set {(key_variables(lm) or ('API_KEY',))[-1]}",
        LMAuthError: "the key is refused: is it the right one, for this provider?",
        LMBillingError: "no credit is left, or the key's quota is used up: see the provider's billing page",
        LMUnsupportedModelError: "no such model for this key: check its name",
        LMRateLimitError: "too many requests: wait, and set --rpm and --tpm to what your account allows",
        LMTimeoutError: "no answer in time: raise --timeout, or ask a smaller model",
        LMTransportError: "no connection: see the checks of the address",
        LMInvalidRequestError: "the provider refuses the request as it is: see what it says",
    }
    return next((text for kind, text in advice.items() if isinstance(error, kind)), "see what the provider says")
