"""Answers without a call: a `Message` of ours (a feature's defined text, an answer that was kept) as the SDK's own response,
plain or streamed, the marks on every answer, and the errors of calls that got none.
"""

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import anthropic
import httpx2
from anthropic import Anthropic, APIResponse, AsyncAnthropic, AsyncAPIResponse
from anthropic.types import Message

from console import errors
from console.core.caching import events_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic._request import APIRequest

    from console.core.allowances import Exceeded
    from console.core.switches import Switch

SERVED_BY_HEADER: Final = "x-console-served-by"
"""primary, fallback, cache, stale or degraded, on every answer of a call that has a chain or a policy of ours."""
TARGET_HEADER: Final = "x-console-target"
"""The target that has said it."""
AGE_HEADER: Final = "x-console-age"
"""Of an answer from the cache: how old it is, in whole seconds."""


class CallBlocked(errors.CallBlocked, anthropic.APIError):
    """A kill switch, a rate or a budget stopped the call. It is an `anthropic.APIError` too, so that the `except` clause that
    an application has already catches it; the SDK does not retry it."""

    def __init__(
        self, message: str, *, scope: str, reason: str | None, request: httpx2.Request, retry_after_s: float | None = None
    ) -> None:
        anthropic.APIError.__init__(self, message, request, body=None)
        self.scope = scope
        self.reason = reason
        self.retry_after_s = retry_after_s


class RequestRefused(errors.RequestRefused, CallBlocked):
    """The request is larger than its feature allows."""


class ChainExhausted(errors.ChainExhausted, anthropic.APIError):
    """No target gave an HTTP answer. It is an `anthropic.APIError` too; not one that the SDK repeats, because the chain has
    done that."""

    def __init__(self, message: str, *, request: httpx2.Request) -> None:
        anthropic.APIError.__init__(self, message, request, body=None)


class StreamBroken(errors.StreamBroken, anthropic.APIError):
    """A stream that the caller has had a part of ended before it was whole, and could not be continued. It is an
    `anthropic.APIError` too.

    `partial`: what has come, as a `Message` whose `stop_reason` is None; a tool call in it may be unfinished and must not run.
    `reason`: what happened, as in the records (reset, timeout, truncated_stream, malformed_event, an `error.type`).
    `request_id`: of the attempt that broke, for the provider's support.
    """

    def __init__(self, message: str, *, partial: Message, reason: str, request_id: str | None, request: httpx2.Request) -> None:
        anthropic.APIError.__init__(self, message, request, body=None)
        self.partial = partial
        self.reason = reason
        self.request_id = request_id


def broken(
    request: APIRequest, partial: Mapping[str, Any], feature: str, reason: str, why: str, request_id: str | None
) -> StreamBroken:
    """The error for a stream that broke (`reason`) and is not continued (`why`). `partial`: what has come, as a message."""
    message = f"the answer for {feature} broke off ({reason}), and {why}; what has come of it is in `partial`"
    made = Message.construct(**partial)
    return StreamBroken(message, partial=made, reason=reason, request_id=request_id, request=_http_request(request))


def exhausted(request: APIRequest, feature: str, failures: str) -> ChainExhausted:
    """The error for a call whose chain has ended without an HTTP answer. `failures`: what went wrong, attempt by attempt."""
    why = failures or "every target is left alone for now, because it failed or an operator holds it open"
    message = f"no target of {feature} answered ({why}); see `console status` or `console target list`"
    return ChainExhausted(message, request=_http_request(request))


def blocked(request: APIRequest, switch: Switch) -> CallBlocked:
    """The error for a call that `switch` stops and for which no text is defined."""
    why = f" ({switch.reason})" if switch.reason else ""
    message = f"stopped by the kill switch {switch.scope}{why}; lift it with `console restore` or the K key"
    return CallBlocked(message, scope=str(switch.scope), reason=switch.reason, request=_http_request(request))


def refused(request: APIRequest, exceeded: Exceeded) -> CallBlocked:
    """The error for a call that a limit of the application's own stops. Its `reason` is what the records call it."""
    kind = RequestRefused if exceeded.is_of_request else CallBlocked
    return kind(
        str(exceeded),
        scope=exceeded.scope,
        reason=exceeded.error,
        request=_http_request(request),
        retry_after_s=exceeded.retry_after_s,
    )


@cache
def _parser() -> Anthropic:
    """Whose only work is to parse what we wrote: it is never asked to send anything."""
    return Anthropic(api_key="unused", base_url="http://console.invalid", open_telemetry=False)


@cache
def _async_parser() -> AsyncAnthropic:
    return AsyncAnthropic(api_key="unused", base_url="http://console.invalid", open_telemetry=False)


def parser_of(*, is_async: bool) -> Anthropic | AsyncAnthropic:
    """The client behind an answer that is not as a provider has sent it: it reads server-sent events."""
    return _async_parser() if is_async else _parser()


def mark(http: httpx2.Response, *, is_fallback: bool, target: str) -> None:
    """Says on an answer of the API who gave it."""
    http.headers[SERVED_BY_HEADER] = "fallback" if is_fallback else "primary"
    http.headers[TARGET_HEADER] = target


def defined_answer(request: APIRequest, text: str, model: str, *, is_async: bool) -> Any:
    """The defined text as the answer to `request`."""
    message = {
        "id": f"msg_console_{secrets.token_hex(8)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    return made_answer(request, message, {SERVED_BY_HEADER: "degraded"}, is_async=is_async)


def made_answer(request: APIRequest, message: Mapping[str, Any], headers: Mapping[str, str], *, is_async: bool) -> Any:
    """A message of ours as the answer to `request`, in the form that it asks for: an `APIResponse`, or for a client that awaits
    an `AsyncAPIResponse`."""
    about: dict[str, Any] = {
        "raw": _http_response(request, message, headers),
        "cast_to": request.cast_to,
        "stream": request.stream,
        "stream_cls": request.stream_cls,
        "options": request.options,
    }
    if is_async:
        return AsyncAPIResponse(client=_async_parser(), **about)
    return APIResponse(client=_parser(), **about)


def _http_request(request: APIRequest) -> httpx2.Request:
    return httpx2.Request(request.method.upper(), httpx2.URL("http://console.invalid").join(request.url))


def _http_response(request: APIRequest, message: Mapping[str, Any], headers: Mapping[str, str]) -> httpx2.Response:
    if request.stream:
        kind, content = "text/event-stream; charset=utf-8", b"".join(map(_sse, events_of(message)))
    else:
        kind, content = "application/json", json.dumps(message).encode()
    response = httpx2.Response(200, content=content, headers={"content-type": kind, **headers}, request=_http_request(request))
    response.elapsed = timedelta(0)
    return response


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
