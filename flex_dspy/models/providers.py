"""The provider, key and address behind a model's name, as far as they are known without a request."""

from __future__ import annotations

import difflib
import functools
import logging

import dspy

from flex_dspy.core.dspy_internals import (
    address_of_provider,
    litellm_prefixes,
    model_table,
    native_providers,
    resolve_model,
)
from flex_dspy.core.errors import ConfigurationError

logger = logging.getLogger(__name__)

for _name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # its errors hold the same messages


def check_name(name: str, *, address: str | None = None) -> None:
    """Refuse a model string that cannot work; warn if a model looks misspelt.

    Args:
        name: ``provider/model``.
        address: The server's address, if one was given; the models of that server are not known.

    Raises:
        ConfigurationError: If it names no provider, or a provider that neither DSPy nor litellm knows.
    """
    provider, slash, model = name.partition("/")
    if not slash:
        if name and (":" in name and resolve_model(name) is not None):  # DSPy's own spelling, provider:model
            return
        raise ConfigurationError(f"{name!r} is no model string: write PROVIDER/MODEL{_hint(_with_provider(name))}")
    if provider not in _providers():
        # A name this close to a provider of DSPy is a misspelling, so litellm need not be imported to look it up.
        close = difflib.get_close_matches(provider, sorted(_providers()), n=1, cutoff=0.85)
        if close or provider not in _all_providers():
            remedy = f" A server's own model is openai/{name}." if address else ""
            meant = _hint(f"{close[0]}/{model}" if close else "")
            raise ConfigurationError(f"{name!r} is no model string: there is no provider {provider!r}{meant}.{remedy}")
    if not address and model and model not in _models(provider):
        close = difflib.get_close_matches(model, _models(provider), n=1, cutoff=0.8)
        if close:
            logger.warning("%r is in no list of %s's models%s", name, provider, _hint(f"{provider}/{close[0]}"))


def is_native(name: str) -> bool:
    """Whether DSPy has its own client for a model."""
    return resolve_model(name) is not None


def key_variables(lm: dspy.LM) -> tuple[str, ...]:
    """The environment variables that may hold a model's key, in order of precedence.

    Empty if the provider needs no key.
    """
    resolved = resolve_model(str(lm.model))
    if resolved is None:
        return ("API_KEY", f"{str(lm.model).partition('/')[0].upper()}_API_KEY")
    own = tuple(resolved.env_key.replace("$", "").split()) if isinstance(resolved.env_key, str) else ()
    return ("API_KEY", *own) if own else ()


def address_of(lm: dspy.LM) -> str | None:
    """The address for a model's requests; None if only litellm knows it."""
    given = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    if given:
        return str(given)
    resolution = resolve_model(str(lm.model))
    return None if resolution is None else address_of_provider(resolution.provider)


def _hint(name: str) -> str:
    return f" (did you mean {name!r}?)" if name else ", for example openai/gpt-4o"


def _with_provider(model: str) -> str:
    """The same model with its provider, if one is known for it."""
    provider = model_table().get(model, {}).get("litellm_provider")
    if provider in _providers():
        return f"{provider}/{model}"
    resolved = resolve_model(model) if model else None
    return f"{resolved.provider.removesuffix('-chat')}/{model}" if resolved is not None else ""


@functools.cache
def _providers() -> frozenset[str]:
    """Providers that DSPy knows without litellm; the import of litellm takes five seconds."""
    listed = (str(entry.get("litellm_provider", "")) for entry in model_table().values())
    return native_providers() | litellm_prefixes() | {name for name in listed if name.isidentifier()}


@functools.cache
def _all_providers() -> frozenset[str]:
    import litellm

    declared = (spelling for provider in dspy.lm15.registered_providers() for spelling in provider.spellings)
    listed = (str(getattr(provider, "value", provider)) for provider in litellm.provider_list)
    return frozenset((*_providers(), *listed, *declared))


@functools.cache
def _models(provider: str) -> tuple[str, ...]:
    """The provider's models in DSPy's list, without the provider."""
    mine = (name for name, entry in model_table().items() if entry.get("litellm_provider") == provider)
    return tuple(name.removeprefix(f"{provider}/") for name in mine)
