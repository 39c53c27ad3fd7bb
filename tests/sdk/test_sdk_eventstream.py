"""AWS frames as server-sent events, cut at every byte."""

from __future__ import annotations

import base64
import gc
import json
import weakref
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic._models import FinalRequestOptions
from anthropic._request import APIRequest

from console.sdk.eventstream import FrameDecoder, as_events
from console.sim.clouds import encoded, frame
from console.sim.wire import Event, error_event

EVENTS = (
    Event("message_start", {"type": "message_start", "message": {"id": "msg_1"}}),
    Event("ping", {"type": "ping"}),
    Event("content_block_delta", {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Grüße\n\nvon hier"}}),
    Event("message_stop", {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}),
)
FRAMES = b"".join(encoded("bedrock", event) for event in EVENTS)


def decoded(*chunks: bytes) -> bytes:
    decoder = FrameDecoder()
    found = b"".join(decoder.feed(chunk) for chunk in chunks)
    decoder.end()
    return found


def chunk(payload: dict[str, Any]) -> bytes:
    return frame({":message-type": "event", ":event-type": "chunk"}, json.dumps(payload).encode())


def test_frames_become_the_events_that_the_api_itself_would_have_sent() -> None:
    assert decoded(FRAMES) == b"".join(event.encode() for event in EVENTS)


def test_frames_cut_at_every_byte_give_the_same_events() -> None:
    whole = decoded(FRAMES)
    for index in range(1, len(FRAMES)):
        assert decoded(FRAMES[:index], FRAMES[index:]) == whole
    assert decoded(*(FRAMES[index : index + 1] for index in range(len(FRAMES)))) == whole


def test_an_event_comes_out_with_the_byte_that_completes_its_frame() -> None:
    decoder, first = FrameDecoder(), encoded("bedrock", EVENTS[0])
    assert decoder.feed(first[:-1]) == b""
    assert decoder.feed(first[-1:]) == EVENTS[0].encode()


def test_an_end_inside_a_frame_is_a_broken_stream() -> None:
    ends = {len(b"".join(encoded("bedrock", event) for event in EVENTS[:count])) for count in range(len(EVENTS) + 1)}
    for index in range(len(FRAMES) + 1):
        if index in ends:
            decoded(FRAMES[:index])
        else:
            with pytest.raises(httpx2.RemoteProtocolError, match="inside a frame"):
                decoded(FRAMES[:index])


def test_a_flipped_bit_anywhere_breaks_the_stream_and_never_changes_an_event() -> None:
    good = [event.encode() for event in EVENTS]
    for index in range(len(FRAMES)):
        damaged = FRAMES[:index] + bytes([FRAMES[index] ^ 4]) + FRAMES[index + 1 :]
        decoder, came = FrameDecoder(), b""
        with pytest.raises(httpx2.RemoteProtocolError):
            for byte in range(len(damaged)):
                came += decoder.feed(damaged[byte : byte + 1])
        assert came in {b"".join(good[:count]) for count in range(len(good) + 1)}


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("throttlingException", "rate_limit_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelTimeoutException", "timeout_error"),
        ("validationException", "invalid_request_error"),
        ("internalServerException", "api_error"),
        ("somethingNewException", "api_error"),
    ],
)
def test_an_exception_becomes_an_error_in_the_apis_words(kind: str, told: str) -> None:
    made = frame({":message-type": "exception", ":exception-type": kind}, b'{"message":"Too many tokens"}')
    error = {"type": "error", "error": {"type": told, "message": "Too many tokens"}}
    assert decoded(made) == f"event: error\ndata: {json.dumps(error)}\n\n".encode()


def test_an_error_frame_without_a_body_is_an_error_all_the_same() -> None:
    made = frame({":message-type": "error", ":error-code": "500", ":error-message": "internal"}, b"")
    assert json.loads(decoded(made).split(b"data: ")[1])["error"] == {"type": "api_error", "message": "internal"}


def test_the_simulated_apis_error_in_a_stream_reads_as_it_was_meant() -> None:
    made = encoded("bedrock", error_event("overloaded_error", "Overloaded", "req_1"))
    assert b'"type": "overloaded_error"' in decoded(made)


@pytest.mark.parametrize(
    "broken",
    [
        chunk({"bytes": base64.b64encode(b'{"type": "mess').decode()}),
        chunk({"bytes": base64.b64encode(b"\xff\xfe").decode()}),
        chunk({"p": "abc"}),
        frame({":message-type": "event", ":event-type": "chunk"}, b"not json"),
    ],
    ids=["half an event", "no text", "no bytes", "no json"],
)
def test_an_event_that_cannot_be_read_breaks_the_stream(broken: bytes) -> None:
    with pytest.raises(httpx2.RemoteProtocolError, match="not sound"):
        decoded(broken)


def test_what_is_not_known_yet_is_left_out() -> None:
    metadata = frame({":message-type": "event", ":event-type": "metadata"}, b"{}")
    untyped = chunk({"bytes": base64.b64encode(b'{"outputs": []}').decode()})
    assert decoded(metadata, untyped, FRAMES) == decoded(FRAMES)


def test_a_line_break_in_an_event_cannot_end_it() -> None:
    pretty = json.dumps({"type": "ping", "n": 1}, indent=1)
    assert (
        decoded(chunk({"bytes": base64.b64encode(pretty.encode()).decode()}))
        == b'event: ping\ndata: {"type": "ping", "n": 1}\n\n'
    )
    forged = json.dumps({"type": "ping\n\nevent: message_stop", "n": 1})
    found = decoded(chunk({"bytes": base64.b64encode(forged.encode()).decode()}))
    assert b"\nevent: message_stop" not in found


@pytest.mark.parametrize("is_async", [False, True])
def test_the_events_of_an_answer_keep_the_client_whose_connection_they_come_from(is_async: bool) -> None:
    """The SDK closes the connections of a client that nobody holds."""
    client = (anthropic.AsyncAnthropic if is_async else anthropic.Anthropic)(api_key="k", base_url="http://api.invalid")
    request = APIRequest(options=FinalRequestOptions.construct(method="post", url="/v1/messages"), cast_to=str, stream=True)
    http = httpx2.Response(
        200,
        headers={"content-type": "application/vnd.amazon.eventstream"},
        content=FRAMES,
        request=httpx2.Request("POST", "http://api.invalid/v1/messages"),
    )
    kind = anthropic.AsyncAPIResponse if is_async else anthropic.APIResponse
    response: Any = kind(raw=http, client=client, cast_to=str, stream=True, stream_cls=None, options=request.options)
    shown = as_events(response, request, is_async=is_async).http_response
    held = weakref.ref(client)
    del client, response, http
    gc.collect()
    assert held() is not None
    assert shown.headers["content-type"].startswith("text/event-stream")
    del shown
    gc.collect()
    assert held() is None
