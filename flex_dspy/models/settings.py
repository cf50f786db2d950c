"""Settings of a language model: its name, its server, how it samples, and how often it may be asked.

They never hold a key, so that they can be saved and logged. The key comes from the environment.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, field_serializer, field_validator

from flex_dspy.core.secrets import redact_url
from flex_dspy.core.settings import Settings

OFFLINE = "offline"

Backend = Literal["auto", "native", "litellm"]


class ModelSettings(Settings):
    """Settings of ``flex_dspy.language_model``.

    As JSON or in a display, the server's address is shown without login and secrets.

    Example:
        >>> ModelSettings(name="openai/gpt-4o", temperature=0).with_options(retries=2).retries
        2
    """

    name: str = OFFLINE
    """'offline' (no key, no network) or a model string such as openai/gpt-4o."""
    api_base: str | None = Field(None, repr=False)
    """Address of an OpenAI-compatible server. The environment variable BASE_URL is the default."""
    backend: Backend = "auto"
    """Client that sends the requests: DSPy's own ('native'), litellm, or 'auto': native where there is one."""
    temperature: float | None = Field(None, ge=0)
    """Sampling temperature. The provider's own by default."""
    max_tokens: int | None = Field(None, ge=1)
    """Most tokens of one answer. The provider's own limit by default."""
    cache: bool = True
    """Whether answers from DSPy's cache are used."""
    timeout: float = Field(600.0, gt=0)
    """Seconds to wait for a server that sends nothing."""
    retries: int = Field(6, ge=0)
    """How often a call is repeated that failed for a passing reason."""
    batch: bool = False
    """Ask through the provider's batch endpoint: for half the price, and within a day. Calls of programs that run
    synchronously are not asked so."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Most requests a minute. Calls wait for their turn."""
    tokens_per_minute: float | None = Field(None, gt=0)
    """Most tokens a minute, sent and received. Calls wait for their turn."""
    max_concurrency: int | None = Field(None, ge=1)
    """Most calls under way at once."""

    @field_validator("backend", mode="before")
    @classmethod
    def _check_backend(cls, backend: object) -> object:
        if backend not in get_args(Backend):
            raise ValueError(f"there is no backend {backend!r}: say {', '.join(get_args(Backend))}")
        return backend

    @field_validator("api_base")
    @classmethod
    def _check_address(cls, address: str | None) -> str | None:
        if address and not address.startswith(("http://", "https://")):
            # The address is not repeated: it may begin with a password.
            raise ValueError("the server's address must begin with http:// or https://")
        return address

    @field_serializer("api_base")
    def _without_login(self, address: str | None) -> str | None:
        return redact_url(address) if address else address
