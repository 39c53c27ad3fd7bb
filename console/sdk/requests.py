"""The request of one attempt: the application's own, changed only in what its target declares."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx2
from anthropic import NotGiven, Omit

from console.core.targets import KEY_OF_CLIENT, Target, model_at, patched
from console.errors import ConfigError, Mistake
from console.sdk.keys import read_key

if TYPE_CHECKING:
    from anthropic._request import APIRequest

    from console.sdk.clients import Client

ALLOWED: Final = ("anthropic-", "x-stainless-", "accept", "content-type", "user-agent", "connection", "idempotency-key")
"""Beginnings of the names of headers that a target with a host and a key of its own gets."""
BOUND: Final = frozenset({"anthropic-workspace-id", "anthropic-user-profile-id"})
"""Headers that mean something in one account only."""
RAW_RESPONSE: Final = "X-Stainless-Raw-Response"
DEFAULT_TIMEOUT: Final = httpx2.Timeout(timeout=600, connect=5.0)
"""The SDK's own, for a client that has had no answer yet."""
CONNECT_S: Final = 5.0
"""The SDK's own limit for making a connection."""


class Original(NamedTuple):
    """What the application asked for: every attempt starts from here, so that hops never compound."""

    body: Any
    url: str
    headers: dict[str, Any]
    timeout: float | httpx2.Timeout | None
    given_timeout: Any
    """As the request has it: perhaps not given."""
    params: Any = None

    @classmethod
    def of(cls, request: APIRequest, client_timeout: float | httpx2.Timeout | None) -> Original:
        options = request.options
        given = options.timeout
        timeout = client_timeout if isinstance(given, NotGiven) else given
        return cls(options.json_data, options.url, request.headers, timeout, given, options.params)  # type: ignore[arg-type]

    @property
    def deadline_s(self) -> float | None:
        """How long the caller is ready to wait: its `timeout`; of one in parts the longest pause that it allows."""
        return self.timeout.read if isinstance(self.timeout, httpx2.Timeout) else self.timeout


def is_allowed(header: str) -> bool:
    """Whether a header may go to a target with a host and a key of its own."""
    return header.lower().startswith(ALLOWED)


def readdress(
    request: APIRequest,
    original: Original,
    target: Target,
    limit_s: float | None,
    client: Client | None,
    *,
    is_own: bool = True,
) -> bool:
    """Makes `request`, a copy that is ours, the request for `target`. Answers whether its body differs from the application's.

    A plain answer is asked for unread, so that reading it can be ended when it takes too long: the SDK's own limits are for the
    pause between two bytes. Not when another middleware comes next, which may want to read it. Raises ConfigError when the
    target's key cannot be read, or the client's own credentials would go to the target's host. `is_own` False: another client
    than the application's is going to send it.
    """
    model = model_at(target.provider if client is None or not is_own else client.provider, target.model)
    if model != target.model:
        target = replace(target, model=model)
    body = patched(original.body, target) if isinstance(original.body, dict) else original.body
    if not is_own:
        url, headers = _path(original.url), _abroad(original.headers, client)
        vars(request.options).update(
            json_data=body, url=url, headers=headers, params={}, timeout=within(original.timeout, limit_s)
        )  # fmt: skip
        return body is not original.body
    headers, url = original.headers, original.url
    if target.base_url is not None:
        url = target.base_url.rstrip("/") + "/" + url.lstrip("/")
    if target.api_key is not None and target.api_key != KEY_OF_CLIENT:
        if client is None:
            raise ConfigError((Mistake("target", 0, 0, "whose client this is cannot be told"),))
        headers = {name: value for name, value in headers.items() if is_allowed(name) or isinstance(value, Omit)}
        headers |= {**client.kept_at_home(), "Authorization": Omit(), "X-Api-Key": read_key(target.api_key)}
    if not request.stream and headers.get(RAW_RESPONSE) != "stream" and client is not None and client.is_next:
        headers = {**headers, RAW_RESPONSE: "stream"}
    # The options are a copy of ours; what pydantic does when a field is set costs 0.6 us each.
    vars(request.options).update(
        json_data=body, url=url, headers=headers, params=original.params, timeout=within(original.timeout, limit_s)
    )  # fmt: skip
    return body is not original.body


def _path(url: str) -> str:
    """The path as every provider's client knows it, wherever the application's own sends it."""
    return "/v1/messages?beta=true" if "beta=true" in url.partition("?")[2].split("&") else "/v1/messages"


def _abroad(headers: dict[str, Any], client: Client | None) -> dict[str, Any]:
    """The headers that may go to another provider, whose client adds credentials of its own: nothing unknown, nothing that is
    bound to the application's account, and no `Omit` of a header that is the other client's."""
    found = {name: value for name, value in headers.items() if is_allowed(name) and name.lower() not in BOUND}
    betas = None if client is None else client.betas
    if betas is not None and not any(name.lower() == "anthropic-beta" for name in found):
        found["anthropic-beta"] = betas
    return {**found, RAW_RESPONSE: "stream"}


def within(asked: float | httpx2.Timeout | None, limit_s: float | None) -> float | httpx2.Timeout | None:
    """The caller's own limits, none of them longer than `limit_s`."""
    if limit_s is None:
        return asked
    if isinstance(asked, httpx2.Timeout):
        return _at_most(asked.connect, asked.read, asked.write, asked.pool, limit_s)
    return _at_most(CONNECT_S if asked is None else min(asked, CONNECT_S), asked, asked, asked, limit_s)


@lru_cache(maxsize=256)
def _at_most(
    connect: float | None, read: float | None, write: float | None, pool: float | None, limit_s: float
) -> httpx2.Timeout:
    """The caller's own limits, none of them longer than `limit_s`."""
    parts = (limit_s if part is None else min(part, limit_s) for part in (connect, read, write, pool))
    return httpx2.Timeout(**dict(zip(("connect", "read", "write", "pool"), parts, strict=True)))
