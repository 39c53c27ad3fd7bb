"""The ladder that a call goes down when nobody answers it: a fresh answer that was kept, then a stale one. (The defined text
and the error come after it, in `sdk.middleware`.) A feature with `cache: {mode: always}` starts with the fresh one.

Three rules hold on every step. What a kill switch stops is not served from here either. An answer is given only to the very
request that it answered, of the same customer, with the same credentials. It is marked as what it is, with its age, in its
headers and in the records.
"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from anthropic import Omit

from console.core.caching import as_of, key_of, served_copy
from console.core.calls import error_of_status
from console.core.moves import move_of_failure, move_of_status
from console.core.targets import Target
from console.runtime.clock import now_us, steady_us
from console.sdk.answers import AGE_HEADER, SERVED_BY_HEADER, TARGET_HEADER, made_answer
from console.sdk.call import kind_of

if TYPE_CHECKING:
    from console.core.caching import Kept, Stored
    from console.runtime.process import Runtime
    from console.sdk.call import Call

_NO_PART: Final = (
    "x-stainless-", "x-console-", "accept", "content-", "user-agent", "connection", "idempotency-key",
    "x-b3-", "x-datadog-", "x-trace-id", "x-request-id", "x-correlation-id", "x-amzn-trace-id", "x-cloud-trace-context",
)  # fmt: skip
"""How the headers begin that change no answer: how it is delivered, our own tags (what counts of them is in the key by itself),
and what follows a call through logs, which is new each time."""
_TRACING: Final = frozenset({"traceparent", "tracestate", "baggage", "b3", "sentry-trace"})
_ACCOUNT: Final = (
    "api_key", "aws_access_key", "aws_profile", "project_id", "workspace_id", "_token_cache", "_azure_ad_token_provider",
)  # fmt: skip
"""What a client signs with, or asks for, that is not among its default headers. Tokens that are fetched anew are no part."""


class Ladder:
    """One per middleware. Nothing here raises: what goes wrong is counted, and the call goes on as if nothing had been kept."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def begin(self, call: Call, *, is_async: bool) -> Any:
        """Works out the key of a call whose feature keeps answers, now, because the application may change its request later;
        the fresh answer that is to be given without asking, or None."""
        policy = call.policy.cache
        if policy is None or call.is_batch:
            return None
        try:
            call.key = _key(call)
            if call.key is None:
                return None
            if policy.mode == "always" and (answer := self._answer(call, is_async=is_async, before_asking=True)) is not None:
                return answer
            call.collector = self._runtime.cache.collector(call.key)
        except Exception as error:  # noqa: BLE001 -- the API is there to be asked
            self._runtime.swallow(error)
        return None

    def instead(self, call: Call, *, is_async: bool) -> Any:
        """What was kept, in place of a failure: fresh or stale; None when there is nothing."""
        if call.key is None:
            return None
        try:
            return self._answer(call, is_async=is_async, before_asking=False)
        except Exception as error:  # noqa: BLE001 -- the caller gets what he would have got without
            self._runtime.swallow(error)
            return None

    def after_the_last(self, call: Call, error: Exception | None, http: Any, *, is_async: bool) -> Any:
        """The same for a call without a chain, whose retries are the SDK's: only in place of what the SDK would not repeat, and
        not of what is the caller's own fault. `error`, `http`: how its attempt has ended."""
        if call.key is None:
            return None
        try:
            failure = _failure(call, error, http)
            if failure is None or (found := self._found(call, before_asking=False)) is None:
                return None
            answer = self._made(call, *found, is_async=is_async)
            call.attempt_failed(failure)
            call.stood_in(*found)
        except Exception as mistake:  # noqa: BLE001 -- as above
            self._runtime.swallow(mistake)
            return None
        return answer

    def _answer(self, call: Call, *, is_async: bool, before_asking: bool) -> Any:
        found = self._found(call, before_asking=before_asking)
        if found is None:
            return None
        answer = self._made(call, *found, is_async=is_async)
        call.stood_in(*found)
        return answer

    def _found(self, call: Call, *, before_asking: bool) -> tuple[Kept, Stored, int] | None:
        """The answer that was kept, as what it may be served, and its age (microseconds). `before_asking`: nothing but a fresh
        one will do then, of the target that would be asked: when the operator has sent the feature elsewhere, or the chain is
        back from its fallback, the other target's answers are not what is wanted."""
        policy, key = call.policy.cache, call.key
        kept = None if policy is None or key is None else self._runtime.cache.get(key)
        if policy is None or kept is None:
            return None
        age_us = kept.age_us(now_us(), steady_us())
        stored = as_of(age_us, policy)
        if stored is None or (before_asking and (stored != "cache" or kept.target != _first_target(call))):
            return None
        if any(call.stopped_by(Target(model, model)) is not None for model in kept.models):
            return None
        return kept, stored, age_us

    def _made(self, call: Call, kept: Kept, stored: Stored, age_us: int, *, is_async: bool) -> Any:
        message = served_copy(json.loads(kept.message))
        headers = {SERVED_BY_HEADER: stored, AGE_HEADER: str(age_us // 1_000_000), TARGET_HEADER: kept.target}
        if kept.request_id is not None:
            headers["request-id"] = kept.request_id
        if callable(call.request.options.post_parser):  # `messages.parse`: raises when the caller could not read it
            made_answer(call.request, message, headers, is_async=False).parse()
        return made_answer(call.request, message, headers, is_async=is_async)


def _first_target(call: Call) -> str:
    return call.facts.model if call.plan is None else call.plan.targets[0].name


def _key(call: Call) -> bytes | None:
    """Besides the body: where it goes, for whom, with whose credentials, and the headers and the query that may change what is
    answered, the client's own among them: a gateway may look at any. None when the client, and so the account, is not known.
    Credentials go into the hash, and are kept nowhere else."""
    request, facts = call.request, call.facts
    client = None if call.client is None else call.client.client()
    if client is None:
        return None
    headers = _telling(client.default_headers) | _telling(request.headers)
    told = sorted((name, value) for name, value in headers.items() if not isinstance(value, Omit))
    http = client._client  # noqa: SLF001 -- what it adds goes along
    added = repr(http.headers.raw), repr(http.params), _named(http.auth)
    account = [_named(getattr(client, name, None)) for name in _ACCOUNT]
    if getattr(client, "_token_cache", None) is None:  # else it is made anew for each copy of the client
        account.append(_named(client.custom_auth))
    return key_of(
        request.options.json_data, facts.feature, facts.customer, str(client.base_url).rstrip("/"), request.url,
        {**client.default_query, **request.options.params}, told, added, account,
    )  # fmt: skip


def _telling(headers: Any) -> dict[str, Any]:
    return {key: value for name, value in headers.items() if (key := _part(name))}


@lru_cache(maxsize=512)
def _part(name: str) -> str:
    """A header's name as it stands in a key; empty when it is no part of one."""
    name = name.lower()
    return "" if name.startswith(_NO_PART) or name in _TRACING else name


_numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_next_number: Final = count()


def _named(value: object) -> str | int | None:
    """A text is itself; what makes credentials is known by a number, which no other one gets, even after it has gone. Raises
    TypeError for what can have none."""
    if value is None or isinstance(value, str):
        return value
    known = _numbers.get(value)
    return _numbers.setdefault(value, next(_next_number)) if known is None else known


def _failure(call: Call, error: Exception | None, http: Any) -> str | None:
    """What a failed attempt of a call without a chain is called; None when it is good, the caller's own fault, or repeated."""
    if error is not None:
        http = getattr(error, "response", None)
    status = getattr(http, "status_code", None)
    if status is None:
        if error is None:
            return None
        kind = kind_of(error)
        move = move_of_failure(kind)
    else:
        if status < 400:
            return None
        kind = error_of_status(status)
        move = move_of_status(status, is_changed=False, is_configured=False)
        call.answered(http)
    return None if move.then == "serve" or call.is_repeated(status, kind) else kind
