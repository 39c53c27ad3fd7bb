"""Bodies pass whole and are not copied; wires that the simulated API cannot play."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from anthropic import Middleware
from sdk_shapes import COLOURS, MESSAGE_SHAPES, PLAIN, SONNET, Shape, ask, each, entered, got, seen_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from conftest import Installation

    from console.sim.server import SimulatedAPI

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]

USAGE = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7}
MESSAGE = {
    "id": "msg_01a", "type": "message", "role": "assistant", "model": SONNET, "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": '{"answer": "héllo"}'}], "usage": USAGE | {"output_tokens": 20},
}  # fmt: skip
EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None, "usage": USAGE}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "héllo event: error"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
     "usage": {"input_tokens": 40, "output_tokens": 20}},
    {"type": "message_stop"},
)  # fmt: skip


def sse(events: Sequence[dict[str, Any]] = EVENTS, *, newline: str = "\n") -> bytes:
    blocks = (f"event: {event['type']}{newline}data: {json.dumps(event, ensure_ascii=False)}{newline * 2}" for event in events)
    return "".join(blocks).encode()


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body of either colour in pieces of a few bytes."""

    def __init__(self, body: bytes, size: int) -> None:
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def healthy(request: httpx2.Request, *, encoding: str | None = None, size: int = 7, newline: str = "\n") -> httpx2.Response:
    is_streamed = json.loads(request.content).get("stream", False)
    body = sse(newline=newline) if is_streamed else json.dumps(MESSAGE).encode()
    headers = {
        "content-type": "text/event-stream; charset=utf-8" if is_streamed else "application/json",
        "request-id": "req_01a",
    }
    if encoding == "gzip":
        body, headers["content-encoding"] = gzip.compress(body), "gzip"
    return httpx2.Response(200, headers=headers, stream=Pieces(body, size))


@pytest.mark.parametrize("size", [7, 100_000])
@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize("shape", MESSAGE_SHAPES, ids=str)
async def test_a_body_passes_whole_and_is_recorded_compressed_or_not_in_any_pieces(
    shape: Shape, encoding: str | None, size: int, colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    def wire(request: httpx2.Request) -> httpx2.Response:
        return healthy(request, encoding=encoding, size=size)

    bare = await seen_by(shape, client_of(colour, wire=wire))
    watched = await seen_by(shape, client_of(colour, installation.console, wire=wire))
    assert bare.error is None
    assert watched == bare
    call = installation.only_call()
    assert (call["outcome"], call["stop_reason"], call["request_id"]) == ("ok", "end_turn", "req_01a")
    assert (call["output_tokens"], call["cache_read_tokens"], call["cache_write_5m_tokens"]) == (20, 5, 7)
    assert call["input_tokens"] == (40 if shape.is_streamed else 10)  # the later event has the total, server tools included


async def test_a_stream_with_other_line_ends_is_recorded(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console, wire=lambda request: healthy(request, newline="\r\n"))
    async with entered(client.messages.stream(**ask())) as stream:
        message = await got(stream.get_final_message())
    assert message.usage.input_tokens == 40
    assert installation.only_call()["input_tokens"] == 40


async def test_a_stream_without_its_last_event_is_a_failed_call_and_the_caller_sees_what_the_sdk_shows(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    def wire(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces(sse(EVENTS[:-2]), 50))

    for shape in (shape for shape in MESSAGE_SHAPES if shape.is_streamed):
        bare = await seen_by(shape, client_of(colour, wire=wire))
        assert await seen_by(shape, client_of(colour, installation.console, wire=wire)) == bare
    calls = installation.rows("call")
    assert {(call["outcome"], call["status"], call["error"]) for call in calls} == {("failed", 200, "truncated_stream")}


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b'{"message": "bad gateway"}', b"", b"[1]", b'{"error": "x"}'])
async def test_an_error_page_of_a_gateway_is_a_failed_call_of_its_status(
    body: bytes, colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    def wire(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(502, headers={"content-type": "application/json"}, stream=Pieces(body, 9))

    for shape in MESSAGE_SHAPES:
        bare = await seen_by(shape, client_of(colour, wire=wire))
        assert await seen_by(shape, client_of(colour, installation.console, wire=wire)) == bare
    calls = installation.rows("call")
    assert {(call["outcome"], call["status"], call["error"]) for call in calls} == {("failed", 502, "api_error")}
    assert installation.errors == 0


async def test_an_answer_that_is_too_large_to_be_held_is_whole_all_the_same(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    large = json.dumps(MESSAGE | {"content": [{"type": "text", "text": "x" * 5_000_000}]}).encode()

    def wire(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "application/json"}, stream=Pieces(large, 65_536))

    client = client_of(colour, installation.console, wire=wire)
    async with entered(client.messages.with_streaming_response.create(**ask())) as response:
        assert len(await got(response.read())) == len(large)
    assert installation.only_call()["outcome"] == "ok"


async def test_an_answer_that_the_callers_own_type_refuses_is_recorded_with_its_tokens(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    prose = MESSAGE | {"content": [{"type": "text", "text": "no JSON at all"}]}

    def wire(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=prose)

    parse = next(shape for shape in MESSAGE_SHAPES if shape.name == "parse")
    bare = await seen_by(parse, client_of(colour, wire=wire))
    assert bare.error is not None
    assert await seen_by(parse, client_of(colour, installation.console, wire=wire)) == bare
    call = installation.only_call()
    assert (call["outcome"], call["output_tokens"], call["model_served"]) == ("ok", 20, SONNET)


async def test_a_request_of_a_megabyte_is_not_copied(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    bodies: dict[str, Any] = {}

    class Witness(Middleware):
        def __init__(self, place: str) -> None:
            self._place = place

        def handle(self, request: Any, call_next: Any) -> Any:
            bodies[self._place] = request.json
            return call_next(request)

        async def handle_async(self, request: Any, call_next: Any) -> Any:
            bodies[self._place] = request.json
            return await call_next(request)

    around = [Witness("above"), installation.console.middleware, Witness("below")]
    client = client_of(colour, wire=healthy, middleware=around)
    messages = [{"role": "user", "content": "x" * 2_500} for _ in range(400)]
    await got(client.messages.create(**ask(messages=messages)))
    assert bodies["below"] is bodies["above"]
    assert bodies["below"]["messages"][7]["content"] is messages[7]["content"]


async def test_the_request_of_another_middleware_is_left_as_it_is(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    seen: list[tuple[Any, dict[str, Any]]] = []

    class Outer(Middleware):
        def handle(self, request: Any, call_next: Any) -> Any:
            answer = call_next(request)
            seen.append((request, dict(request.headers)))
            return answer

        async def handle_async(self, request: Any, call_next: Any) -> Any:
            answer = await call_next(request)
            seen.append((request, dict(request.headers)))
            return answer

    tags = installation.console.tags(feature="support-reply")
    client = client_of(colour, wire=healthy, middleware=[Outer(), installation.console.middleware])
    await seen_by(PLAIN, client, extra_headers=tags)
    assert seen[0][1]["x-console-feature"] == "support-reply"


async def test_a_middleware_below_may_answer_with_a_finished_value(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    class Cached(Middleware):
        def handle(self, request: Any, call_next: Any) -> Any:
            return "from the cache"

        async def handle_async(self, request: Any, call_next: Any) -> Any:
            return "from the cache"

    client = client_of(colour, wire=healthy, middleware=[installation.console.middleware, Cached()])
    assert await got(client.messages.create(**ask())) == "from the cache"
    assert installation.only_call()["outcome"] == "ok"


async def test_a_dropped_stream_is_recorded_when_it_is_collected(
    colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console, wire=healthy)
    stream = await got(client.messages.create(**ask(), stream=True))
    events = each(stream)
    await anext(events)
    await events.aclose()
    del stream, events
    gc.collect()
    await asyncio.sleep(0.01)  # the loop closes what an asynchronous generator held
    gc.collect()
    assert installation.only_call()["outcome"] == "cancelled"
