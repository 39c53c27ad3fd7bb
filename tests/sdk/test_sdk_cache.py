"""Answers that are kept and given again: to whom, when, as what, and never after a kill; over real sockets."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from failover_tools import BY_NAME, FOUR, QUICK, WHOLE, Chained, Server, request_on, routed, until
from sdk_shapes import COLOURS, HAIKU, SONNET, WEATHER, Seen, Shape, ask, each, entered, got, plain, seen_by

from console import CallBlocked
from console.core.breaker import BreakerPolicy
from console.core.caching import MAX_ANSWER, MAX_ASKED, CachePolicy
from console.core.switches import ALL, Scope
from console.core.targets import FeaturePolicy, Routing, Target
from console.sim.faults import Fault

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from console.sim.server import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]

ALWAYS, ON_FAILURE = CachePolicy("always", ttl=3600, stale=86400), CachePolicy("on_failure", ttl=3600, stale=86400)
DOWN = (Fault(status=529),)
WHOLE_ANSWER: dict[str, Any] = {"max_tokens": 500}
"""So much that the simulated model ends by itself."""
CREATE, STREAM, RAW = BY_NAME["create"], BY_NAME["messages.stream"], BY_NAME["raw"]


def keeping(policy: CachePolicy = ALWAYS, **more: Any) -> Routing:
    return routed(cache=policy, **more)


def without_chain(policy: CachePolicy) -> Routing:
    return replace(routed(), default=FeaturePolicy(cache=policy), features={})


def holds(chain: Chained, count: int) -> None:
    """Waits until so many answers are kept."""
    until(lambda: chain.runtime.cache.size[0] == count)


def settled(chain: Chained, calls: int) -> None:
    """Waits until the recorder has looked at so many calls, and perhaps kept their answers."""
    until(lambda: chain.runtime._recorder._taken == calls)


class Clocks:
    """Both clocks as the ladder reads them, moved by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steady_s = self.wall_s = 0.0
        patch.setattr("console.sdk.ladder.steady_us", lambda: time.perf_counter_ns() // 1000 + round(self.steady_s * 1e6))
        patch.setattr("console.sdk.ladder.now_us", lambda: time.time_ns() // 1000 + round(self.wall_s * 1e6))

    def go(self, seconds: float) -> None:
        self.steady_s += seconds
        self.wall_s += seconds


@pytest.fixture(autouse=True, scope="module")
def _quick_recorder() -> Iterator[None]:
    """Every test here waits for the recorder to have looked at an answer."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr("console.runtime.recorder.FLUSH_S", 0.01)
        yield


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


async def raw_of(client: Any, **more: Any) -> Any:
    """The response, with its headers."""
    return await got(client.messages.with_raw_response.create(**ask(**WHOLE_ANSWER | more)))


def marks_of(response: Any) -> dict[str, str]:
    """What the middleware has written on a response."""
    return {name.removeprefix("x-console-"): value for name, value in response.headers.items() if name.startswith("x-console-")}


def text_in(seen: Seen) -> str:
    """Everything that the caller has seen, to look for a text in it."""
    return "".join(json.dumps(part, ensure_ascii=False) if not isinstance(part, str) else part for part in seen.parts)


async def _text_of(client: Any, **more: Any) -> str:
    message = await got(client.messages.create(**ask(**WHOLE_ANSWER | more)))
    return "".join(block.text for block in message.content)


# -- given again -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", WHOLE, ids=str)
async def test_the_same_question_is_answered_without_asking_again_in_every_form(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    first = await seen_by(shape, client, **WHOLE_ANSWER)
    assert first.error is None
    holds(chain, 1)
    api.clear_requests()
    again = await seen_by(shape, client, **WHOLE_ANSWER)
    assert again.error is None
    assert api.requests() == []
    if shape.name in ("create", "parse", "beta"):
        (parts,), (wanted,) = again.parts, first.parts
        assert {**parts[1], "usage": None} == {**wanted[1], "usage": None}
        assert (parts[0], parts[1]["usage"]["input_tokens"], parts[1]["usage"]["output_tokens"]) == (wanted[0], 0, 0)
    elif shape.name != "parse":
        words = await _text_of(client_of(colour))
        assert "".join(part for part in again.parts if isinstance(part, str)) == words or words[:28] in text_in(again)
    assert chain.runtime.errors == 0


@pytest.mark.parametrize("then", FOUR, ids=str)
@pytest.mark.parametrize("first", FOUR, ids=str)
async def test_a_stream_and_a_plain_answer_stand_in_for_each_other(
    first: Shape, then: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    assert (await seen_by(first, client, **WHOLE_ANSWER)).error is None
    holds(chain, 1)
    bare = await seen_by(then, client_of(colour), **WHOLE_ANSWER)
    api.clear_requests()
    seen = await seen_by(then, client, **WHOLE_ANSWER)
    assert (seen.error, api.requests()) == (None, [])
    (final, wanted) = (seen.parts[-1][1], bare.parts[-1][1])
    assert {**final, "usage": None} == {**wanted, "usage": None}
    assert (final["usage"]["input_tokens"], final["usage"]["output_tokens"]) == (0, 0)
    if then is STREAM:
        assert "".join(seen.parts[:-1]) == "".join(bare.parts[:-1])


async def test_a_cached_stream_can_be_left_early_and_its_events_are_well_formed(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    await seen_by(CREATE, client, **WHOLE_ANSWER)
    holds(chain, 1)
    stream = await got(client.messages.create(**ask(**WHOLE_ANSWER), stream=True))
    async for _ in each(stream):
        break
    await got(stream.close())
    events = [event async for event in each(await got(client.messages.create(**ask(**WHOLE_ANSWER), stream=True)))]
    kinds = [event.type for event in events]
    assert (kinds[0], kinds.count("message_start"), kinds[-1], kinds.count("message_stop")) == (
        "message_start",
        1,
        "message_stop",
        1,
    )
    assert len(api.requests()) == 1


async def test_the_answer_is_given_to_the_same_question_of_the_same_customer_only(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    headers = {"x-console-feature": "a", "x-console-customer": "acme"}

    async def asks(**more: Any) -> int:
        """How many requests reach the API."""
        api.clear_requests()
        await got(client.messages.create(**ask(**{**WHOLE_ANSWER, "extra_headers": headers, **more})))
        return len(api.requests())

    assert await asks() == 1
    holds(chain, 1)
    assert await asks() == 0
    assert await asks(metadata={"user_id": "someone"}) == 0
    assert await asks(extra_headers=headers | {"traceparent": "00-1", "X-Request-ID": "r1", "Idempotency-Key": "i"}) == 0
    assert await asks(extra_headers=headers | {"x-console-session": "s1"}) == 0
    for other in (
        {"extra_headers": headers | {"x-console-customer": "beta"}},
        {"extra_headers": {"x-console-feature": "a"}},
        {"extra_headers": headers | {"x-console-feature": "b"}},
        {"extra_headers": headers | {"anthropic-beta": "context-1m-2025-08-07"}},
        {"extra_headers": headers | {"x-gateway-model": "small"}},
        {"extra_headers": headers | {"X-Api-Key": "revoked"}},
        {"extra_headers": headers | {"authorization": "Bearer another"}},
        {"extra_query": {"a": "b"}},
        {"extra_body": {"stop_sequences": ["yyy"]}},
        {"max_tokens": 501},
        {"model": HAIKU},
        {"stop_sequences": ["zzz"]},
        {"messages": [{"role": "user", "content": "Where is it?"}]},
    ):
        assert await asks(**other) == 1, other


async def test_clients_that_differ_in_what_they_send_do_not_share_answers(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    await seen_by(CREATE, client_of(colour, chain), **WHOLE_ANSWER)
    holds(chain, 1)
    same: tuple[dict[str, Any], ...] = (
        {},
        {"base_url": api.url + "/"},
        {"timeout": 9},
        {"default_headers": {"User-Agent": "x"}},
    )
    others: tuple[dict[str, Any], ...] = (
        {"default_headers": {"anthropic-beta": "context-1m-2025-08-07"}},
        {"default_headers": {"x-gateway-model": "small"}},
        {"default_query": {"tenant": "b"}},
        {"api_key": "another"},
        {"api_key": None, "auth_token": "sim-token"},
        {"api_key": None, "credentials": anthropic.StaticToken("one")},
        {"api_key": None, "credentials": anthropic.StaticToken("two")},
    )
    for different in (*same, *others):
        api.clear_requests()
        client = client_of(colour, chain, **different)
        seen = await seen_by(CREATE, client, **WHOLE_ANSWER)
        assert (seen.error, len(api.requests())) == (None, different in others), different
    kept = len(others) + 1
    holds(chain, kept)
    api.clear_requests()
    await seen_by(CREATE, client.with_options(timeout=9), **WHOLE_ANSWER)
    assert api.requests() == [], "a copy of a client is the same one"
    client._client.headers["x-gateway-model"] = "small"
    await seen_by(CREATE, client, **WHOLE_ANSWER)
    holds(chain, kept + 1)
    client._client.auth = httpx2.BasicAuth("a", "b")
    await seen_by(CREATE, client, **WHOLE_ANSWER)
    assert len(api.requests()) == 2
    assert chain.runtime.errors == 0
    with Server(saying("end_turn", [TEXT])) as elsewhere:
        await seen_by(CREATE, client_of(colour, chain, base_url=elsewhere.url), **WHOLE_ANSWER)
        assert elsewhere.began == 1


async def test_a_question_that_is_changed_after_the_call_is_another_question(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """An application appends the next turn to the very list that it has sent."""
    chain = chained(keeping())
    client = client_of(colour, chain)
    block = {"type": "text", "text": "Where is my parcel?"}
    messages: list[Any] = [{"role": "user", "content": [block]}]
    await got(client.messages.create(**ask(messages=messages, **WHOLE_ANSWER)))
    block["text"] = "Delete my account."
    messages.append({"role": "assistant", "content": "It is here."})
    messages.append({"role": "user", "content": "And now?"})
    holds(chain, 1)
    api.clear_requests()
    await got(client.messages.create(**ask(messages=messages, **WHOLE_ANSWER)))
    assert len(api.requests()) == 1
    api.clear_requests()
    asked = [{"role": "user", "content": [{"type": "text", "text": "Where is my parcel?"}]}]
    await got(client.messages.create(**ask(messages=asked, **WHOLE_ANSWER)))
    assert api.requests() == []


async def test_a_rendered_prompt_and_the_same_text_are_the_same_question(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    from console.sdk.prompts import Prompt

    chain = chained(keeping())
    client = client_of(colour, chain)
    made = Prompt.__new__(Prompt, "You help.", "a-prompt", "1", "0" * 64)
    headers = {"x-console-feature": "a"}
    await got(client.messages.create(**ask(system=made, extra_headers=headers, **WHOLE_ANSWER)))
    holds(chain, 1)
    api.clear_requests()
    await got(client.messages.create(**ask(system="You help.", extra_headers=headers, **WHOLE_ANSWER)))
    assert api.requests() == []


# -- in place of a failure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", FOUR, ids=str)
async def test_when_everything_fails_the_caller_gets_what_was_said_before(
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    clocks: Clocks,
) -> None:
    """Fresh, then stale, then not at all; a call that is answered from the cache is recorded as that, with its failed attempts."""
    chain = chained(keeping(ON_FAILURE))
    client = client_of(colour, chain, max_retries=2)
    first = await seen_by(shape, client, **WHOLE_ANSWER)
    holds(chain, 1)
    assert len(api.requests()) == 1
    await seen_by(shape, client, **WHOLE_ANSWER)
    assert len(api.requests()) == 2  # it is not given while the API answers
    settled(chain, 2)
    api.set_faults(DOWN)
    for _ in range(2):
        seen = await seen_by(shape, client, **WHOLE_ANSWER)
        assert seen.error is None
        assert plain(seen.parts[-1][1]["content"]) == plain(first.parts[-1][1]["content"])
        clocks.go(3601)
    clocks.go(86400)
    seen = await seen_by(shape, client, **WHOLE_ANSWER)
    assert seen.error is not None and seen.error[2] == 529
    calls = chain.rows("call")
    assert [(row["served_by"], row["outcome"], row["status"], row["error"]) for row in calls] == [
        ("primary", "ok", 200, None),
        ("primary", "ok", 200, None),
        ("cache", "ok", None, None),
        ("stale", "ok", None, None),
        ("none", "failed", 529, "overloaded_error"),
    ]
    assert [row["attempts"] for row in calls] == [1, 1, 2, 2, 2]
    ages = [row["age_us"] for row in calls]
    assert ages[:2] == [None, None] and ages[4] is None
    assert 0 <= ages[2] < 60e6 and 3601e6 <= ages[3] < 3661e6
    assert [(row["input_tokens"] or 0) + (row["output_tokens"] or 0) > 0 for row in calls] == [True, True, False, False, False]
    assert (calls[2]["target"], calls[2]["model_served"], calls[2]["stop_reason"]) == ("sonnet", SONNET, "end_turn")
    assert [row["status"] for row in chain.rows("attempt")] == [200, 200] + [529] * 6
    attempted = sum(row["latency_us"] for row in chain.rows("attempt") if row["call"] == calls[3]["id"])
    assert attempted <= calls[3]["latency_us"] < attempted + 5e6


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=529), Fault(status=500), Fault(status=429), Fault(status=401), Fault(reset=True), Fault(error_at=1),
        Fault(cut_at=0),
    ],
    ids=lambda fault: fault.label,
)  # fmt: skip
async def test_whatever_the_api_fails_with_a_stale_answer_stands_in(
    fault: Fault,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    clocks: Clocks,
) -> None:
    chain = chained(keeping(ON_FAILURE))
    client = client_of(colour, chain)
    for shape in FOUR:
        await seen_by(shape, client, **WHOLE_ANSWER)
    holds(chain, 1)
    clocks.go(7200)
    api.set_faults([fault])
    for shape in FOUR:
        if fault.error_at is None or shape is STREAM:
            assert (await seen_by(shape, client, **WHOLE_ANSWER)).error is None
    assert {row["served_by"] for row in chain.rows("call")[2:]} == {"stale"}


async def test_the_callers_own_fault_is_his_to_see(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    for routing in (keeping(ON_FAILURE), without_chain(ON_FAILURE)):
        chain = chained(routing)
        client = client_of(colour, chain)
        api.clear_faults()
        await seen_by(CREATE, client, **WHOLE_ANSWER)
        holds(chain, 1)
        api.set_faults([Fault(status=400)])
        for shape in FOUR:
            seen = await seen_by(shape, client, **WHOLE_ANSWER)
            assert seen.error is not None and seen.error[2] == 400


async def test_i6_when_every_target_is_left_alone_nobody_is_asked(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping(ON_FAILURE, breaker=BreakerPolicy(consecutive=1, dwell=600)))
    client = client_of(colour, chain)
    await seen_by(CREATE, client, **WHOLE_ANSWER)
    holds(chain, 1)
    for target in ("sonnet", "haiku"):
        chain.force(target, "forced_open")
    api.clear_requests()
    for shape in FOUR:
        assert (await seen_by(shape, client, **WHOLE_ANSWER)).error is None
    assert api.requests() == []
    rows = chain.rows("call")[1:]
    assert [(row["served_by"], row["outcome"], row["attempts"], row["error"]) for row in rows] == [("cache", "ok", 0, None)] * 2


@pytest.mark.parametrize("shape", FOUR, ids=str)
@pytest.mark.parametrize("fault", [*DOWN, Fault(reset=True)], ids=lambda fault: fault.label)
async def test_without_a_chain_it_stands_in_for_what_the_sdk_would_not_repeat(
    fault: Fault, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The SDK repeats as often as it is told to; then the caller gets the answer and not the failure."""
    chain = chained(without_chain(ON_FAILURE))
    client = client_of(colour, chain, max_retries=2)
    first = await seen_by(shape, client, **WHOLE_ANSWER)
    holds(chain, 1)
    api.clear_requests()
    api.set_faults([fault])
    seen = await seen_by(shape, client, **WHOLE_ANSWER)
    assert seen.error is None
    assert seen.parts[-1][1]["content"] == first.parts[-1][1]["content"]
    assert len(api.requests()) == 3
    call = chain.rows("call")[1]
    assert (call["served_by"], call["outcome"], call["attempts"], call["error"]) == ("cache", "ok", 3, None)
    assert call["age_us"] >= 0
    error = "reset" if fault.reset else "overloaded_error"
    assert [row["error"] for row in chain.rows("attempt")] == [None] + [error] * 3
    assert len(chain.rows("call")) == 2


async def test_without_a_chain_a_failure_that_nobody_has_an_answer_for_is_the_failure_itself(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(without_chain(ON_FAILURE))
    api.set_faults(DOWN)
    for shape in FOUR:
        seen = await seen_by(shape, client_of(colour, chain, max_retries=1), **WHOLE_ANSWER)
        assert seen.error is not None and seen.error[2] == 529
    assert [(row["outcome"], row["attempts"], row["status"]) for row in chain.rows("call")] == [("failed", 2, 529)] * 2


async def test_the_defined_text_comes_after_what_was_kept(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any], clocks: Clocks
) -> None:
    chain = chained(keeping(ON_FAILURE), default="Later.")
    client = client_of(colour, chain)
    first = await got(client.messages.create(**ask(**WHOLE_ANSWER)))
    holds(chain, 1)
    api.set_faults(DOWN)
    assert (await got(client.messages.create(**ask(**WHOLE_ANSWER)))).content == first.content
    clocks.go(90_000)
    assert (await got(client.messages.create(**ask(**WHOLE_ANSWER)))).content[0].text == "Later."
    assert [row["served_by"] for row in chain.rows("call")] == ["primary", "cache", "degraded"]


@pytest.mark.parametrize("mode", ["always", "on_failure"])
async def test_b13_a_clock_that_jumps_makes_nothing_fresh(
    mode: Any, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any], clocks: Clocks
) -> None:
    chain = chained(keeping(CachePolicy(mode, ttl=60, stale=600)))
    client = client_of(colour, chain)
    await raw_of(client)
    holds(chain, 1)
    api.set_faults(DOWN)
    clocks.go(300)
    clocks.wall_s -= 3600
    assert marks_of(await raw_of(client))["served-by"] == "stale"
    clocks.go(300)
    with pytest.raises(anthropic.APIStatusError):
        await raw_of(client)
    clocks.steady_s, clocks.wall_s = 0.0, 86400.0  # a day ahead: too old to be believed
    with pytest.raises(anthropic.APIStatusError):
        await raw_of(client)
    clocks.wall_s = 0.0  # and back: nothing was forgotten for it
    assert marks_of(await raw_of(client))["served-by"] == "cache"


# -- what is never kept ------------------------------------------------------------------------------------------------


def saying(stop_reason: str | None, content: list[dict[str, Any]], **more: Any) -> Callable[[socket.socket], None]:
    """A server whose answers end for a reason, plain or streamed."""
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": SONNET, "content": content, "stop_reason": stop_reason,
        "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 4}, **more,
    }  # fmt: skip

    def serve(connection: socket.socket) -> None:
        from console.core.caching import events_of

        _, asked = request_on(connection)
        if json.loads(asked).get("stream"):
            kind = "text/event-stream"
            body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events_of(message)).encode()
        else:
            kind, body = "application/json", json.dumps(message).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    return serve


TEXT = {"type": "text", "text": "Here it is."}
CALLED = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
NEVER = {
    "cut": saying("max_tokens", [TEXT]),
    "refused": saying("refusal", [TEXT]),
    "a tool is to run": saying("tool_use", [TEXT, CALLED]),
    "a tool's call in it": saying("end_turn", [TEXT, CALLED]),
    "paused": saying("pause_turn", [TEXT]),
    "empty": saying("end_turn", []),
    "in a container": saying("end_turn", [TEXT], container={"id": "c", "expires_at": "2026-11-22T00:00:00Z"}),
    "too long": saying("end_turn", [{"type": "text", "text": "x" * (MAX_ANSWER + 1)}]),
}


@pytest.mark.parametrize("serve", NEVER.values(), ids=NEVER)
async def test_i10_an_answer_that_must_not_be_repeated_is_never_kept(
    serve: Callable[[socket.socket], None], colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    for routing in (keeping(), without_chain(ALWAYS)):
        chain = chained(routing)
        with Server(serve) as server:
            client = client_of(colour, chain, base_url=server.url)
            for number, shape in enumerate((*FOUR, BY_NAME["unread"], BY_NAME["unread-stream"]), start=1):
                assert (await seen_by(shape, client)).error is None
                settled(chain, number)
            assert server.began == 4
        assert (chain.runtime.cache.size, chain.runtime.errors) == ((0, 0), 0)


async def test_an_answer_that_may_be_repeated_is_kept_from_every_way_of_reading_it(
    colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The other side of the test before: the same server, and an answer that ended by itself."""
    for routing in (keeping(), without_chain(ALWAYS)):
        for shape in (*FOUR, BY_NAME["unread"], BY_NAME["unread-stream"]):
            chain = chained(routing)
            with Server(saying("end_turn", [TEXT])) as server:
                client = client_of(colour, chain, base_url=server.url)
                for _ in range(2):
                    assert (await seen_by(shape, client)).error is None
                    holds(chain, 1)
                assert server.began == 1


@pytest.mark.parametrize(
    "fault", [Fault(cut_at=8), Fault(error_at=8), Fault(clean_end_at=8), Fault(malformed_at=8)], ids=lambda fault: fault.label
)
async def test_a_stream_that_broke_is_never_kept_whether_it_was_continued_or_not(
    fault: Fault, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    for on_break in ("continue", "error"):
        chain = chained(keeping(on_break=on_break))
        api.set_faults([replace(fault, model=SONNET, stall_at=6, stall_s=0.05)])  # what comes before it reaches the caller
        seen = await seen_by(STREAM, client_of(colour, chain), **WHOLE_ANSWER)
        assert (seen.error is None) == (on_break == "continue")
        settled(chain, 1)
        assert (chain.runtime.cache.size, chain.runtime.errors) == ((0, 0), 0)
        assert chain.only_call()["continued"] == (on_break == "continue")


async def test_a_stream_that_the_caller_leaves_is_not_kept(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    api.set_faults([Fault(stall_at=6)])
    async with entered(client.messages.stream(**ask(**WHOLE_ANSWER))) as stream:
        async for _ in each(stream.text_stream):
            break
    del stream
    gc.collect()
    settled(chain, 1)
    assert chain.runtime.cache.size == (0, 0)


async def test_what_is_no_message_is_not_kept(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Token counts, models and batches have no answer to keep, and failures neither."""
    chain = chained(keeping())
    client = client_of(colour, chain)
    for name in ("count_tokens", "models", "batch", "beta-batch"):
        for _ in range(2):
            assert (await seen_by(BY_NAME[name], client)).error is None
    assert len(api.requests()) == 8
    api.set_faults(DOWN)
    await seen_by(CREATE, client, **WHOLE_ANSWER)
    settled(chain, 1)
    assert chain.runtime.cache.size == (0, 0)


async def test_a_long_question_is_asked_every_time(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    for number in (1, 2):
        await seen_by(CREATE, client, **WHOLE_ANSWER, system="x" * MAX_ASKED)
        settled(chain, number)
    assert (len(api.requests()), chain.runtime.cache.size) == (2, (0, 0))


async def test_an_answer_that_failed_a_check_is_not_kept(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    asked: list[Any] = []
    chain.runtime.cache.accept = lambda message: bool(asked.append(message))
    await seen_by(CREATE, client, **WHOLE_ANSWER)
    settled(chain, 1)
    assert (len(asked), asked[0]["type"], chain.runtime.cache.size) == (1, "message", (0, 0))
    chain.runtime.cache.accept = lambda message: 1 / 0 > 1
    await seen_by(STREAM, client, **WHOLE_ANSWER)
    settled(chain, 2)
    assert (chain.runtime.cache.size, chain.runtime.errors) == ((0, 0), 1)
    assert [row["outcome"] for row in chain.rows("call")] == ["ok", "ok"]


# -- a kill ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", FOUR, ids=str)
@pytest.mark.parametrize("scope", [ALL, Scope("feature", "a"), Scope("customer", "acme")], ids=str)
@pytest.mark.parametrize("routing", [keeping, without_chain], ids=["chain", "no chain"])
@pytest.mark.parametrize("mode", ["always", "on_failure"])
async def test_a_kill_never_serves_the_cache_and_empties_it(
    mode: Any,
    routing: Callable[[CachePolicy], Routing],
    scope: Scope,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    chain = chained(routing(CachePolicy(mode)))
    client = client_of(colour, chain)
    of_a = {"x-console-feature": "a", "x-console-customer": "acme"}
    of_b = {"x-console-feature": "b", "x-console-customer": "other"}
    for headers in (of_a, of_b):
        await seen_by(shape, client, **WHOLE_ANSWER, extra_headers=headers)
    holds(chain, 2)
    api.set_faults(DOWN)
    chain.kill(scope)
    seen = await seen_by(shape, client, **WHOLE_ANSWER, extra_headers=of_a)
    assert seen.error is not None and seen.error[0] is CallBlocked
    holds(chain, 0 if scope == ALL else 1)
    chain.restore(scope)
    until(lambda: not chain.runtime.current().switches)
    seen = await seen_by(shape, client, **WHOLE_ANSWER, extra_headers=of_a)
    assert seen.error is not None and seen.error[2] == 529  # what was said before the kill is gone
    if scope != ALL:
        assert (await seen_by(shape, client, **WHOLE_ANSWER, extra_headers=of_b)).error is None


async def test_what_a_killed_model_has_said_is_not_served(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    assert marks_of(await raw_of(client)) == {"served-by": "primary", "target": "sonnet"}
    holds(chain, 1)
    assert marks_of(await raw_of(client))["served-by"] == "cache"
    chain.kill(Scope("model", SONNET))
    assert marks_of(await raw_of(client)) == {"served-by": "fallback", "target": "haiku"}


async def test_a_kill_holds_for_the_very_next_call_before_anything_was_dropped(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The watcher drops what a switch stops within 50 ms; a call does not wait for it."""
    chain = chained(keeping())
    client = client_of(colour, chain)
    await raw_of(client)
    holds(chain, 1)
    chain.runtime.cache.tick = lambda switches: None
    chain.kill(Scope("model", SONNET))
    assert marks_of(await raw_of(client, max_tokens=500)) == {"served-by": "fallback", "target": "haiku"}
    chain.kill(ALL)
    with pytest.raises(CallBlocked):
        await raw_of(client)
    assert chain.runtime.cache.size[0] == 1


async def test_what_was_asked_before_a_kill_and_answered_after_it_is_not_kept(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """A stream that is under way when the feature is killed and restored."""
    chain = chained(keeping())
    client = client_of(colour, chain)
    headers = {"x-console-feature": "a"}
    async with entered(client.messages.stream(**ask(**WHOLE_ANSWER, extra_headers=headers))) as stream:
        words = aiter(each(stream.text_stream))
        await anext(words)
        chain.kill(Scope("feature", "a"))
        until(lambda: chain.runtime.cache._era == 1)
        chain.restore(Scope("feature", "a"))
        assert [word async for word in words] != []
    settled(chain, 1)
    assert chain.runtime.cache.size == (0, 0)
    assert chain.only_call()["outcome"] == "ok"


async def test_a_kill_of_another_feature_empties_nothing(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    await raw_of(client)
    holds(chain, 1)
    chain.kill(Scope("feature", "other"))
    until(lambda: chain.runtime.cache._era == 1)
    assert marks_of(await raw_of(client))["served-by"] == "cache"


# -- who decides whether it is asked -----------------------------------------------------------------------------------


async def test_before_anybody_is_asked_only_an_answer_of_the_target_in_force_will_do(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """An operator who sends a feature elsewhere does not want to go on reading what the old target has said."""
    chain = chained(keeping())
    client = client_of(colour, chain)
    await raw_of(client)
    holds(chain, 1)
    chain.route("haiku")
    assert marks_of(await raw_of(client)) == {"served-by": "primary", "target": "haiku"}
    settled(chain, 2)
    assert marks_of(await raw_of(client))["served-by"] == "cache"
    chain.route()
    assert marks_of(await raw_of(client)) == {"served-by": "primary", "target": "sonnet"}


async def test_a_stale_answer_is_not_given_before_the_api_was_asked(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any], clocks: Clocks
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    await raw_of(client)
    holds(chain, 1)
    clocks.go(3601)
    assert marks_of(await raw_of(client)) == {"served-by": "primary", "target": "sonnet"}


async def test_a_failure_carries_no_mark(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, chained(keeping()))
    for fault in (Fault(status=400), *DOWN):
        api.set_faults([fault])
        with pytest.raises(anthropic.APIStatusError) as raised:
            await raw_of(client)
        assert marks_of(raised.value.response) == {}


async def test_an_answer_of_the_fallback_does_not_keep_the_primary_from_coming_back(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping(breaker=QUICK))
    client = client_of(colour, chain)
    api.set_faults([Fault(model=SONNET, status=529)])
    assert marks_of(await raw_of(client)) == {"served-by": "fallback", "target": "haiku"}
    holds(chain, 1)
    api.set_faults(DOWN)
    response = await raw_of(client)
    assert (marks_of(response)["served-by"], marks_of(response)["target"]) == ("cache", "haiku")
    api.clear_faults()
    assert marks_of(await raw_of(client)) == {"served-by": "primary", "target": "sonnet"}


# -- marks and records -------------------------------------------------------------------------------------------------


async def test_every_answer_says_who_served_it_and_how_old_it_is(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any], clocks: Clocks
) -> None:
    chain = chained(keeping(ON_FAILURE), default="Later.")
    client = client_of(colour, chain)
    first = await raw_of(client)
    assert marks_of(first) == {"served-by": "primary", "target": "sonnet"}
    api.set_faults([Fault(model=SONNET, status=529)])
    assert marks_of(await raw_of(client, system="Another.")) == {"served-by": "fallback", "target": "haiku"}
    holds(chain, 2)
    api.set_faults(DOWN)
    cached = await raw_of(client)
    assert marks_of(cached) == {"served-by": "cache", "age": "0", "target": "sonnet"}
    assert cached.headers["request-id"] == first.headers["request-id"]
    clocks.go(7200)
    assert marks_of(await raw_of(client)) == {"served-by": "stale", "age": "7200", "target": "sonnet"}
    assert marks_of(await raw_of(client, system="A third.")) == {"served-by": "degraded"}
    response = await raw_of(client, stream=True)
    assert (marks_of(response)["served-by"], response.headers["content-type"]) == ("stale", "text/event-stream; charset=utf-8")


@pytest.mark.parametrize("shape", [BY_NAME["raw"], BY_NAME["raw-stream"]], ids=str)
async def test_the_marks_stand_on_streams_and_plain_answers_alike(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, chained(routed()))
    more = {"stream": True} if shape.is_streamed else {}
    assert marks_of(await raw_of(client, **more)) == {"served-by": "primary", "target": "sonnet"}
    api.set_faults([Fault(model=SONNET, status=529)])
    assert marks_of(await raw_of(client, **more)) == {"served-by": "fallback", "target": "haiku"}
    with pytest.raises(anthropic.APIStatusError) as raised:
        api.set_faults(DOWN)
        await raw_of(client, **more)
    assert marks_of(raised.value.response) == {}


async def test_a_call_that_nothing_is_configured_for_carries_no_mark(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    assert marks_of(await raw_of(client, extra_headers={"x-console-feature": "bare"})) == {}
    assert marks_of(await raw_of(client_of(colour, chained(without_chain(ON_FAILURE))))) == {
        "served-by": "primary",
        "target": SONNET,
    }


async def test_a_target_whose_name_no_header_can_hold_costs_only_the_mark(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    name = "so\nnet-\ud800"
    chain = chained(keeping(ON_FAILURE, targets={"odd": Target(name, SONNET)}))
    chain.runtime._router._routing = replace(chain.runtime._router._routing, default=FeaturePolicy(("odd",), cache=ON_FAILURE))
    response = await raw_of(client_of(colour, chain))
    assert response.status_code == 200


async def test_a_call_from_the_cache_is_recorded_as_that(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(keeping())
    client = client_of(colour, chain)
    headers = {"x-console-feature": "a", "x-console-customer": "acme"}
    await seen_by(CREATE, client, **WHOLE_ANSWER, extra_headers=headers)
    holds(chain, 1)
    for shape in FOUR:
        assert (await seen_by(shape, client, **WHOLE_ANSWER, extra_headers=headers)).error is None
    first, *cached = chain.rows("call")
    for row in cached:
        assert (row["served_by"], row["outcome"], row["attempts"], row["status"], row["error"]) == (
            "cache",
            "ok",
            0,
            None,
            None,
        )
        assert (row["feature"], row["customer"], row["target"], row["model_served"]) == ("a", "acme", "sonnet", SONNET)
        assert (row["stop_reason"], row["request_id"], row["first_token_us"]) == ("end_turn", None, None)
        assert row["latency_us"] < first["latency_us"] + 5e6 and 0 <= row["age_us"] < 60e6
        assert [row[name] for name in ("input_tokens", "output_tokens", "cache_read_tokens")] in ([None] * 3, [0] * 3)
    assert [row["is_streamed"] for row in cached] == [0, 1]
    assert len(chain.rows("attempt")) == 1
    sums = {row["served_by"]: row for row in chain.rows("series")}
    assert {name: row["outcome"] for name, row in sums.items()} == {"primary": "ok", "cache": "ok"}
    status = chain.desk.status()
    (feature,) = status.features
    assert dict(feature.served_by) == {"cache": 2, "primary": 1}
    assert (feature.calls_5m, feature.failed_5m, feature.error_rate) == (3, 0, 0.0)


# -- what goes wrong in here -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hook",
    [
        "console.sdk.ladder.key_of",
        "console.sdk.ladder.as_of",
        "console.sdk.ladder.served_copy",
        "console.sdk.ladder.made_answer",
        "console.runtime.cache.AnswerCache.get",
        "console.runtime.cache.AnswerCache.collector",
        "console.runtime.cache.AnswerCache.wait",
        "console.runtime.cache.AnswerCache.keep",
        "console.core.caching.Kept.age_us",
    ],
)
async def test_b14_a_defect_of_the_cache_costs_no_call(
    hook: str,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")

    chain = chained(keeping())
    client = client_of(colour, chain)
    await seen_by(CREATE, client, **WHOLE_ANSWER)
    holds(chain, 1)
    monkeypatch.setattr(hook, broken)
    for shape in FOUR:
        assert (await seen_by(shape, client, **WHOLE_ANSWER, system="Another.")).error is None
        assert (await seen_by(shape, client, **WHOLE_ANSWER)).error is None
    until(lambda: chain.runtime.errors > 0)
    assert {row["outcome"] for row in chain.rows("call")} == {"ok"}


async def test_a_feature_without_a_cache_does_nothing_of_all_this(
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("console.sdk.ladder.key_of", lambda *about: asked.append(about))
    chain = chained(routed())
    for shape in FOUR:
        assert (await seen_by(shape, client_of(colour, chain), **WHOLE_ANSWER)).error is None
    assert (asked, chain.runtime.cache.size) == ([], (0, 0))


async def test_a_tool_is_never_run_twice_for_one_call_of_it(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """I10, with the simulated model's own tool calls."""
    chain = chained(keeping())
    client = client_of(colour, chain)
    asked = ask(tools=[WEATHER], messages=[{"role": "user", "content": "What is the weather in Paris?"}], **WHOLE_ANSWER)
    seen: list[str] = []
    for number in (1, 2):
        message = await got(client.messages.create(**asked))
        seen += [block.id for block in message.content if block.type == "tool_use"]
        settled(chain, number)
    assert len(seen) == len(set(seen))
    assert len(api.requests()) == 2 or not seen


async def test_what_comes_from_the_cache_tells_nothing_of_how_the_target_is(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any], clocks: Clocks
) -> None:
    """Neither its latency nor who answers now; the feature's own latency is what its callers have seen."""
    from console.store.sqlite import reads

    chain = chained(keeping(ON_FAILURE))
    client = client_of(colour, chain)
    await raw_of(client)
    holds(chain, 1)
    clocks.go(7200)
    api.set_faults(DOWN)
    for _ in range(3):
        await raw_of(client)
    chain.close()
    with reads.reading_telemetry(chain.places.telemetry) as connection:
        found = reads.latencies(connection, 10, 0)
    assert found.by_target["sonnet"].total() == 1
    assert found.by_feature["default"].total() == 4
    (feature,) = chain.desk.status().features
    assert (dict(feature.served_by), feature.target) == ({"primary": 1, "stale": 3}, "sonnet")
    assert feature.attempts_per_call == (1 + 3 * 2) / 4
