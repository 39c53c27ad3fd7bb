"""The middleware: one object for every client, blocking or not. It must never make a call fail that would have succeeded.

Each passage: take the tags off, see whether a switch stops it, send, look at what came back, record. Everything but the sending
and the switch is instrumentation: an exception in it is counted, logged once and forgotten.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from weakref import ref

from anthropic import DEFAULT_MAX_RETRIES, Middleware

from console.core.flow import Refuse, call_flow
from console.sdk.answers import blocked, defined_answer, defined_async_answer
from console.sdk.bodies import observe
from console.sdk.call import Call, kind_of
from console.sdk.drivers import run, run_async
from console.sdk.endpoints import Endpoint, endpoint_of
from console.sdk.facts import batch_facts, default_tags, facts_of, tagged, without_tags
from console.sdk.wires import AsyncWire, SyncWire, is_unread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic import APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext
    from anthropic._request import APIRequest

    from console.runtime.process import Runtime


log = logging.getLogger("console")

MAX_CLIENTS: Final = 1_000


class ConsoleMiddleware(Middleware):
    """What `console.middleware` is. `degraded`: feature -> its defined text."""

    def __init__(self, runtime: Runtime, degraded: Mapping[str, str]) -> None:
        self._runtime = runtime
        self._degraded = degraded
        self._max_retries = DEFAULT_MAX_RETRIES
        self._clients: dict[int, _Client] = {}
        """By the id of their `call_next`: the SDK makes one a client (one a call under OpenTelemetry)."""

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        """One passage of a blocking client's request."""
        call = self._begin(request, call_next)
        if isinstance(call, _Passing):
            return call_next(call.request)
        wire = SyncWire(call, call_next)
        verdict = run(call_flow((call.facts.model,)), wire)
        if isinstance(verdict, Refuse):
            return cast("APIResponse[Any]", self._refuse(call, verdict))
        if wire.error is not None:
            self._fail(call, wire.error)
            raise wire.error
        self._look(call, wire.response, call_next, message=_parsed(wire.response))
        return wire.response

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> AsyncAPIResponse[Any]:
        """One passage of an asynchronous client's request."""
        call = self._begin(request, call_next)
        if isinstance(call, _Passing):
            return await call_next(call.request)
        wire = AsyncWire(call, call_next)
        verdict = await run_async(call_flow((call.facts.model,)), wire)
        if isinstance(verdict, Refuse):
            return cast("AsyncAPIResponse[Any]", self._refuse(call, verdict, is_async=True))
        if wire.error is not None:
            self._fail(call, wire.error)
            raise wire.error
        message = await _async_parsed(wire.response)
        self._look(call, wire.response, call_next, message=message, is_async=True)
        return wire.response

    def _begin(self, request: APIRequest, call_next: Any) -> Call | _Passing:
        """The call behind a request, or the request to be passed on when it is none of ours. Never raises."""
        tags: Mapping[str, str] = {}
        client = self._known(call_next)
        try:
            stripped, tags = without_tags(request, omits_defaults=client is None or bool(client.tags))
            if client is not None and client.tags:
                tags = {**client.tags, **tags}
        except Exception as error:  # noqa: BLE001 -- then the request goes on as it is
            self._runtime.swallow(error)
            stripped = request
        try:
            options = request.options
            endpoint = endpoint_of(options.method, options.url)
            if endpoint is Endpoint.OTHER:
                return _Passing(stripped)
            is_batch = endpoint is Endpoint.BATCHES
            facts = (batch_facts if is_batch else facts_of)(options.json_data, tags)
        except Exception as error:  # noqa: BLE001 -- a kill of everything must still hold
            self._runtime.swallow(error)
            is_batch, facts = False, tagged(tags)
        max_retries = self._max_retries if client is None else client.max_retries
        return Call(self._runtime, stripped, facts, max_retries, is_batch=is_batch, is_client_known=client is not None)

    def _refuse(self, call: Call, refused: Refuse, *, is_async: bool = False) -> Any:
        """The defined text, or CallBlocked. A batch has no text: what it would return is not an answer."""
        facts = call.facts
        text = None if call.is_batch else self._degraded.get(facts.feature)
        if text is not None:
            try:
                if callable(call.request.options.post_parser):  # `messages.parse`: prose may not be what the caller can read
                    defined_answer(call.request, text, facts.model).parse()
                answer = defined_async_answer if is_async else defined_answer
                response = answer(call.request, text, facts.model)
            except Exception as error:  # noqa: BLE001 -- a kill switch must still kill
                self._runtime.swallow(error)
            else:
                call.refused(is_degraded=True)
                return response
        stopped = blocked(call.request, refused.switch)
        call.refused(is_degraded=False)
        raise stopped from None

    def _fail(self, call: Call, error: Exception) -> None:
        """Records a call that ended without an `APIResponse`."""
        try:
            http = getattr(error, "response", None)
            if http is not None:
                call.answered(http)
                call.failed(getattr(error, "type", None))
            else:
                call.failed(kind_of(error))
        except Exception as mistake:  # noqa: BLE001 -- the caller gets the failure itself
            self._runtime.swallow(mistake)

    def _look(self, call: Call, response: Any, call_next: Any, *, message: Any, is_async: bool = False) -> None:
        """Records an answer, or puts an observer into the body that the caller is going to read."""
        try:
            http = getattr(response, "http_response", None)
            if http is None:  # another middleware below answered with a finished value
                call.served(response)
                return
            if not call.is_client_known:
                self._learn(call, response, call_next)
            call.answered(http)
            if message is not None:  # read and parsed: most calls
                call.served(message)
            elif is_unread(http):
                call.observing(http.headers.get("content-type", ""))
                observe(response, call, is_async=is_async)
            elif http.is_success:  # the SDK will not make sense of it either, or the caller's own parser will not
                call.observing("application/json")
                call.read_at_once(http.content)
            else:
                call.failed(_error_type(http))
        except Exception as error:  # noqa: BLE001 -- the answer is here: nothing may come between it and the caller
            self._runtime.swallow(error)

    def _known(self, call_next: Any) -> _Client | None:
        client = self._clients.get(id(call_next))
        return client if client is not None and client.call_next() is call_next else None

    def _learn(self, call: Call, response: Any, call_next: Any) -> None:
        """What a client's first answer tells of it. `_client` is private to the SDK: without it nothing is learnt."""
        client = getattr(response, "_client", None)
        if client is None:
            return
        self._max_retries = client.max_retries
        call.learn_retries(client.max_retries)
        if len(self._clients) >= MAX_CLIENTS:
            self._clients.clear()
        tags = default_tags(client)
        self._clients[id(call_next)] = _Client(ref(call_next), client.max_retries, tags)
        if tags:
            log.warning("console: tags in a client's default_headers count from its second call on; use extra_headers")


class _Client(NamedTuple):
    """What is known of a client that has had an answer."""

    call_next: ref[Any]
    max_retries: int
    tags: Mapping[str, str]
    """Those among its default headers. Where there are none nothing has to be omitted, which would cost 5 us a call."""


class _Passing:
    """A request that is none of our business, without the tags."""

    __slots__ = ("request",)

    def __init__(self, request: APIRequest) -> None:
        self.request = request


def _is_parseable(response: Any) -> bool:
    """Whether parsing now is work that the SDK does anyway, and keeps: a whole, successful, plain answer."""
    http = getattr(response, "http_response", None)
    return http is not None and http.is_closed and http.status_code < 300


def _parsed(response: Any) -> Any:
    try:
        return response.parse() if _is_parseable(response) else None
    except Exception:  # noqa: BLE001 -- the SDK will meet the same and tell the caller
        return None


async def _async_parsed(response: Any) -> Any:
    try:
        return await response.parse() if _is_parseable(response) else None
    except Exception:  # noqa: BLE001 -- the SDK will meet the same and tell the caller
        return None


def _error_type(http: Any) -> str | None:
    """The `error.type` of an error body that has been read, or None to go by the status."""
    try:
        document = http.json()
    except Exception:  # noqa: BLE001 -- a gateway's HTML page, for example
        return None
    error = document.get("error") if isinstance(document, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) else None
