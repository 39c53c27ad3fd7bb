"""Answers without a call: a feature's defined text as a real `Message`, plain or streamed, and the error of a blocked call."""

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
from anthropic import Anthropic, APIResponse, AsyncAnthropic, AsyncAPIResponse
from anthropic.types import Message

from console import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic._request import APIRequest

    from console.core.switches import Switch

SERVED_BY_HEADER = "x-console-served-by"


class CallBlocked(errors.CallBlocked, anthropic.APIError):
    """A kill switch stopped the call. It is an `anthropic.APIError` too, so that the `except` clause that an application has
    already catches it; the SDK does not retry it."""

    def __init__(self, message: str, *, scope: str, reason: str | None, request: httpx2.Request) -> None:
        anthropic.APIError.__init__(self, message, request, body=None)
        self.scope = scope
        self.reason = reason


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
    request: httpx2.Request, partial: Mapping[str, Any], feature: str, reason: str, why: str, request_id: str | None
) -> StreamBroken:
    """The error for a stream that broke and is not continued. `why`: why it is not."""
    message = f"the answer for {feature} broke off ({reason}) and {why}; what has come of it is in `partial`"
    made = Message.construct(**partial)
    return StreamBroken(message, partial=made, reason=reason, request_id=request_id, request=request)


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


@cache
def _parser() -> Anthropic:
    """Whose only work is to parse what we wrote: it is never asked to send anything."""
    return Anthropic(api_key="unused", base_url="http://console.invalid", open_telemetry=False)


@cache
def _async_parser() -> AsyncAnthropic:
    return AsyncAnthropic(api_key="unused", base_url="http://console.invalid", open_telemetry=False)


def defined_answer(request: APIRequest, text: str, model: str) -> APIResponse[Any]:
    """The defined text as the answer to `request` of a blocking client."""
    return APIResponse(raw=_http_response(request, text, model), client=_parser(), **_wrapping(request))


def defined_async_answer(request: APIRequest, text: str, model: str) -> AsyncAPIResponse[Any]:
    """The defined text as the answer to `request` of an asynchronous client."""
    return AsyncAPIResponse(raw=_http_response(request, text, model), client=_async_parser(), **_wrapping(request))


def _wrapping(request: APIRequest) -> dict[str, Any]:
    return {
        "cast_to": request.cast_to,
        "stream": request.stream,
        "stream_cls": request.stream_cls,
        "options": request.options,
    }


def _http_request(request: APIRequest) -> httpx2.Request:
    return httpx2.Request(request.method.upper(), httpx2.URL("http://console.invalid").join(request.url))


def _http_response(request: APIRequest, text: str, model: str) -> httpx2.Response:
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
    headers = {SERVED_BY_HEADER: "degraded"}
    if request.stream:
        headers["content-type"] = "text/event-stream; charset=utf-8"
        content = b"".join(map(_sse, _events(message, text)))
    else:
        headers["content-type"] = "application/json"
        content = json.dumps(message).encode()
    response = httpx2.Response(200, content=content, headers=headers, request=_http_request(request))
    response.elapsed = timedelta(0)
    return response


def _events(message: dict[str, Any], text: str) -> list[dict[str, Any]]:
    start = {**message, "content": [], "stop_reason": None}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 0},
        },
        {"type": "message_stop"},
    ]


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
