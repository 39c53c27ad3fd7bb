"""What a review of the broken streams found, so that it stays found. Servers play scripts; every answer stands in the test."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from failover_tools import LIMITS, NEVER_OPENS, Chained, Server, request_on, until
from sdk_shapes import COLOURS, HAIKU, SONNET, WEATHER, ask, each, got

from console import CallBlocked, StreamBroken
from console.core.breaker import BreakerPolicy
from console.core.splice import Splicer
from console.core.switches import ALL, Scope
from console.core.targets import FeaturePolicy, LimitsPolicy, Routing, Target

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterator

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS), pytest.mark.usefixtures("_key")]

ONE = BreakerPolicy(consecutive=1, minimum_calls=100_000, dwell=30)
"""The first failure opens it."""
SILENCE = LimitsPolicy(10.0, 10.0, 0.6)
STEP_S, STEPS = 0.08, 16
"""A server's pauses are much shorter than the silence, and together much longer."""
SORRY = "Sorry."

# -- what the servers say ----------------------------------------------------------------------------------------------

FINE = "HTTP/1.1 200 OK\r\ncontent-type: {}\r\nrequest-id: req_1\r\nconnection: close\r\n\r\n"
"""Without a length: the body ends where the connection does."""
STREAM = FINE.format("text/event-stream")
Part = bytes | float | threading.Event | None


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


MESSAGE: dict[str, Any] = {
    "id": "m", "type": "message", "role": "assistant", "model": SONNET, "content": [],
    "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 100, "output_tokens": 1},
}  # fmt: skip
START = event("message_start", message=MESSAGE)


def block(kind: str = "text", index: int = 0) -> bytes:
    begun = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"id": "t", "name": "w", "input": {}},
    }
    return event("content_block_start", index=index, content_block={"type": kind, **begun[kind]})


def delta(text: str, kind: str = "text", index: int = 0) -> bytes:
    return event("content_block_delta", index=index, delta={"type": f"{kind}_delta", kind: text})


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


END = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 50})
END += event("message_stop")
SAID = "Alpha beta gamma delta"
BEGUN = START + block() + delta(SAID)
"""A source that breaks here is billed 100 tokens of input and, 22 bytes at 3.5 each, 7 of output."""
BILLED = (100, 7)
IN_BAND = event("error", error={"type": "overloaded_error", "message": "no"})


def script(*parts: Part, head: str = STREAM) -> Callable[[socket.socket], None]:
    """Answers a request: bytes are sent, in one piece with the head if they come first; a number is a pause, an event is waited
    for, and at None it waits until the caller has gone."""

    def serve(connection: socket.socket) -> None:
        request_on(connection)
        data = head.encode()
        for part in (*parts, b""):
            if isinstance(part, bytes):
                data += part
                continue
            connection.sendall(data)
            data = b""
            if part is None:
                connection.recv(65536)
            elif isinstance(part, threading.Event):
                part.wait(10)
            else:
                threading.Event().wait(part)
        connection.sendall(data)
        connection.close()

    return serve


def plain(status: int, body: bytes | dict[str, Any], kind: str = "application/json") -> Callable[[socket.socket], None]:
    """A whole answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} So\r\ncontent-type: {kind}\r\ncontent-length: {len(raw)}\r\nconnection: close\r\n\r\n"
    return script(raw, head=head)


def refusal(status: int, kind: str) -> Callable[[socket.socket], None]:
    return plain(status, {"type": "error", "error": {"type": kind, "message": "no"}})


def slowly(*parts: bytes) -> list[Part]:
    return [one for part in parts for one in (part, STEP_S)]


# -- who asks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_TEST_KEY", "k")


def over(*servers: Server, limits: LimitsPolicy = LIMITS, breaker: BreakerPolicy = NEVER_OPENS, **policy: Any) -> Routing:
    """A chain of targets that listen at the servers, called first, second, third; the second asks for another model."""
    places = zip(("first", "second", "third"), (SONNET, HAIKU, SONNET), servers, strict=False)
    targets = {name: Target(name, model, base_url=at.url, api_key="env:CONSOLE_TEST_KEY") for name, model, at in places}
    return Routing(targets, FeaturePolicy(tuple(targets), limits, **policy), {}, breaker, exercises_fallbacks=False)


class Reader:
    """A caller who reads a stream as events: what has come so far, and the error."""

    def __init__(self, client: Any, **more: Any) -> None:
        self.client, self.asked = client, ask(max_tokens=600, **more)
        self.events: list[Any] = []
        self.error: Exception | None = None
        self.stream: Any = None

    async def begin(self) -> None:
        self.stream = await got(self.client.messages.create(**self.asked, stream=True))

    async def read(self) -> Reader:
        try:
            if self.stream is None:
                await self.begin()
            async for one in each(self.stream):
                self.events.append(one)
        except Exception as error:  # noqa: BLE001 -- what it is is what is looked at
            self.error = error
        return self

    @property
    def text(self) -> str:
        return "".join(getattr(one.delta, "text", "") for one in self.events if one.type == "content_block_delta")

    def kinds(self) -> Counter[str]:
        return Counter(one.type for one in self.events)

    @property
    def is_whole(self) -> bool:
        kinds = [one.type for one in self.events]
        ends = kinds.count("message_start"), kinds.count("message_stop"), kinds[:1], kinds[-1:]
        return self.error is None and ends == (1, 1, ["message_start"], ["message_stop"])


def at_once(colour: str, work: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
    """Begins work of either colour beside the test: a task, or a thread that a task waits for."""
    if colour == "awaiting":
        return asyncio.ensure_future(work())

    async def alone() -> Any:
        return await work()

    return asyncio.create_task(asyncio.to_thread(asyncio.run, alone()))


async def comes_true(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(until, condition)


def tokens(row: dict[str, Any]) -> tuple[int, int]:
    return row["input_tokens"], row["output_tokens"]


def summed(chain: Chained) -> tuple[int, int]:
    """The tokens of the finest sums."""
    rows = chain.rows("call_rollup")
    finest = [row for row in rows if row["tier"] == min(row["tier"] for row in rows)]
    return sum(row["input_tokens"] for row in finest), sum(row["output_tokens"] for row in finest)


# -- 1: answers that are no continuation -------------------------------------------------------------------------------

EVENTS = START + block() + delta(SAID + " epsilon") + stop() + END
WHOLE_MESSAGE = {**MESSAGE, "content": [{"type": "text", "text": SAID}], "stop_reason": "end_turn"}
NO_CONTINUATION = {
    "413": (refusal(413, "request_too_large"), (413, "request_too_large")),
    "421": (refusal(421, "invalid_request_error"), (421, "invalid_request_error")),
    "in band": (
        script(START, event("error", error={"type": "invalid_request_error", "message": "no"})), (200, "invalid_request_error"),
    ),
    "json": (plain(200, WHOLE_MESSAGE), None),
    "events called text": (plain(200, EVENTS, "text/plain"), None),
    "302": (plain(302, b"", "text/plain"), None),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_CONTINUATION)
async def test_an_answer_that_is_no_continuation_ends_the_stream_and_is_not_shown(
    what: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    answer, recorded = NO_CONTINUATION[what]
    with Server(script(BEGUN)) as first, Server(answer) as second:
        chain = chained(over(first, second))
        seen = await Reader(client_of(colour, chain, max_retries=2)).read()
        assert isinstance(seen.error, StreamBroken)
        assert (seen.kinds()["message_start"], seen.kinds()["message_stop"], seen.text) == (1, 0, SAID)
        assert [part.text for part in seen.error.partial.content] == [SAID]
        assert (seen.error.reason, seen.error.request_id) == ("truncated_stream", "req_1")
        rows = chain.errors()
        assert rows[0] == ("first", 200, "truncated_stream")
        assert recorded is None or rows[1:] == [("second", *recorded)]
        assert second.began == 1
        assert Counter(target for target, _, _ in rows) <= Counter(first=first.began, second=second.began)
        call = chain.only_call()
        assert (call["outcome"], call["continued"], call["attempts"]) == ("failed", 0, len(rows))
        assert chain.runtime.errors == 0
        assert chain.runtime.guarded == {}


@pytest.mark.parametrize("what", ["json", "events called text", "302"])
async def test_an_answer_that_is_no_continuation_was_an_attempt(
    what: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(script(BEGUN)) as first, Server(NO_CONTINUATION[what][0]) as second:
        chain = chained(over(first, second))
        await Reader(client_of(colour, chain)).read()
        sent = Counter(first=first.began, second=second.began)
        assert Counter(target for target, _, _ in chain.errors()) == sent


# -- 2, 3: kills and cancellations -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [ALL, Scope("model", SONNET)], ids=str)
@pytest.mark.parametrize("policy", [{}, {"on_break": "error"}], ids=["goes on", "must not"])
async def test_streams_that_an_operator_ends_are_no_failures_of_their_target(
    policy: dict[str, Any], scope: Scope, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(script(BEGUN, None)) as first, Server(script(BEGUN, None)) as second:
        chain = chained(over(first, second, breaker=ONE, on_kill="abort", **policy))
        client = client_of(colour, chain, max_retries=2)
        readers = [Reader(client) for _ in range(3)]
        reading = [at_once(colour, reader.read) for reader in readers]
        await comes_true(lambda: all(reader.text for reader in readers))
        chain.kill(scope)
        await asyncio.gather(*reading)
        assert [type(reader.error) for reader in readers] == [CallBlocked] * 3
        assert [(row["outcome"], row["error"], *tokens(row)) for row in chain.rows("call")] == [
            ("cancelled", "kill_switch", *BILLED)
        ] * 3
        assert summed(chain) == (3 * BILLED[0], 3 * BILLED[1])
        assert chain.errors() == [("first", 200, "kill_switch")] * 3
        assert (chain.state("first"), second.began, chain.runtime.errors) == ("closed", 0, 0)


async def test_a_continuation_that_is_left_while_it_is_read_counts_each_attempts_tokens_once(
    colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    more = START + block() + delta("gamma delta epsilon zeta eta theta.")
    with Server(script(BEGUN)) as first, Server(script(more, None)) as second:
        chain = chained(over(first, second, breaker=ONE))
        reader = Reader(client_of(colour, chain))
        await reader.begin()
        async for one in each(reader.stream):
            reader.events.append(one)
            if len(reader.text) > len(SAID):
                break
        await got(reader.stream.close())
        call = chain.only_call()
        assert (call["outcome"], call["attempts"], call["continued"]) == ("cancelled", 2, 1)
        assert call["input_tokens"] == 200
        assert call["output_tokens"] > BILLED[1]
        assert tokens(call) == summed(chain)
        assert chain.state("second") == "closed"


class _Gone(BaseException):
    """What takes a worker's thread out of a call: a server's own time limit, for example."""


@contextmanager
def interrupted_when(condition: Callable[[], object]) -> Iterator[None]:
    """Raises `_Gone` in this thread, the main one, soon after `condition` has come true."""

    def handler(*_: object) -> None:
        raise _Gone

    def interrupt() -> None:
        until(condition)
        threading.Event().wait(0.1)  # it waits by now
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("parts", [(START, None), (None,)], ids=["begun", "silent"])
async def test_a_continuation_that_is_cancelled_while_it_is_waited_for_leaves_the_first_attempts_tokens(
    parts: tuple[Part, ...], colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(script(BEGUN)) as first, Server(script(*parts)) as second:
        chain = chained(over(first, second, breaker=ONE))
        reader = Reader(client_of(colour, chain))
        if colour == "blocking":
            with pytest.raises(_Gone), interrupted_when(lambda: second.began):
                await reader.read()
        else:
            reading = at_once(colour, reader.read)
            await comes_true(lambda: second.began)
            await asyncio.sleep(0.1)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        call = chain.only_call()
        assert (call["outcome"], tokens(call)) == ("cancelled", BILLED)
        assert summed(chain) == BILLED
        assert chain.errors() == [("first", 200, "truncated_stream"), ("second", 200, "cancelled")]
        assert (chain.state("second"), chain.runtime.guarded) == ("closed", {})


# -- 4, 5: who is silent -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause_s", [STEP_S, 0.0], ids=["steadily", "at once"])
async def test_a_caller_who_begins_to_read_late_gets_his_stream_from_the_first_target(
    pause_s: float, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    words = [f"w{number} " for number in range(STEPS)]
    parts: list[Part] = [one for word in words for one in (delta(word), pause_s)]
    with Server(script(START + block(), *parts, stop() + END)) as first, Server(script(EVENTS)) as second:
        chain = chained(over(first, second, limits=SILENCE, breaker=ONE))
        reader = Reader(client_of(colour, chain))
        await reader.begin()
        await asyncio.sleep(1.2)
        await reader.read()
        assert (reader.is_whole, reader.text) == (True, "".join(words))
        assert second.began == 0
        assert chain.only_call()["attempts"] == 1
        assert chain.state("first") == "closed"


THOUGHTS: list[Part] = [
    START + block("thinking"), *slowly(*[delta("hm ", "thinking")] * STEPS), stop(0),
    block(index=1) + delta("gamma delta and more.", index=1) + stop(1) + END,
]  # fmt: skip
WORDS = [f"word{number} " for number in range(STEPS)]
REPEATED: list[Part] = [START + block(), *slowly(*map(delta, WORDS)), delta("the end.") + stop() + END]
BUSY = {
    "thinks": (BEGUN, THOUGHTS, SAID + " and more."),
    "repeats": (START + block() + b"".join(map(delta, WORDS)), REPEATED, "".join(WORDS) + "the end."),
}


@pytest.mark.parametrize("what", BUSY)
async def test_a_continuation_of_which_the_caller_gets_nothing_yet_is_not_silent_while_events_come(
    what: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    before, then, wanted = BUSY[what]
    with Server(script(before)) as first, Server(script(*then)) as second:
        chain = chained(over(first, second, limits=SILENCE, breaker=ONE))
        reader = await Reader(client_of(colour, chain), thinking={"type": "adaptive"}).read()
        assert (reader.is_whole, reader.text) == (True, wanted)
        assert chain.errors() == [("first", 200, "truncated_stream"), ("second", 200, None)]
        assert (chain.only_call()["continued"], chain.state("second")) == (1, "closed")


# -- 6: closed by somebody else ----------------------------------------------------------------------------------------


async def test_a_stream_that_is_closed_while_it_is_read_is_nobodys_failure(
    colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    on = threading.Event()
    with Server(script(BEGUN, on, delta(" epsilon"))) as first, Server(script(EVENTS)) as second:
        chain = chained(over(first, second, breaker=ONE))
        reader = Reader(client_of(colour, chain))
        reading = at_once(colour, reader.read)
        await comes_true(lambda: reader.text)
        await asyncio.sleep(0.1)  # it waits for more
        await got(reader.stream.close())
        on.set()  # a socket that is closed under a thread does not wake it
        await asyncio.wait_for(reading, 5)
        assert not isinstance(reader.error, StreamBroken | AttributeError | TypeError)
        assert reader.text == SAID
        call = chain.only_call()
        assert (call["outcome"], call["attempts"], tokens(call)) == ("cancelled", 1, BILLED)
        assert (chain.state("first"), second.began, chain.runtime.errors) == ("closed", 0, 0)


@pytest.mark.parametrize("waits_for", ["headers", "content"])
async def test_a_stream_that_is_closed_while_a_continuation_is_waited_for_is_not_continued(
    waits_for: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    on, rest = threading.Event(), block() + delta("gamma delta epsilon") + stop() + END

    def serve(connection: socket.socket) -> None:
        request_on(connection)
        data = STREAM.encode() + START
        if waits_for == "content":
            connection.sendall(data)
            data = b""
        on.wait(10)
        connection.sendall(data + rest)
        connection.close()

    with Server(script(BEGUN)) as first, Server(serve) as second:
        chain = chained(over(first, second, breaker=ONE))
        reader = Reader(client_of(colour, chain))
        reading = at_once(colour, reader.read)
        await comes_true(lambda: second.began)
        await asyncio.sleep(0.1)
        await got(reader.stream.close())
        on.set()
        await asyncio.wait_for(reading, 8)
        assert reader.text == SAID
        call = chain.only_call()
        assert (call["outcome"], call["continued"]) == ("cancelled", 0)
        assert (chain.state("second"), chain.runtime.guarded, chain.runtime.errors) == ("closed", {}, 0)


# -- 7, 8: killed before the caller has had anything -------------------------------------------------------------------

HELD = {
    "streamed": (script(START, None), True),
    "plain": (script(b'{"id":"m","type":"message",', None, head=FINE.format("application/json")), False),
}


@pytest.mark.parametrize("texts", [{}, {"default": SORRY}], ids=["no text", "text"])
@pytest.mark.parametrize("what", HELD)
async def test_a_kill_before_the_content_of_a_body_without_a_length_is_a_kill(
    what: str, texts: dict[str, str], colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Shutting its connection down looks like its end."""
    serve, is_streamed = HELD[what]
    with Server(serve) as first, Server(script(EVENTS)) as second:
        chain = chained(over(first, second, breaker=ONE, on_kill="abort"), **texts)
        client, seen = client_of(colour, chain, max_retries=2), []

        async def call() -> None:
            try:
                if is_streamed:
                    reader = Reader(client)
                    await reader.begin()
                    seen.append((await reader.read()).text)
                else:
                    seen.append((await got(client.messages.create(**ask()))).content[0].text)
            except Exception as error:  # noqa: BLE001 -- what it is is what is looked at
                seen.append(type(error))

        calling = at_once(colour, call)
        await comes_true(lambda: chain.runtime.guarded)
        chain.kill(ALL)
        await asyncio.wait_for(calling, 5)
        assert seen == [SORRY if texts else CallBlocked]
        assert chain.errors() == [("first", 200, "kill_switch")]
        call_row = chain.only_call()
        assert (call_row["outcome"], call_row["error"]) == ("degraded" if texts else "blocked", "kill_switch")
        assert (first.began, second.began, chain.state("first")) == (1, 0, "closed")


async def test_a_model_that_is_killed_while_its_stream_is_held_leaves_the_next_ones_error_to_the_caller(
    colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(script(START, None)) as first, Server(refusal(529, "overloaded_error")) as second:
        chain = chained(over(first, second, on_kill="abort"))
        reader = Reader(client_of(colour, chain))
        reading = at_once(colour, reader.read)
        await comes_true(lambda: chain.runtime.guarded)
        chain.kill(Scope("model", SONNET))
        await asyncio.wait_for(reading, 5)
        assert isinstance(reader.error, anthropic.APIStatusError)
        assert reader.error.status_code == 529
        assert chain.errors() == [("first", 200, "kill_switch"), ("second", 529, "overloaded_error")]
        assert chain.only_call()["attempts"] == 2


# -- 10, 11, 13, 16 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("third", ["goes on", "refuses"])
async def test_a_continuation_that_breaks_where_a_tool_call_begins_leaves_the_answer_as_it_was(
    third: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    rest = script(START + block() + delta("beta gamma delta epsilon.") + stop() + END)
    last = rest if third == "goes on" else refusal(529, "overloaded_error")
    with Server(script(BEGUN)) as one, Server(script(START + block("tool_use"))) as two, Server(last) as three:
        chain = chained(over(one, two, three))
        reader = await Reader(client_of(colour, chain), tools=[WEATHER]).read()
        assert {event.content_block.type for event in reader.events if event.type == "content_block_start"} == {"text"}
        if third == "goes on":
            assert (reader.is_whole, reader.text) == (True, SAID + " epsilon.")
        else:
            assert isinstance(reader.error, StreamBroken)
            assert [(part.type, part.text) for part in reader.error.partial.content] == [("text", SAID)]
        error = None if third == "goes on" else (529, "overloaded_error")
        assert chain.errors() == [
            ("first", 200, "truncated_stream"), ("second", 200, "truncated_stream"), ("third", *(error or (200, None))),
        ]  # fmt: skip
        assert tokens(chain.only_call()) == summed(chain)
        assert chain.runtime.errors == 0


async def test_the_tokens_of_streams_that_failed_in_band_count_though_the_text_is_our_own(
    colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(script(START, IN_BAND)) as first, Server(script(START, IN_BAND)) as second:
        chain = chained(over(first, second), default=SORRY)
        reader = await Reader(client_of(colour, chain)).read()
        assert (reader.is_whole, reader.text) == (True, SORRY)
        call = chain.only_call()
        assert (call["outcome"], call["attempts"], tokens(call)) == ("degraded", 2, (200, 2))
        assert summed(chain) == (200, 2)


async def test_a_defect_of_ours_in_a_stream_is_told_to_its_caller_and_blamed_on_nobody(
    colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("a defect")

    on = threading.Event()
    with Server(script(BEGUN, on, stop() + END)) as first, Server(script(EVENTS)) as second:
        chain = chained(over(first, second, breaker=ONE))
        reader = Reader(client_of(colour, chain))
        await reader.begin()
        monkeypatch.setattr(Splicer, "_take", broken)
        on.set()
        await reader.read()
        assert isinstance(reader.error, StreamBroken)
        assert reader.text == SAID
        assert [part.text for part in reader.error.partial.content] == [SAID]
        assert chain.only_call()["outcome"] == "failed"
        assert (chain.state("first"), second.began, chain.runtime.errors) == ("closed", 0, 1)


async def test_a_stream_that_has_run_longer_than_the_clients_limit_goes_on_when_it_breaks(
    colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The caller's limit is for a pause between two bytes, not for a whole stream."""
    rest = START + block() + delta("".join(WORDS[-4:]) + "the end.") + stop() + END
    with Server(script(START + block(), *slowly(*map(delta, WORDS)))) as first, Server(script(rest)) as second:
        chain = chained(over(first, second))
        reader = await Reader(client_of(colour, chain, timeout=0.8)).read()
        assert (reader.is_whole, reader.text) == (True, "".join(WORDS) + "the end.")
        assert chain.errors() == [("first", 200, "truncated_stream"), ("second", 200, None)]
