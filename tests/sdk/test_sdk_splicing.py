"""Streams that break, where the tests of the faults do not look: without a chain, with one target, and what must not be continued."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from failover_tools import BY_NAME, Chained, routed, until
from sdk_shapes import COLOURS, HAIKU, SONNET, WEATHER, Shape, ask, each, entered, got, seen_by

from console import CallBlocked, StreamBroken
from console.core.switches import ALL
from console.core.targets import FeaturePolicy, Routing
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.sim.client import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]

STREAMED = [shape for shape in BY_NAME.values() if "stream" in shape.name]
STREAM = BY_NAME["messages.stream"]


def without_chain(**policy: Any) -> Routing:
    return Routing(default=FeaturePolicy(**policy))


@pytest.mark.parametrize("shape", STREAMED, ids=str)
async def test_without_a_chain_a_stream_that_ends_without_its_end_is_an_error_when_that_is_asked_for(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(without_chain(on_break="error"))
    client = client_of(colour, chain, max_retries=0)
    wanted = await seen_by(shape, client_of(colour))
    assert await seen_by(shape, client) == wanted
    api.set_faults([Fault(clean_end_at=4)])
    seen = await seen_by(shape, client)
    assert seen.error is not None and seen.error[0] is StreamBroken
    assert seen.parts == wanted.parts[: len(seen.parts)]
    rows = chain.rows("call")
    assert [(row["outcome"], row["error"]) for row in rows] == [("ok", None), ("failed", "truncated_stream")]
    assert len(chain.rows("attempt")) == 2


async def test_without_a_chain_and_without_being_asked_it_is_passed_on_as_it_is(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(clean_end_at=4)])
    wanted = await seen_by(BY_NAME["create-stream"], client_of(colour))
    assert await seen_by(BY_NAME["create-stream"], client_of(colour, chained(without_chain()))) == wanted
    assert wanted.error is None


async def test_with_one_target_a_stream_goes_on_there(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed("sonnet"))
    async with entered(client_of(colour).messages.stream(**ask(max_tokens=400))) as stream:
        wanted = await got(stream.get_final_message())
    api.set_faults([Fault(stall_at=6, stall_s=0.1, cut_at=6, times=1)])
    async with entered(client_of(colour, chain).messages.stream(**ask(max_tokens=400))) as stream:
        final = await got(stream.get_final_message())
    assert [block.text for block in final.content] == [block.text for block in wanted.content]
    call = chain.only_call()
    assert (call["outcome"], call["served_by"], call["continued"], call["attempts"]) == ("ok", "primary", 1, 2)


async def test_a_continuation_may_use_what_is_left_of_the_callers_max_tokens(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed("sonnet"))
    async with entered(client_of(colour).messages.stream(**ask(max_tokens=60))) as stream:
        wanted = await got(stream.get_final_message())
    assert wanted.stop_reason == "max_tokens"
    api.set_faults([Fault(stall_at=9, stall_s=0.1, cut_at=9, times=1)])
    async with entered(client_of(colour, chain).messages.stream(**ask(max_tokens=60))) as stream:
        final = await got(stream.get_final_message())
    assert final.stop_reason == "max_tokens"
    assert abs(len(final.content[0].text) - len(wanted.content[0].text)) < 50


async def test_an_answer_that_has_a_form_is_not_continued_in_words(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """A schema's JSON out of two attempts would be no JSON."""
    chain = chained(routed())
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    asked = ask(output_config={"format": {"type": "json_schema", "schema": schema}}, max_tokens=400)
    api.set_faults([Fault(model=SONNET, stall_at=4, stall_s=0.1, cut_at=4)])
    with pytest.raises(StreamBroken) as caught:
        async with entered(client_of(colour, chain).messages.stream(**asked)) as stream:
            await got(stream.get_final_message())
    assert caught.value.partial.model == SONNET
    assert [entry["model"] for entry in api.requests()] == [SONNET]


async def test_a_request_that_may_use_tools_is_continued_while_there_is_only_text(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed())
    api.set_faults([Fault(model=SONNET, stall_at=5, stall_s=0.1, cut_at=5)])
    async with entered(client_of(colour, chain).messages.stream(**ask(tools=[WEATHER], max_tokens=400))) as stream:
        final = await got(stream.get_final_message())
    assert final.stop_reason == "end_turn"
    assert [entry["model"] for entry in api.requests()] == [SONNET, HAIKU]
    assert api.requests()[1]["status"] == 200


async def test_a_caller_that_leaves_in_the_middle_of_a_continuation_leaves_nothing_open(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed())
    api.set_faults([Fault(model=SONNET, stall_at=5, stall_s=0.1, cut_at=5), Fault(model=HAIKU, stall_at=9)])
    async with entered(client_of(colour, chain).messages.stream(**ask(max_tokens=200))) as stream:
        pieces = 0
        async for _ in each(stream.text_stream):
            pieces += 1
            if len(api.requests()) == 2:
                break
    assert pieces
    until(lambda: all(entry["client_closed"] or entry["finished"] for entry in api.requests()))
    call = chain.only_call()
    assert (call["outcome"], call["continued"]) == ("cancelled", 1)
    assert chain.runtime.guarded == {}


@pytest.mark.parametrize("shape", [BY_NAME["create-stream"], STREAM], ids=str)
async def test_a13_on_kill_abort_ends_a_stream_without_a_chain_too(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(without_chain(on_kill="abort"))
    api.set_faults([Fault(stall_at=6)])
    timer = threading.Timer(0.4, chain.kill, [ALL])
    timer.start()
    began = time.monotonic()
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert time.monotonic() - began < 3
    timer.join()
    assert seen.error is not None and seen.error[0] is CallBlocked
    assert seen.parts
    call = chain.only_call()
    assert (call["outcome"], call["error"], call["attempts"]) == ("cancelled", "kill_switch", 1)


async def test_a13_on_kill_abort_ends_a_plain_answer_of_a_chain(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(on_kill="abort"))
    api.set_faults([Fault(stall_at=3)])
    timer = threading.Timer(0.4, chain.kill, [ALL])
    timer.start()
    seen = await seen_by(BY_NAME["create"], client_of(colour, chain, max_retries=2))
    timer.join()
    assert seen.error is not None and seen.error[0] is CallBlocked
    assert len(api.requests()) == 1
    assert chain.only_call()["attempts"] == 1
