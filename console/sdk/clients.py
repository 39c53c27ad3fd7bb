"""The application's clients, as far as a call has to know them: how often they repeat, how long they wait, what they add.

A middleware is never told whose request it sees. The client stands behind the function that sends (the SDK's `base_handler`
holds it as `self`), which is private to the SDK and looked up with care; where that fails, a client is known from its first
answer on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import ref

from anthropic import DEFAULT_MAX_RETRIES, Anthropic, AsyncAnthropic, Omit
from anthropic._base_client import AsyncAPIClient

from console.errors import ConfigError, Mistake
from console.sdk.facts import default_tags
from console.sdk.requests import DEFAULT_TIMEOUT, is_allowed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

log = logging.getLogger("console")

MAX_CLIENTS: Final = 1_000
MAX_MIDDLEWARES: Final = 50
"""So many others may sit between ours and the SDK."""


class Client(NamedTuple):
    """What is known of a client."""

    client: Any
    """A weak reference: an application may set its limits anew at any time."""
    tags: Mapping[str, str]
    """Those among its default headers. Where there are none nothing has to be omitted, which would cost 5 us a call."""
    is_next: bool
    """Nothing stands between our middleware and the client that could want to read an answer."""
    provider: str = "anthropic"
    """Whose it is, as a target names it."""

    @property
    def max_retries(self) -> int:
        """How often it repeats by itself."""
        found = getattr(self.client(), "max_retries", DEFAULT_MAX_RETRIES)
        return found if isinstance(found, int) else DEFAULT_MAX_RETRIES

    @property
    def timeout(self) -> float | httpx2.Timeout | None:
        """How long it waits."""
        client = self.client()
        return DEFAULT_TIMEOUT if client is None else client.timeout

    @property
    def betas(self) -> str | None:
        """What it asks for with every request (`anthropic-beta`)."""
        found = getattr(self.client(), "_custom_headers", None) or {}
        return next(
            (value for name, value in found.items() if name.lower() == "anthropic-beta" and isinstance(value, str)), None
        )

    def kept_at_home(self) -> dict[str, Omit]:
        """The headers that a target with a host and a key of its own must not get, to be omitted. Raises ConfigError for a
        client whose credentials cannot be told from the rest: another provider's, one with an `auth` or a query of its own."""
        client = self.client()
        if type(client) not in (Anthropic, AsyncAnthropic):
            raise ConfigError((Mistake("target", 0, 0, "only a plain Anthropic client may send to a host of its own"),))
        http = client._client  # noqa: SLF001 -- what it adds would go along
        if client.custom_auth is not None or http.auth is not None or client.default_query or http.params:
            raise ConfigError((Mistake("target", 0, 0, "the client's own auth or query would go to the target's host"),))
        names = {name.lower() for name in (*client.default_headers, *http.headers)}
        return {name: Omit() for name in names if not is_allowed(name)}


class Clients:
    """The clients that use one middleware, by the function that sends for them: the SDK makes one a client (one a call under
    OpenTelemetry)."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[Any], Client]] = {}
        self.max_retries = DEFAULT_MAX_RETRIES
        """Of the client that was learnt last: the best guess for one that is not known."""

    def of(self, call_next: Any) -> Client | None:
        """The client behind `call_next`, or None. Never raises."""
        known = self._known.get(id(call_next))
        if known is not None and known[0]() is call_next:
            return known[1]
        try:
            found = _behind(call_next)
            return None if found is None else self._keep(call_next, found)
        except Exception:  # noqa: BLE001 -- another version of the SDK may keep it elsewhere; the first answer tells as well
            return None

    def latest(self, *, is_async: bool) -> Any:
        """A client that is still there, the newest of this colour, else the newest of any; None: none has been seen."""
        seen = [client for _, known in reversed(list(self._known.values())) if (client := known.client()) is not None]
        return next((one for one in seen if isinstance(one, AsyncAPIClient) == is_async), seen[0] if seen else None)

    def learn(self, call_next: Any, client: Any) -> int:
        """Notes a client that its first answer has shown. How often it repeats."""
        learnt = self._keep(call_next, client)
        if learnt.tags:
            log.warning("console: tags in a client's default_headers count from its second call on; use extra_headers")
        return learnt.max_retries

    def _keep(self, call_next: Any, client: Any) -> Client:
        if len(self._known) >= MAX_CLIENTS:
            self._known.clear()
        learnt = Client(ref(client), default_tags(client), _is_next(call_next), provider_of_client(client))
        self._known[id(call_next)] = ref(call_next), learnt
        self.max_retries = learnt.max_retries
        return learnt


def provider_of_client(client: Any) -> str:
    """Whose a client is, by its class or the one that it is derived from."""
    return next((_PROVIDERS[name] for kind in type(client).__mro__ if (name := kind.__name__) in _PROVIDERS), "anthropic")


_PROVIDERS: Final = {
    prefix + name: provider
    for name, provider in (
        ("AnthropicBedrock", "bedrock"),
        ("AnthropicBedrockMantle", "bedrock-mantle"),
        ("AnthropicVertex", "vertex"),
        ("AnthropicAWS", "aws"),
        ("AnthropicGoogleCloud", "google-cloud"),
        ("AnthropicFoundry", "foundry"),
    )
    for prefix in ("", "Async")
}


def _is_next(call_next: Any) -> bool:
    code = getattr(call_next, "__code__", None)
    return code is not None and "self" in code.co_freevars


def _behind(call_next: Any) -> Any:
    """The client that the innermost function of a chain of middlewares belongs to, or None."""
    for _ in range(MAX_MIDDLEWARES):
        cells = dict(zip(call_next.__code__.co_freevars, call_next.__closure__ or (), strict=True))
        if "self" in cells:
            client = cells["self"].cell_contents
            return client if hasattr(client, "max_retries") else None
        if "call_next" not in cells:
            return None
        call_next = cells["call_next"].cell_contents
    return None
