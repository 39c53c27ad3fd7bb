"""B8, B9, B10, A13, I9, I10: streams that break after the caller has had a part of them, over real sockets.

The chain has two targets of one model at the simulated API, and a fault is used up by its first request: the second target's
answer to "go on" is then the rest of the very same text, so that a gap or a repeat of a single character shows. Where the
fallback is another model its own wording follows; that is tested apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import ssl
import threading
import time
from contextlib import AsyncExitStack
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
import pytest_asyncio
from failover_tools import NEVER_OPENS, Chained, Server, request_on, until
from sdk_shapes import COLOURS, HAIKU, SONNET, WEATHER, each, entered, got
from store_tools import report
from stream_readers import EVENTS, FINISHED, FIRST_CONTENT, QUESTION, READERS, Got, InBandError, asked, read, whole

import console
from console import errors
from console.core.breaker import BreakerPolicy
from console.core.switches import ALL, Scope
from console.core.targets import FeaturePolicy, LimitsPolicy, Routing, Target
from console.sim.faults import Fault
from console.sim.server import SimulatedAPI

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterator

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]

SILENCE_S = 0.25
"""Short, so that a stall at every index of a stream costs seconds and not minutes."""
LIMITS = LimitsPolicy(answer=10.0, first_token=SILENCE_S, silence=SILENCE_S)
PATIENT = LimitsPolicy(answer=10.0, first_token=10.0, silence=10.0)
HANG_S = 10.0
"""No call here may take longer: a generous bound against hanging, and no figure."""
OPUS = "claude-opus-5-5"

readers = pytest.mark.parametrize("reader", READERS)
breaks = pytest.mark.parametrize("kind", ["cut", "stalled", "errored", "malformed", "ended cleanly"])


@pytest.fixture(autouse=True, scope="module")
def _quick_watcher() -> Iterator[None]:
    """The end of each installation waits for its watcher to wake up."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr("console.runtime.process.WATCH_S", 0.01)
        yield


@cache
def _tls() -> ssl.SSLContext:
    """Never used, but made by every HTTP client that is not given one, at 15 ms each."""
    return ssl.create_default_context()


@pytest.fixture(scope="module")
def shared_api() -> Iterator[SimulatedAPI]:
    with SimulatedAPI(speed=float("inf")) as api:
        yield api


@pytest.fixture(scope="module")
def shared_paced_api() -> Iterator[SimulatedAPI]:
    with SimulatedAPI(speed=40) as api:
        yield api


@pytest.fixture
def api(shared_api: SimulatedAPI, monkeypatch: pytest.MonkeyPatch) -> SimulatedAPI:
    """Says everything at once: a whole answer, or all of it up to a break, is likely to arrive in one piece."""
    return fresh(shared_api, monkeypatch)


@pytest.fixture
def paced_api(shared_paced_api: SimulatedAPI, monkeypatch: pytest.MonkeyPatch) -> SimulatedAPI:
    """Says its answers bit by bit, two events together at the most, so that what comes later is not known when the first content
    is handed on."""
    return fresh(shared_paced_api, monkeypatch)


def fresh(api: SimulatedAPI, monkeypatch: pytest.MonkeyPatch) -> SimulatedAPI:
    monkeypatch.setenv("SECOND_KEY", "the-key-of-the-second")
    api.clear_faults()
    api.clear_requests()
    return api


@pytest_asyncio.fixture
async def client_of(api: SimulatedAPI) -> AsyncIterator[Callable[..., Any]]:
    """Makes SDK clients of either colour, with the SDK's own retries as they come."""
    async with AsyncExitStack() as stack:

        def make(colour: str, chain: Chained | None = None, **more: Any) -> Any:
            middleware = [] if chain is None else [chain.middleware]
            settings: dict[str, Any] = {"base_url": api.url, "api_key": "first", "timeout": HANG_S} | more
            if colour == "awaiting":
                quick = anthropic.DefaultAsyncHttpxClient(verify=_tls())
                waiting = anthropic.AsyncAnthropic(middleware=middleware, http_client=quick, **settings)
                stack.push_async_callback(waiting.close)
                return waiting
            http = anthropic.DefaultHttpxClient(verify=_tls())
            blocking = anthropic.Anthropic(middleware=middleware, http_client=http, **settings)
            stack.callback(blocking.close)
            return blocking

        yield make


def routed(
    api: SimulatedAPI, *models: str, limits: LimitsPolicy = PATIENT, breaker: BreakerPolicy = NEVER_OPENS, **policy: Any
) -> Routing:
    """A chain of these models (the same one twice by default), the second at a place of its own."""
    names = ("first", "second", "third")
    targets = {}
    for name, model in zip(names, models or (SONNET, SONNET), strict=False):
        place = {} if name == "first" else {"base_url": api.url, "api_key": "env:SECOND_KEY"}
        targets[name] = Target(name, model, **place)  # type: ignore[arg-type]
    default = FeaturePolicy(tuple(targets), limits, **policy)
    return Routing(targets, default, breaker=breaker, exercises_fallbacks=False)


def fault_of(kind: str, index: int, **more: Any) -> Fault:
    """What breaks one stream at event `index` of its healthy answer; the request after it is served well."""
    given: dict[str, Any] = {
        "cut": {"cut_at": index},
        "stalled": {"stall_at": index},
        "errored": {"error_at": index},
        "malformed": {"malformed_at": index},
        "ended cleanly": {"clean_end_at": index},
    }[kind]
    return Fault(**given, **({"times": 1} | more))


def arrived(kind: str, index: int) -> int:
    """The index of the last event that arrives unharmed before such a break; -1: none."""
    return index - 1 if kind in ("errored", "malformed") else index


def is_surely_shown(passed: int) -> bool:
    """Whether the caller of a paced answer has seen some of it when it breaks behind event `passed`: the two events after the
    first content may arrive together with it."""
    return passed > FIRST_CONTENT + 2


def places_of(reader: str) -> list[int]:
    """The indexes at which to break. The ways of reading share them out: every index is done by one of them, in each colour."""
    return list(range(READERS.index(reader), EVENTS, len(READERS)))


def limits_for(kind: str) -> LimitsPolicy:
    return LIMITS if kind == "stalled" else PATIENT


async def healthy(client: Any, model: str = SONNET) -> str:
    """The text of an answer without any fault."""
    answer = await read("create(stream=True)", client, model=model)
    assert answer.error is None
    return whole(answer.events).text


async def events_of(client: Any, **more: Any) -> list[dict[str, Any]]:
    """The events of a healthy answer as they are on the wire, pings included."""
    async with entered(client.messages.with_streaming_response.create(**asked(**more), stream=True)) as response:
        lines = [line async for line in each(response.iter_lines())]
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


async def test_the_places_where_streams_are_broken_are_those_of_the_answer(
    colour: str, api: SimulatedAPI, client_of: Callable[..., Any]
) -> None:
    """The index constants belong to what the simulated API says today."""
    kinds = [event["type"] for event in await events_of(client_of(colour))]
    assert len(kinds) == EVENTS
    assert kinds.index("content_block_delta") == FIRST_CONTENT
    assert kinds.index("message_delta") == FINISHED


# -- B8, B9: a break at every event index ------------------------------------------------------------------------------


@readers
@breaks
async def test_b8_b9_a_stream_that_breaks_anywhere_becomes_one_whole_answer(
    kind: str,
    reader: str,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """`on_break: continue`, the default: without a gap and without a repeat. The events arrive in lumps here."""
    chain = chained(routed(api, limits=limits_for(kind)))
    client, wanted = client_of(colour, chain), await healthy(client_of(colour))
    for index in places_of(reader):
        api.set_faults([fault_of(kind, index)])
        api.clear_requests()
        began = time.monotonic()
        seen = await read(reader, client)
        assert time.monotonic() - began < HANG_S, f"at {index}"
        assert_whole(seen, wanted, api, f"at {index}")
    assert {row["outcome"] for row in chain.rows("call")} == {"ok"}
    assert chain.runtime.errors == 0


@readers
@breaks
async def test_b8_b9_a_stream_that_breaks_while_it_is_read_is_continued_once(
    kind: str,
    reader: str,
    colour: str,
    paced_api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """The same bit by bit: one request more than a healthy answer takes, none when only the closing event is missing, and the
    records tell a continued answer from one that began elsewhere."""
    api = paced_api
    chain = chained(routed(api, limits=limits_for(kind)))
    client = client_of(colour, chain, base_url=api.url)
    wanted = await healthy(client_of(colour, base_url=api.url))
    expected = []
    for index in places_of(reader):
        api.set_faults([fault_of(kind, index)])
        api.clear_requests()
        seen = await read(reader, client)
        assert_whole(seen, wanted, api, f"at {index}")
        passed, requests = arrived(kind, index), len(api.requests())
        if passed >= FINISHED:
            assert requests == 1, f"at {index}"
        elif (kind, index) != ("malformed", 2):  # a ping: nothing is missing without it
            assert requests == 2, f"at {index}"
        expected.append({1} if is_surely_shown(passed) and requests == 2 else {0, 1} if requests == 2 else {0})
    rows = chain.rows("call")
    assert [row["outcome"] for row in rows] == ["ok"] * len(rows)
    found = [row["continued"] for row in rows]
    assert len(found) == len(expected)
    assert all(one in either for one, either in zip(found, expected, strict=True)), found
    assert chain.runtime.errors == 0


def assert_whole(seen: Got, wanted: str, api: SimulatedAPI, where: str) -> None:
    """One whole answer, the wanted text to the letter, at the cost of one more request at the most, none of them refused."""
    assert seen.error is None, f"{where}: {seen.error!r}"
    said = whole(seen.events)
    assert said.text == wanted, where
    assert (said.model, said.stop_reason) == (SONNET, "end_turn"), where
    if seen.final is not None:
        assert "".join(block.text for block in seen.final.content) == wanted, where
    entries = api.requests()
    assert len(entries) <= 2, where
    assert {entry["status"] for entry in entries} == {200}, f"{where}: 400 is the answer to a turn of the assistant at the end"
    assert all(entry["console_headers"] == [] for entry in entries)


@readers
@breaks
async def test_b8_b9_with_on_break_error_the_caller_gets_what_came_and_a_clear_error(
    kind: str,
    reader: str,
    colour: str,
    paced_api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """Before the first content a break is mended unseen. After it nothing that is not whole ever looks whole: without its
    closing event an answer is none, though all of its text may have come."""
    api = paced_api
    chain = chained(routed(api, limits=limits_for(kind), on_break="error"))
    client = client_of(colour, chain, base_url=api.url)
    wanted = await healthy(client_of(colour, base_url=api.url))
    outcomes = []
    for index in places_of(reader):
        api.set_faults([fault_of(kind, index)])
        api.clear_requests()
        seen = await read(reader, client)
        passed = arrived(kind, index)
        if passed == EVENTS - 1 or passed < FIRST_CONTENT or (seen.error is None and not is_surely_shown(passed)):
            assert_whole(seen, wanted, api, f"at {index}")
            outcomes.append("ok")
            continue
        outcomes.append("failed")
        assert_broken(seen, wanted, f"at {index}")
        assert seen.text, f"at {index}"
        assert len(api.requests()) == 1, f"at {index}"
    rows = chain.rows("call")
    assert [row["outcome"] for row in rows] == outcomes
    assert all(row["error"] for row in rows if row["outcome"] == "failed")
    assert chain.runtime.errors == 0


def assert_broken(seen: Got, wanted: str, where: str = "") -> None:
    """The error that says so, with everything that the caller was shown."""
    error = seen.error
    assert isinstance(error, console.StreamBroken), f"{where}: {error!r}"
    assert isinstance(error, anthropic.APIError)
    assert isinstance(error, errors.StreamBroken)
    assert isinstance(error.partial, anthropic.types.Message)
    texts = "".join(block.text for block in error.partial.content if block.type == "text")
    assert texts == seen.text, where
    assert wanted.startswith(seen.text), where
    assert error.partial.stop_reason is None or texts == wanted, where
    assert error.partial.role == "assistant"
    assert error.reason, where
    assert error.reason in str(error), where
    assert str(error.request_id).startswith("req_"), where
    assert "message_stop" not in [event["type"] for event in seen.events], where


@readers
async def test_b8_a_stream_that_breaks_again_and_again_is_continued_from_where_it_is(
    reader: str, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Two breaks at changing places, three targets: still one text."""
    chain = chained(routed(api, SONNET, SONNET, SONNET))
    client, wanted = client_of(colour, chain), await healthy(client_of(colour))
    for first in range(FIRST_CONTENT, FINISHED - 2, 3):
        for second in range(0, FINISHED - first, 2):
            api.set_faults([fault_of("cut", first), fault_of("ended cleanly", second)])
            seen = await read(reader, client)
            assert seen.error is None, f"at {first} and {second}: {seen.error!r}"
            assert whole(seen.events).text == wanted, f"at {first} and {second}"
    assert chain.runtime.errors == 0


async def test_b8_when_nobody_can_go_on_the_error_carries_everything_that_came(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The second target breaks as well, or fails: what the caller was shown, of both, is in `partial`."""
    chain = chained(routed(api))
    client, wanted = client_of(colour, chain), await healthy(client_of(colour))
    for after in (
        fault_of("cut", 4),
        fault_of("cut", 1),
        fault_of("errored", 4),
        Fault(status=529),
        Fault(status=400),
        Fault(reset=True),
    ):
        api.set_faults([fault_of("cut", 8), after, dataclasses.replace(after, times=None)])
        seen = await read("messages.stream", client)
        assert_broken(seen, wanted, after.label)
    assert {row["outcome"] for row in chain.rows("call")} == {"failed"}


@breaks
async def test_b8_another_model_goes_on_in_its_own_words(
    kind: str, colour: str, paced_api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """What came stays, what follows is the end of the other model's answer, and nothing at the seam is said twice."""
    api = paced_api
    chain = chained(routed(api, SONNET, HAIKU, limits=limits_for(kind)))
    client, bare = client_of(colour, chain, base_url=api.url), client_of(colour, base_url=api.url)
    ours, theirs = await healthy(bare), await healthy(bare, HAIKU)
    for index in range(FIRST_CONTENT + 4, FINISHED, 3):
        api.set_faults([fault_of(kind, index, model=SONNET)])
        seen = await read("messages.stream", client)
        assert seen.error is None, f"at {index}: {seen.error!r}"
        said = whole(seen.events)
        assert said.stop_reason == "end_turn"
        assert said.model == SONNET, "the one whose message it is"
        kept = common(said.text, ours)
        shown = len("".join(pieces_until(arrived(kind, index), ours)))
        assert kept >= shown, f"at {index}: something that was shown is gone"
        rest = said.text[shown:]
        assert theirs.endswith(rest.strip()) or ours.endswith(rest), f"at {index}: {rest!r}"


def pieces_until(index: int, text: str) -> list[str]:
    from console.sim.wire import pieces

    return pieces(text)[: max(0, index - FIRST_CONTENT + 1)]


def common(one: str, other: str) -> int:
    """The length of what two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@readers
@pytest.mark.parametrize("kind", ["cut", "malformed"])
async def test_b8_thinking_is_one_models_own(
    kind: str,
    reader: str,
    colour: str,
    paced_api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """Broken while the model thinks, an answer cannot be continued and is a clear error, or begins elsewhere as long as nothing
    was shown; broken in its text it goes on, with the first model's thinking and its signature, and no other's."""
    api, thinking = paced_api, {"thinking": {"type": "adaptive"}}
    chain = chained(routed(api, limits=limits_for(kind)))
    client = client_of(colour, chain, base_url=api.url)
    events = await events_of(client_of(colour, base_url=api.url), **thinking)
    kinds = [event.get("delta", {}).get("type") or event["type"] for event in events]
    text_from, finished = kinds.index("text_delta"), kinds.index("message_delta")
    shown_from = kinds.index("thinking_delta")
    wanted = whole([event for event in events if event["type"] != "ping"])
    assert [block["type"] for block in wanted.blocks] == ["thinking", "text"]
    for index in range(READERS.index(reader) + 1, len(events), len(READERS)):
        api.set_faults([fault_of(kind, index)])
        seen = await read(reader, client, **thinking)
        passed = arrived(kind, index)
        if seen.error is None:
            said = whole(seen.events)
            assert said.contents == wanted.contents, f"at {index}"
            assert not shown_from + 3 < passed < text_from, f"at {index}: shown, and then taken back"
            continue
        assert shown_from <= passed < min(text_from + 3, finished), f"at {index}: {seen.error!r}"
        assert isinstance(seen.error, console.StreamBroken), f"at {index}: {seen.error!r}"
        assert seen.error.partial.content[0].type == "thinking"
    assert chain.runtime.errors == 0


@readers
async def test_b8_an_answer_in_a_given_form_is_not_continued(
    reader: str, colour: str, paced_api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Half of a JSON document and half of another are none."""
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}, "why": {"type": "string"}},
        "required": ["answer", "why"],
    }
    form = {"output_config": {"format": {"type": "json_schema", "schema": {**schema, "additionalProperties": False}}}}
    chain = chained(routed(paced_api))
    client = client_of(colour, chain, base_url=paced_api.url)
    events = await events_of(client_of(colour, base_url=paced_api.url), **form)
    wanted = whole([event for event in events if event["type"] != "ping"]).text
    assert json.loads(wanted)
    for index in (1, FIRST_CONTENT + 3, len(events) - 3, len(events) - 2):
        paced_api.set_faults([fault_of("cut", index)])
        seen = await read(reader, client, **form)
        if index in (1, len(events) - 2):
            assert seen.error is None
            assert whole(seen.events).text == wanted
        else:
            assert_broken(seen, wanted, f"at {index}")


@readers
async def test_b8_without_a_chain_on_break_error_tells_a_broken_stream_from_a_whole_one(
    reader: str, colour: str, paced_api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Then the SDK decides where a call goes, and nothing is asked twice."""
    chain = chained(Routing(default=FeaturePolicy(on_break="error")))
    client = client_of(colour, chain, base_url=paced_api.url)
    wanted = await healthy(client_of(colour, base_url=paced_api.url))
    for kind in ("cut", "ended cleanly", "errored", "malformed"):
        paced_api.set_faults([fault_of(kind, 9)])
        paced_api.clear_requests()
        assert_broken(await read(reader, client), wanted, kind)
        assert len(paced_api.requests()) == 1
        seen = await read(reader, client)
        assert seen.error is None
        assert whole(seen.events).text == wanted


async def test_i11_a_caller_who_leaves_a_continued_stream_leaves_nothing_behind(
    colour: str, paced_api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The connection of the attempt that goes on is closed as that of any other."""
    chain = chained(routed(paced_api))
    client = client_of(colour, chain, base_url=paced_api.url)
    wanted = await healthy(client_of(colour, base_url=paced_api.url))
    paced_api.set_faults([fault_of("cut", 8), fault_of("stalled", 6)])
    paced_api.clear_requests()
    text = ""
    async with entered(client.messages.stream(**asked())) as stream:
        async for part in each(stream.text_stream):
            text += part
            if len(text) > len("".join(pieces_until(9, wanted))):
                break
    assert wanted.startswith(text)
    until(lambda: all(entry["finished"] for entry in paced_api.requests()))
    assert [entry["client_closed"] for entry in paced_api.requests()] == [False, True]
    assert not chain.runtime.guarded
    (call,) = chain.rows("call")
    assert (call["outcome"], call["continued"], call["attempts"]) == ("cancelled", 1, 2)
    assert {chain.state("second"), chain.state("first")} == {"closed"}


async def test_b8_the_beta_endpoint_is_no_different(
    colour: str, paced_api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(paced_api))
    client = client_of(colour, chain, base_url=paced_api.url)
    wanted = await healthy(client_of(colour, base_url=paced_api.url))
    for number, index in enumerate(range(FIRST_CONTENT, EVENTS, 4)):
        paced_api.set_faults([fault_of("cut", index)])
        paced_api.clear_requests()
        seen = await read(READERS[number % len(READERS)], client, wants_beta=True)
        assert_whole(seen, wanted, paced_api, f"at {index}")


# -- what the API bills ------------------------------------------------------------------------------------------------


def billed(entries: list[dict[str, Any]]) -> dict[str, int]:
    """What the API has charged for these requests together."""
    bills = [entry["billed"] for entry in entries if entry["billed"]]
    return {name: sum(bill[name] for bill in bills) for name in bills[0]}


@readers
@pytest.mark.parametrize("kind", ["cut", "errored", "malformed", "ended cleanly"])
async def test_b16_the_usage_of_a_continued_answer_is_the_sum_that_was_billed(
    kind: str,
    reader: str,
    colour: str,
    paced_api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """Nobody tells the output of a stream that broke: it is estimated. Everything else is exact, and the records say the same."""
    api, sums = paced_api, []
    chain = chained(routed(api))
    client = client_of(colour, chain, base_url=api.url)
    for index in range(FIRST_CONTENT + 4, FINISHED, 4):
        api.set_faults([fault_of(kind, index)])
        api.clear_requests()
        seen = await read(reader, client)
        assert seen.error is None, f"at {index}: {seen.error!r}"
        usage, bill = whole(seen.events).usage, billed(api.requests())
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            assert usage[name] == bill[name], f"at {index}: {name}"
        if kind != "malformed":  # behind a malformed event the API goes on, unread, until it notices
            assert abs(usage["output_tokens"] - bill["output_tokens"]) <= 5 + 0.25 * bill["output_tokens"], f"at {index}"
        if seen.final is not None:
            assert seen.final.usage.output_tokens == usage["output_tokens"]
            assert seen.final.usage.input_tokens == usage["input_tokens"]
        sums.append((usage["input_tokens"], usage["output_tokens"]))
    assert [(row["input_tokens"], row["output_tokens"]) for row in chain.rows("call")] == sums


async def test_b16_what_was_billed_before_the_first_content_counts_as_well(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """A stream that broke between its start and its first content was billed for its prompt; a 529 was not."""
    chain = chained(routed(api))
    client, sums = client_of(colour, chain), []
    for fault in (fault_of("cut", 1), fault_of("ended cleanly", 0), Fault(status=529, times=1)):
        api.set_faults([fault])
        api.clear_requests()
        seen = await read("messages.stream", client)
        assert seen.error is None
        usage, bill = whole(seen.events).usage, billed(api.requests())
        assert usage["input_tokens"] == bill["input_tokens"], fault.label
        sums.append(usage["input_tokens"])
    assert [row["input_tokens"] for row in chain.rows("call")] == sums


# -- I9: tool calls ----------------------------------------------------------------------------------------------------

TOOL_ASKED: dict[str, Any] = {
    "system": "You are a helpful assistant.",
    "messages": [{"role": "user", "content": "What is the weather in Lyon? Use the get_weather tool."}],
    "tools": [WEATHER],
}


@readers
@breaks
async def test_i9_a_tool_call_never_comes_from_two_attempts(
    kind: str,
    reader: str,
    colour: str,
    paced_api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """Broken in the text before it, the answer is continued and the call is the second attempt's own. From the moment that a
    call has begun, a break is an error; and when its end is known, nothing is missing."""
    api = paced_api
    chain = chained(routed(api, limits=limits_for(kind)))
    client = client_of(colour, chain, base_url=api.url)
    events = await events_of(client_of(colour, base_url=api.url), **TOOL_ASKED)
    kinds = [event["type"] for event in events]
    finished = kinds.index("message_delta")
    begins = next(at for at, event in enumerate(events) if event.get("content_block", {}).get("type") == "tool_use")
    wanted = whole([event for event in events if event["type"] != "ping"])
    for index in range(READERS.index(reader), len(events), len(READERS)):
        api.set_faults([fault_of(kind, index)])
        api.clear_requests()
        seen = await read(reader, client, **TOOL_ASKED)
        passed = arrived(kind, index)
        if begins <= passed < finished:
            error = seen.error
            assert isinstance(error, console.StreamBroken), f"at {index}: {error!r}"
            assert len(api.requests()) == 1, f"at {index}"
            assert [block.type for block in error.partial.content] == ["text", "tool_use"], f"at {index}"
            assert error.partial.stop_reason is None
            assert isinstance(error.partial.content[1].input, dict)
            assert "message_delta" not in [event["type"] for event in seen.events], f"at {index}"
        else:
            assert seen.error is None, f"at {index}: {seen.error!r}"
            said = whole(seen.events)
            assert [(tool["name"], tool["input"]) for tool in said.tools] == [
                (tool["name"], tool["input"]) for tool in wanted.tools
            ], f"at {index}"
            assert said.text == wanted.text, f"at {index}"
            assert said.stop_reason == "tool_use", f"at {index}"
    assert chain.runtime.errors == 0


async def test_i10_a_tool_runs_once_for_each_call_of_it_whatever_breaks(
    colour: str, paced_api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The SDK's own tool runner over turns that fail: the tool has run as often as whole answers have asked for it, and no id was
    asked for twice."""
    api, draws = paced_api, random.Random(10)
    chain = chained(routed(api))
    client = client_of(colour, chain, base_url=api.url)
    ran: list[str] = []
    ids: list[str] = []

    def get_weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: The name of the city.
        """
        ran.append(city)
        return "Sunny, 24 degrees."

    async def get_weather_async(city: str) -> str:
        """The weather of a city.

        Args:
            city: The name of the city.
        """
        return get_weather(city)

    made = (
        anthropic.beta_async_tool(name="get_weather")(get_weather_async)
        if colour == "awaiting"
        else anthropic.beta_tool(name="get_weather")(get_weather)
    )
    ended = broken = 0
    for turn in range(18):
        streamed = bool(turn % 3)
        kinds = ["cut", "errored", "malformed", "ended cleanly"] if streamed else ["cut"]
        streams = [fault_of(draws.choice(kinds), draws.randrange(14)) for _ in range(4)]
        faults = [*streams, Fault(status=529, times=1), Fault(reset=True, times=1)]
        # Either the turn that asks for the tool or the one that carries its result is hit.
        api.set_faults([Fault(times=draws.randrange(2)), draws.choice(faults)])
        question = f"What is the weather in town {turn}? Use the get_weather tool."
        request = {**TOOL_ASKED, "messages": [{"role": "user", "content": question}], "tools": [made]}
        runner = client.beta.messages.tool_runner(**asked(**request), stream=streamed)
        before = len(ran)
        calls = 0
        try:
            async for answer in each(runner):
                message = await got(answer.get_final_message()) if streamed else answer
                found = [block.id for block in message.content if block.type == "tool_use"]
                calls += len(found)
                ids += found
            ended += 1
        except console.StreamBroken:
            broken += 1
            assert len(ran) == before, "what had not come whole has run"
            continue
        assert len(ran) - before == calls == 1, f"in turn {turn}"
    assert len(ids) == len(set(ids)) == len(ran)
    assert ended > 5, "the faults have left nothing to look at"
    assert broken > 0
    assert chain.runtime.errors == 0


# -- B10: trickles and pings -------------------------------------------------------------------------------------------


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _delta(text: str) -> bytes:
    return _sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


PING = _sse({"type": "ping"})


def _slow(text: str, *parts: bytes | float) -> Callable[[socket.socket], None]:
    """Streams `text` at once, and then bytes (each a chunk) and pauses."""
    message = {
        "id": "msg_slow", "type": "message", "role": "assistant", "model": SONNET, "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 34, "output_tokens": 1},
    }  # fmt: skip
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    begun = (_sse({"type": "message_start", "message": message}), _sse(block), _delta(text))

    def serve(connection: socket.socket) -> None:
        request_on(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_slow\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for part in (*begun, *parts):
            if isinstance(part, bytes):
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            else:
                time.sleep(part)

    return serve


SLOWLY: dict[str, tuple[bytes | float, ...]] = {
    "one byte at a time": tuple(part for byte in _delta("never whole") for part in (bytes([byte]), 0.1)),
    "pings only": (PING, 0.1) * 100,
    "silence": (30.0,),
}


@readers
@pytest.mark.parametrize("what", SLOWLY)
async def test_b10_a_trickle_or_pings_after_the_first_content_are_silence_and_the_answer_goes_on_elsewhere(
    what: str,
    reader: str,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """Bytes are no events: the trickle would take ten seconds for its next one, the pings would never end."""
    wanted = await healthy(client_of(colour))
    chain = chained(routed(api, limits=LIMITS))
    with Server(_slow(wanted[:60], *SLOWLY[what])) as server:
        began = time.monotonic()
        seen = await read(reader, client_of(colour, chain, base_url=server.url))
        assert time.monotonic() - began < 5
        assert server.began == 1
    assert seen.error is None, repr(seen.error)
    assert whole(seen.events).text == wanted
    (call,) = chain.rows("call")
    assert (call["outcome"], call["continued"]) == ("ok", 1)
    assert ("first", 200, "timeout") in chain.errors()


@pytest.mark.parametrize(
    "fault", [Fault(trickle_bytes_per_s=1), Fault(pings_only=True), Fault(stall_at=1, pings_only=True)], ids=lambda f: f.label
)
async def test_b10_one_byte_a_second_or_pings_only_from_the_start_hold_no_caller(
    fault: Fault, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The limit until the first content leaves the target; with only such targets the caller's own deadline ends the call."""
    chain = chained(routed(api, limits=LIMITS))
    wanted = await healthy(client_of(colour))
    api.set_faults([dataclasses.replace(fault, times=1)])
    seen = await read("messages.stream", client_of(colour, chain))
    assert seen.error is None
    assert whole(seen.events).text == wanted
    alone = chained(routed(api, limits=LimitsPolicy(None, None, None)))
    api.set_faults([fault])
    began = time.monotonic()
    seen = await read("messages.stream", client_of(colour, alone, timeout=0.6))
    assert time.monotonic() - began < 0.6 + 0.25 + 1.0  # I2 with room for a busy machine; `tests/sdk` holds it to 250 ms
    assert isinstance(seen.error, anthropic.APIError)
    assert seen.events == []


# -- A13: a kill in the middle -----------------------------------------------------------------------------------------


@readers
async def test_a13_a_kill_in_the_middle_of_a_stream_lets_it_finish(
    reader: str, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """`on_kill: finish`, the default."""
    chain = chained(routed(api))
    wanted = await healthy(client_of(colour))
    api.set_faults([Fault(stall_at=6, stall_s=0.9)])
    seen = await killed_while_reading(reader, client_of(colour, chain), chain, api)
    assert seen.error is None
    assert whole(seen.events).text == wanted
    assert chain.only_call()["outcome"] == "ok"


@readers
@pytest.mark.parametrize(
    "fault", [Fault(stall_at=6), Fault(stall_at=6, pings_only=True), Fault(trickle_bytes_per_s=2000)], ids=lambda f: f.label
)
async def test_a13_with_on_kill_abort_a_kill_ends_the_stream_within_a_second(
    fault: Fault,
    reader: str,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """Whether it is silent, pinging or flowing: with a clear error, the connection closed, and no attempt after it."""
    chain = chained(routed(api, on_kill="abort", breaker=BreakerPolicy(consecutive=1)))
    wanted = await healthy(client_of(colour))
    api.set_faults([fault])
    api.clear_requests()
    seen = await killed_while_reading(reader, client_of(colour, chain), chain, api)
    assert isinstance(seen.error, errors.CallError), repr(seen.error)
    assert isinstance(seen.error, anthropic.APIError)
    assert "kill" in str(seen.error)
    assert wanted.startswith(seen.text)
    assert seen.text
    until(lambda: api.requests()[0]["client_closed"])
    assert len(api.requests()) == 1
    call = chain.only_call()
    assert call["outcome"] in ("blocked", "failed", "cancelled")
    assert chain.state("first") == "closed", "a kill is no failure of the target (I8)"


async def killed_while_reading(reader: str, client: Any, chain: Chained, api: SimulatedAPI, scope: Scope = ALL) -> Got:
    """Engages a kill switch half a second into a streamed call; the call then ends within a second and a half."""
    at: list[float] = []

    def kill() -> None:
        chain.kill(scope)
        at.append(time.monotonic())

    timer = threading.Timer(0.5, kill)
    timer.start()
    seen = await read(reader, client)
    ended = time.monotonic()
    timer.join()
    assert ended - at[0] < 1.5
    return seen


@readers
@pytest.mark.parametrize("on_kill", ["finish", "abort"])
async def test_a13_i12_after_a_kill_a_broken_stream_is_not_continued(
    on_kill: str,
    reader: str,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """The switch is read before every attempt, and going on elsewhere is one."""
    chain = chained(routed(api, limits=LimitsPolicy(10, 10, 1.0), on_kill=on_kill))
    api.set_faults([Fault(stall_at=6)])
    seen = await killed_while_reading(reader, client_of(colour, chain), chain, api)
    assert isinstance(seen.error, errors.CallError), repr(seen.error)
    assert len(api.requests()) == 1
    assert chain.runtime.errors == 0


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", [Fault(status=529), Fault(status=429, retry_after="5")], ids=lambda fault: fault.label)
async def test_a13_a_kill_ends_the_pause_before_another_attempt(
    fault: Fault,
    streamed: bool,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """During a backoff, and during a `retry-after`, of a feature that stops what is under way and has one target."""
    chain = chained(routed(api, SONNET, on_kill="abort"))
    client, began = client_of(colour, chain), time.monotonic()
    api.set_faults([fault])
    timer = threading.Timer(0.2, chain.kill, (ALL,))
    timer.start()
    with pytest.raises(console.CallBlocked):
        if streamed:
            async with entered(client.messages.stream(**asked())) as stream:
                await got(stream.get_final_message())
        else:
            await got(client.messages.create(**asked()))
    timer.join()
    assert time.monotonic() - began < 3
    assert len(api.requests()) == 1


# -- prefill -----------------------------------------------------------------------------------------------------------


async def test_b12_a_callers_own_prefill_that_the_fallback_refuses_never_hides_the_real_failure(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The request ends in a turn of the assistant, which only the first and the third model take."""
    prefilled = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "I am sorry"}]
    api.set_faults([Fault(model=OPUS, status=529)])
    two, three = chained(routed(api, OPUS, SONNET)), chained(routed(api, OPUS, SONNET, HAIKU))
    seen = await read("messages.stream", client_of(colour, two, max_retries=0), model=OPUS, messages=prefilled)
    assert isinstance(seen.error, anthropic.APIStatusError)
    assert (seen.error.status_code, seen.error.type) == (529, "overloaded_error")
    assert [entry["status"] for entry in api.requests()] == [529, 400]
    seen = await read("messages.stream", client_of(colour, three), model=OPUS, messages=prefilled)
    assert seen.error is None
    assert whole(seen.events).model == HAIKU


async def test_b12_a_broken_answer_to_a_prefill_is_continued_without_one(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The caller's prefill and what came are one turn of the assistant, and a user's turn follows: the fallback takes that."""
    prefilled = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "I am sorry"}]
    chain = chained(routed(api, OPUS, SONNET))
    for index in range(FIRST_CONTENT + 1, 12, 3):
        api.set_faults([fault_of("cut", index, model=OPUS)])
        api.clear_requests()
        seen = await read("messages.stream", client_of(colour, chain), model=OPUS, messages=prefilled)
        assert seen.error is None, f"at {index}: {seen.error!r}"
        assert whole(seen.events).stop_reason == "end_turn"
        assert [entry["status"] for entry in api.requests()] == [200, 200]


# -- the long form -----------------------------------------------------------------------------------------------------

SOAK_S = 90.0


def any_fault(draws: random.Random) -> Fault:
    """Something that goes wrong with a share of the requests. No long `retry-after`: it would end the test by a cooldown."""
    index, share = draws.randrange(EVENTS), draws.choice([0.1, 0.3, 0.6])
    given: dict[str, Any] = draws.choice(
        [
            *({name: index} for name in ("cut_at", "clean_end_at", "error_at", "malformed_at", "stall_at")),
            {"stall_at": index, "stall_s": 0.1},
            {"stall_at": index, "pings_only": True},
            {"trickle_bytes_per_s": 20_000},
            {"status": draws.choice([429, 500, 503, 529])},
            {"status": 429, "retry_after": draws.choice(["0", "1", "soon"])},
            {"reset": True},
            {"no_response": True},
        ]
    )
    return Fault(probability=share, **given)


class Soak:
    """Callers of one client, until the time is over, and what was wrong with what they got."""

    def __init__(self, client: Any, wanted: str) -> None:
        self.client, self.wanted = client, wanted
        self.ends = time.monotonic() + SOAK_S
        self.plain_s: list[float] = []
        self.streamed_s: list[float] = []
        self.good = 0
        self.wrong: list[str] = []

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.ends

    async def call(self, draws: random.Random) -> None:
        """One call, four of five streamed; what it comes to is judged."""
        began, seen = time.monotonic(), Got()
        streamed = draws.random() < 0.8
        if streamed:
            seen = await read(draws.choice(READERS), self.client)
        else:
            try:
                seen.final = await got(self.client.messages.create(**asked()))
            except Exception as error:  # noqa: BLE001 -- judged with the others
                seen.error = error
        (self.streamed_s if streamed else self.plain_s).append(time.monotonic() - began)
        try:
            self._judge(seen, streamed=streamed)
        except AssertionError as error:
            self.wrong.append(str(error))

    def _judge(self, seen: Got, *, streamed: bool) -> None:
        if isinstance(seen.error, console.StreamBroken):
            assert_broken(seen, self.wanted)
        elif seen.error is not None:
            assert isinstance(seen.error, anthropic.APIError | InBandError), repr(seen.error)
            # An error of the API's own that came in one piece with content is handed on as it came, when nobody else answers.
            assert seen.text == "" or getattr(seen.error, "status_code", 200) == 200
            assert self.wanted.startswith(seen.text)
        else:
            self.good += 1
            text = whole(seen.events).text if streamed else "".join(block.text for block in seen.final.content)
            assert text == self.wanted

    async def wait(self, number: int) -> None:
        """Calls one after the other; some are cancelled early, wherever they are."""
        draws = random.Random(number)
        while not self.is_over:
            await asyncio.sleep(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(draws.choice([0.02, 0.1, 30, 30, 30, 30])):
                    await self.call(draws)

    def block(self, number: int) -> None:
        """The same in a thread; some readers leave early."""
        draws = random.Random(number)
        while not self.is_over:
            if draws.random() < 0.2:
                with contextlib.suppress(anthropic.APIError), self.client.messages.stream(**asked()) as stream:
                    next(iter(stream))
            else:
                asyncio.run(self.call(draws))

    def change(self, api: SimulatedAPI) -> None:
        """Other faults four times a second."""
        draws = random.Random(0)
        while not self.is_over:
            api.set_faults([any_fault(draws) for _ in range(draws.randrange(1, 4))])
            time.sleep(0.25)


async def in_all_threads(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)


@pytest.mark.long
async def test_soak_whatever_breaks_wherever_no_answer_is_wrong_and_nothing_is_left_behind(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """I1, I2, I9 and I11 under faults that change four times a second, with callers that leave in the middle."""
    chain = chained(routed(api, SONNET, SONNET, SONNET, limits=LimitsPolicy(2, 0.4, 0.4)))
    client, wanted = client_of(colour, chain, timeout=4.0), await healthy(client_of(colour))
    assert (await read("lines", client)).error is None  # everything that is made once has been made
    soak = Soak(client, wanted)
    works: list[Callable[[], None]] = [partial(soak.change, api)]
    if colour == "blocking":
        works += [partial(soak.block, number) for number in range(8)]
        await in_all_threads(works)
    else:
        await asyncio.gather(in_all_threads(works), *(soak.wait(number) for number in range(12)))
    calls = len(soak.plain_s) + len(soak.streamed_s)
    report(
        f"{calls} calls, {soak.good} answered; the longest {max(soak.plain_s):.1f} s plain, {max(soak.streamed_s):.1f} s streamed"
    )
    assert soak.wrong == []
    assert min(len(soak.plain_s), len(soak.streamed_s), soak.good) > 20
    assert max(soak.plain_s) < 4.0 + 1.0  # I2, with room for a busy machine
    assert max(soak.streamed_s) < HANG_S
    api.clear_faults()
    until(lambda: all(entry["finished"] for entry in api.requests()), within_s=5)  # I11: nothing is open any more
    until(lambda: not chain.runtime.guarded, within_s=5)
    for _ in range(20):
        api.clear_requests()
        assert_whole(await read("lines", client), wanted, api, "afterwards")
    assert chain.runtime.errors == 0
    rows, attempts = chain.rows("call"), chain.rows("attempt")
    assert max(row["attempts"] for row in rows) <= 3  # I1
    assert sum(attempt["error"] is not None for attempt in attempts) <= 1.2 * len(rows) + 10
    left = [thread.name for thread in threading.enumerate() if "console" in thread.name]
    assert left == []
