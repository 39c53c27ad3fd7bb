"""AWS event-stream frames as server-sent events. Bedrock's InvokeModel streams the API's events in binary frames; everything
behind (holding until content, continuing, raw readers, the SDK's own parser) reads SSE, so the body is re-emitted as that.

    frame (chunk)       {"bytes": base64 of the event's JSON}      event: TYPE / data: JSON
    frame (exception)   :exception-type, {"message": …}            event: error / data: {"type":"error","error":{…}}

A frame whose checksum does not fit, an event that is not JSON, and an end inside a frame break the stream: it raises
`httpx2.RemoteProtocolError`, as a broken connection does. botocore's parser is loaded with the first such answer.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

import httpx2

from console.sdk.answers import parser_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from anthropic._request import APIRequest

FRAMES: Final = "application/vnd.amazon.eventstream"
KIND_OF_EXCEPTION: Final = {
    "internalserverexception": "api_error",
    "modelstreamerrorexception": "api_error",
    "modelerrorexception": "api_error",
    "validationexception": "invalid_request_error",
    "throttlingexception": "rate_limit_error",
    "modeltimeoutexception": "timeout_error",
    "serviceunavailableexception": "overloaded_error",
    "modelnotreadyexception": "overloaded_error",
    "accessdeniedexception": "permission_error",
    "resourcenotfoundexception": "not_found_error",
}
"""Bedrock's exceptions in the words of the API, for those that can come inside a stream or as an HTTP error."""
MAX_MESSAGE: Final = 500


class FrameDecoder:
    """Frames in, server-sent events out. One for each stream."""

    def __init__(self) -> None:
        from botocore.eventstream import EventStreamBuffer  # noqa: PLC0415 -- half a second, for who uses Bedrock

        self._buffer: Any = EventStreamBuffer()
        self._fed = self._read = 0

    def feed(self, chunk: bytes) -> bytes:
        """The events whose frames the chunk completes. Raises httpx2.RemoteProtocolError for what is not a sound frame."""
        self._buffer.add_data(chunk)
        self._fed += len(chunk)
        events = []
        try:
            for frame in self._buffer:
                self._read += frame.prelude.total_length
                events.append(_event(frame.headers, frame.payload))
        except Exception as error:
            raise httpx2.RemoteProtocolError(f"a frame of the stream is not sound ({type(error).__name__})") from error
        return b"".join(events)

    def end(self) -> None:
        """The bytes have ended. Raises httpx2.RemoteProtocolError when that was inside a frame."""
        if self._read != self._fed:
            raise httpx2.RemoteProtocolError("the stream ended inside a frame")


def _event(headers: Any, payload: bytes) -> bytes:
    """One frame as an event; nothing for a kind that is not known yet."""
    if headers.get(":message-type") in ("exception", "error"):
        kind = str(headers.get(":exception-type") or headers.get(":error-code") or "")
        error = {"type": KIND_OF_EXCEPTION.get(kind.lower(), "api_error"), "message": _message(headers, payload, kind)}
        return _sse("error", json.dumps({"type": "error", "error": error}))
    if headers.get(":event-type") != "chunk":
        return b""
    text = base64.b64decode(json.loads(payload)["bytes"]).decode()
    event = json.loads(text)
    name = event.get("type") if isinstance(event, dict) else None
    if not isinstance(name, str) or not name.isidentifier():  # a line break in it would end the event
        return b""
    return _sse(name, text if "\n" not in text and "\r" not in text else json.dumps(event))


def _message(headers: Any, payload: bytes, kind: str) -> str:
    try:
        found = json.loads(payload)
        text = found.get("message") or found.get("Message") if isinstance(found, dict) else None
    except ValueError:
        text = None
    return str(text or headers.get(":error-message") or kind or "the stream failed")[:MAX_MESSAGE]


def _sse(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()


class _Events(httpx2.SyncByteStream):
    """A blocking client's frames as events. It holds the answer and not only its body, because the answer holds its client:
    when nobody holds that any more, the SDK closes its connections, whatever is read from them."""

    def __init__(self, response: Any) -> None:
        self._response, self._http = response, response.http_response

    @property
    def elapsed(self) -> Any:
        """The SDK reads a response's `elapsed` from its body."""
        return getattr(self._http.stream, "elapsed", None)

    def __iter__(self) -> Iterator[bytes]:
        decoder = FrameDecoder()
        for chunk in self._http.iter_bytes():
            events = decoder.feed(chunk)
            if events:
                yield events
        decoder.end()

    def close(self) -> None:
        self._http.close()


class _AsyncEvents(httpx2.AsyncByteStream):
    """An asynchronous client's frames as events. As above."""

    def __init__(self, response: Any) -> None:
        self._response, self._http = response, response.http_response

    @property
    def elapsed(self) -> Any:
        """The SDK reads a response's `elapsed` from its body."""
        return getattr(self._http.stream, "elapsed", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        decoder = FrameDecoder()
        async for chunk in self._http.aiter_bytes():
            events = decoder.feed(chunk)
            if events:
                yield events
        decoder.end()

    async def aclose(self) -> None:
        await self._http.aclose()


def as_events(response: Any, request: APIRequest, *, is_async: bool) -> Any:
    """The answer itself, or, when it comes in frames, one that reads like any other provider's."""
    http = getattr(response, "http_response", None)
    if http is None or not http.headers.get("content-type", "").lower().startswith(FRAMES):
        return response
    dropped = (b"content-type", b"content-length", b"content-encoding")
    headers = [(name, value) for name, value in http.headers.raw if name.lower() not in dropped]
    headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
    body = (_AsyncEvents if is_async else _Events)(response)
    raw = httpx2.Response(http.status_code, headers=headers, stream=body, request=http.request, extensions=http.extensions)
    return type(response)(
        raw=raw,
        client=parser_of(is_async=is_async),
        cast_to=request.cast_to,
        stream=request.stream,
        stream_cls=request.stream_cls,
        options=request.options,
        retries_taken=response.retries_taken,
    )
