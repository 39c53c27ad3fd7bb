"""Streams and a chain: before the first content the caller sees one clean stream (I9), after it an error and never silence."""

from __future__ import annotations

import gc
import json
import threading
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from failover_tools import BY_NAME, QUICK, SHORT, Chained, routed, until
from sdk_shapes import COLOURS, HAIKU, SONNET, WEATHER, Shape, ask, each, entered, got, seen_by

from console import StreamBroken
from console.core.switches import ALL, Scope
from console.core.targets import Target
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.sim.server import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]

STREAMED = tuple(shape for shape in BY_NAME.values() if shape.is_streamed)
AS_EVENTS = tuple(shape for shape in STREAMED if shape.name in ("create-stream", "raw-stream", "beta-stream"))
BEFORE = (
    *(Fault(model=SONNET, error_at=index) for index in (0, 1, 2)),
    *(Fault(model=SONNET, error_at=1, error_type=kind) for kind in ("api_error", "timeout_error", "not_a_known_error")),
    *(Fault(model=SONNET, cut_at=index) for index in (0, 1, 2)),
    *(Fault(model=SONNET, clean_end_at=index) for index in (0, 1, 2)),
    Fault(model=SONNET, status=529),
    Fault(model=SONNET, reset=True),
)


@pytest.mark.parametrize("fault", BEFORE, ids=lambda fault: fault.label)
@pytest.mark.parametrize("shape", AS_EVENTS, ids=str)
async def test_b7_i9_a_failure_before_the_first_content_leaves_one_clean_stream(
    fault: Fault,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    chain = chained()
    api.set_faults([fault])
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert seen.error is None
    events = [part[1] for part in seen.parts if isinstance(part, list)]
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds.count("message_start"), kinds[-1], kinds.count("message_stop")) == (
        "message_start",
        1,
        "message_stop",
        1,
    )
    assert events[0]["message"]["model"] == HAIKU
    text = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    assert text == await _text_of(client_of(colour), model=HAIKU)


async def _text_of(client: Any, **more: Any) -> str:
    message = await got(client.messages.create(**ask(**more)))
    return "".join(block.text for block in message.content)


@pytest.mark.parametrize("shape", [BY_NAME["messages.stream"], BY_NAME["unread-stream"]], ids=str)
async def test_i9_a_primary_that_pauses_before_its_content_is_kept_and_nothing_comes_twice(
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """The events that were held while it was not sure are handed over once."""
    bare = await seen_by(shape, client_of(colour))
    for fault in (Fault(stall_at=0, stall_s=0.1), Fault(stall_at=2, stall_s=0.1, pings_only=True), Fault(first_token_s=0.1)):
        api.set_faults([fault])
        seen = await seen_by(shape, client_of(colour, chained()))
        assert seen.error is None
        if fault.pings_only and shape.name == "unread-stream":  # a raw reader sees the pings themselves
            lines, wanted = ([part for part in parts if part and "ping" not in part] for parts in (seen.parts, bare.parts))
            assert lines == wanted
        else:
            assert seen.parts == bare.parts


async def test_i9_a_tool_calls_json_comes_from_one_attempt(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed("opus", "haiku", targets={"opus": Target("opus", "claude-opus-5-5")}))
    asked = ask(tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"})
    async with entered(client_of(colour).messages.stream(**asked | {"model": HAIKU})) as stream:
        wanted = await got(stream.get_final_message())
    for at in (0, 1, 2):
        api.set_faults([Fault(model="claude-opus-5-5", cut_at=at)])
        async with entered(client_of(colour, chain).messages.stream(**asked)) as stream:
            final = await got(stream.get_final_message())
        assert final.model == HAIKU
        assert [block.input for block in final.content if block.type == "tool_use"] == [
            block.input for block in wanted.content if block.type == "tool_use"
        ]
        assert any(block.type == "tool_use" for block in final.content)


# -- a stream that was committed ---------------------------------------------------------------------------------------

AFTER = {
    "cut": (Fault(model=SONNET, cut_at=4), "reset"),
    "error in band": (Fault(model=SONNET, stall_at=4, stall_s=0.2, error_at=5), "overloaded_error"),
    "stall": (Fault(model=SONNET, stall_at=4), "timeout"),
    "pings": (Fault(model=SONNET, stall_at=4, pings_only=True), "timeout"),
}


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (shape, what)
        for shape in STREAMED
        for what in AFTER
        if what in ("cut", "error in band") or shape.name == "messages.stream"
    ],
    ids=str,
)
async def test_a_committed_stream_that_must_not_go_on_is_an_error_for_the_caller_and_a_failure_of_the_target(
    what: str, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """`on_break: error`: no other target is asked, because some of the answer has been seen."""
    fault, kind = AFTER[what]
    chain = chained(routed(limits=SHORT, on_break="error"))
    api.set_faults([fault])
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert seen.error is not None and seen.error[0] is StreamBroken
    assert seen.parts != []
    assert [entry["model"] for entry in api.requests()] == [SONNET]
    call = chain.only_call()
    assert (call["outcome"], call["served_by"], call["status"], call["error"]) == ("failed", "none", 200, kind)
    assert (call["target"], call["model_served"], call["attempts"]) == ("sonnet", SONNET, 1)
    assert call["input_tokens"] > 0


async def test_b9_a_clean_end_without_message_stop_is_a_failed_call(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(breaker=QUICK, on_break="error"))
    api.set_faults([Fault(model=SONNET, clean_end_at=4)])
    client = client_of(colour, chain)
    for _ in range(3):
        seen = await seen_by(BY_NAME["messages.stream"], client)
        assert seen.error is not None and seen.error[0] is StreamBroken
    until(lambda: chain.state("sonnet") != "closed")
    assert [(row["outcome"], row["error"]) for row in chain.rows("call")] == [("failed", "truncated_stream")] * 3


@pytest.mark.parametrize("what", ["cut", "error in band"])
async def test_three_broken_streams_open_the_breaker(
    what: str, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(breaker=QUICK, on_break="error"))
    api.set_faults([AFTER[what][0]])
    client = client_of(colour, chain)
    for _ in range(3):
        assert (await seen_by(BY_NAME["messages.stream"], client)).error is not None
    until(lambda: chain.state("sonnet") == "open")
    wanted = await seen_by(BY_NAME["messages.stream"], client_of(colour), model=HAIKU)
    assert await seen_by(BY_NAME["messages.stream"], client) == wanted


async def test_i8_streams_that_the_caller_closes_early_open_no_breaker(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(breaker=QUICK))
    client = client_of(colour, chain)
    api.set_faults([Fault(trickle_bytes_per_s=20_000)])
    for _ in range(5):
        async with entered(client.messages.stream(**ask(max_tokens=500))) as stream:
            async for _ in each(stream.text_stream):
                break
    rows = chain.rows("call")
    assert [row["outcome"] for row in rows] == ["cancelled"] * 5
    assert chain.state("sonnet") == "closed"


async def test_a_stream_that_is_dropped_unread_leaves_nothing_behind(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    api.set_faults([Fault(stall_at=4)])
    stream = await got(client_of(colour, chain).messages.create(**ask(), stream=True))
    assert len(chain.runtime.guarded) == 1
    await got(stream.close())
    del stream
    gc.collect()
    assert not chain.runtime.guarded
    assert chain.only_call()["outcome"] == "cancelled"


async def test_a_kill_during_a_stream_lets_it_finish(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """A13: on_kill is `finish` by default."""
    chain = chained()
    api.set_faults([Fault(stall_at=4, stall_s=0.3)])
    bare = await seen_by(BY_NAME["messages.stream"], client_of(colour))
    killing = threading.Timer(0.1, chain.kill, (ALL,))
    killing.start()
    assert await seen_by(BY_NAME["messages.stream"], client_of(colour, chain)) == bare
    killing.join()
    assert chain.only_call()["outcome"] == "ok"


@pytest.mark.parametrize("name", ["messages.stream", "create-stream", "unread-stream"])
async def test_an_error_in_band_first_and_then_a_kill_of_the_fallback(
    name: str, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The error that was held back is the caller's after all."""
    chain = chained()
    chain.kill(Scope("model", HAIKU))
    api.set_faults([Fault(error_at=1)])
    bare = await seen_by(BY_NAME[name], client_of(colour))
    api.clear_requests()
    assert await seen_by(BY_NAME[name], client_of(colour, chain, max_retries=2)) == bare
    assert [entry["model"] for entry in api.requests()] == [SONNET]


async def test_a_compressed_stream_that_cannot_be_read_is_left_for_the_next_target(
    colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any], api: SimulatedAPI
) -> None:
    closed: list[str] = []

    class Broken(httpx2.SyncByteStream, httpx2.AsyncByteStream):
        def __iter__(self) -> Any:
            yield b"this is not gzip"

        async def __aiter__(self) -> Any:
            yield b"this is not gzip"

        def close(self) -> None:
            closed.append("closed")

        async def aclose(self) -> None:
            closed.append("closed")

    def wire(request: httpx2.Request) -> httpx2.Response:
        model = json.loads(request.content)["model"]
        if model == SONNET:
            head = {"content-type": "text/event-stream", "content-encoding": "gzip"}
            return httpx2.Response(200, headers=head, stream=Broken())
        whole = b"".join(
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in _events(model, "From the next.")
        )
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=whole)

    seen = await seen_by(BY_NAME["messages.stream"], client_of(colour, chained(), wire=wire))
    assert (seen.error, seen.parts[:-1]) == (None, ["From the next."])
    assert closed


def _events(model: str, text: str) -> list[dict[str, Any]]:
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1},
    }  # fmt: skip
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
