"""The table of errors over real sockets: outages of our own making, prompts too long, retired models, pages in place of answers;
what a stream may take while the model thinks or uses a tool; what is taken from the headers; the daily trial of a fallback."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from failover_tools import FOUR, LIMITS, SHORT, Server, request_on, routed, until
from sdk_shapes import COLOURS, HAIKU, SONNET, STREAM, Shape, seen_by

from console.core.exercise import DAY_US
from console.core.switches import Scope
from console.core.targets import KEY_OF_CLIENT, LimitsPolicy, Routing, Target
from console.ops.heartbeats import read_state
from console.sdk.answers import ChainExhausted
from console.sim.faults import Fault

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from failover_tools import Chained

    from console.sim.server import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]
four = pytest.mark.parametrize("shape", FOUR, ids=str)

SPENT = "enforced_spend_limit_reached"
OURS = [
    Fault(status=429, error_code=SPENT, retry_after="1"),
    Fault(status=429, error_code=SPENT, retry_after="3600"),
    Fault(status=400, error_code="organization_on_hold"),
    Fault(status=402, error_code="linked_organization_billing_unavailable"),
    Fault(status=400, error_code="cmek_key_disabled"),
    Fault(status=529, error_type="billing_error"),
    Fault(status=401),
    Fault(status=403),
]


def elsewhere(api: SimulatedAPI) -> dict[str, Target]:
    """Haiku with a key of its own: another account."""
    return {"other": Target("other", HAIKU, base_url=api.url, api_key=KEY_OF_CLIENT)}


# -- outages of our own making -----------------------------------------------------------------------------------------


@four
@pytest.mark.parametrize("fault", OURS, ids=lambda fault: fault.label)
async def test_an_outage_of_our_own_making_goes_to_another_account_and_never_back(
    fault: Fault, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Four calls: each is answered, at once, and no breaker opens."""
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    chain = chained(
        routed("sonnet", "sonnet-twin", "other", targets=elsewhere(api) | {"sonnet-twin": Target("sonnet-twin", SONNET)})
    )
    api.set_faults([_of_sonnet(fault)])
    api.clear_requests()
    client, began = client_of(colour, chain, max_retries=2), time.monotonic()
    for _ in range(4):
        seen = await seen_by(shape, client)
        assert (seen.error, seen.parts) == (None, wanted.parts)
    assert time.monotonic() - began < 4
    assert [entry["model"] for entry in api.requests()] == [SONNET, HAIKU] * 4
    assert chain.state("sonnet") == "closed"
    shown = chain.errors()
    if fault.error_code:
        assert shown[0] == ("sonnet", fault.status, f"{_type_of(fault)}: {fault.error_code}")


def _of_sonnet(fault: Fault) -> Fault:
    return type(fault)(**{name: getattr(fault, name) for name in fault.__slots__} | {"model": SONNET})


def _type_of(fault: Fault) -> str:
    by_status = {400: "invalid_request_error", 402: "billing_error", 429: "rate_limit_error"}
    return fault.error_type or by_status[fault.status or 0]


@four
async def test_with_one_account_the_caller_gets_the_apis_own_word_once(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    api.set_faults([Fault(status=429, error_code=SPENT, retry_after="1")])
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert issubclass(seen.error[0], anthropic.RateLimitError) and seen.error[2] == 429
    assert len(api.requests()) == 1
    assert chain.only_call()["error"] == f"rate_limit_error: {SPENT}"


async def test_in_band_a_spend_limit_is_ours_too(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    wanted = await seen_by(STREAM, client_of(colour), model=HAIKU)
    chain = chained(
        routed("sonnet", "sonnet-twin", "other", targets=elsewhere(api) | {"sonnet-twin": Target("sonnet-twin", SONNET)})
    )
    api.set_faults([Fault(model=SONNET, error_at=1, error_type="rate_limit_error", error_code=SPENT)])
    api.clear_requests()
    seen = await seen_by(STREAM, client_of(colour, chain))
    assert (seen.error, seen.parts[:-1]) == (None, wanted.parts[:-1])
    assert [entry["model"] for entry in api.requests()] == [SONNET, HAIKU]
    assert chain.errors()[0] == ("sonnet", 200, f"rate_limit_error: {SPENT}")


# -- a prompt that is too long, a model that is gone -------------------------------------------------------------------

LONG = [{"role": "user", "content": "A line of a very long prompt. " * 40_000}]
"""1.2 MB: about 300,000 tokens, too many for Haiku."""


@four
async def test_a_prompt_too_long_for_one_model_is_answered_by_one_with_a_larger_window(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The simulator says what the API says: a 400 without a code."""
    twin = Target("haiku-twin", HAIKU, base_url=api.url, api_key=KEY_OF_CLIENT)
    chain = chained(routed("haiku", "haiku-twin", "sonnet", targets={"haiku-twin": twin}))
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2), model=HAIKU, messages=LONG)
    assert seen.error is None
    assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET]
    call = chain.only_call()
    assert (call["outcome"], call["served_by"], call["target"]) == ("ok", "fallback", "sonnet")
    assert chain.errors()[0] == ("haiku", 400, "invalid_request_error")


@four
async def test_too_long_for_every_model_is_the_callers_own_400_after_one_look_at_each(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    small = {"old": Target("old", "claude-haiku-4-5")}
    chain = chained(routed("haiku", "old", targets=small))
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2), model=HAIKU, messages=LONG)
    assert seen.error[0] is anthropic.BadRequestError
    assert "prompt is too long" in seen.error[1]
    assert [entry["model"] for entry in api.requests()] == [HAIKU, "claude-haiku-4-5"]


@four
async def test_what_a_filter_rejects_is_the_callers_at_once(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    api.set_faults([Fault(status=400)])
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert seen.error[0] is anthropic.BadRequestError
    assert len(api.requests()) == 1
    assert chain.state("sonnet") == "closed"


@four
async def test_a_retired_model_is_asked_once_and_then_left_alone(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    gone = {"gone": Target("gone", "claude-sonnet-3-5")}
    chain = chained(routed("gone", "haiku", targets=gone, limits=LIMITS))
    client = client_of(colour, chain)
    for _ in range(5):
        assert (await seen_by(shape, client)).error is None
    assert [entry["model"] for entry in api.requests()] == ["claude-sonnet-3-5"] + [HAIKU] * 5
    state = chain.runtime.gate.states({}, ())["gone"]
    assert state.state == "open"
    assert (state.reason or "").startswith("404 not_found_error: is its model retired or misspelt?")
    assert state.probe_at is not None and state.probe_at - time.time_ns() // 1000 > 800e6


# -- what is no answer -------------------------------------------------------------------------------------------------


def _saying(body: bytes, kind: str, status: int = 200) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        request_on(connection)
        head = f"HTTP/1.1 {status} OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.recv(1)

    return serve


PAGE = b"<html><body>Please log in</body></html>"
NO_ANSWERS = [
    (PAGE, "text/html; charset=utf-8"),
    (b'{"status": "ok"}', "text/html"),
    (b"<x/>", "application/xml"),
]


@four
@pytest.mark.parametrize(("body", "kind"), NO_ANSWERS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_gateways_page_is_no_answer(
    body: bytes, kind: str, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:  # fmt: skip
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    with Server(_saying(body, kind)) as server:
        broken = Target("broken", SONNET, base_url=server.url, api_key=KEY_OF_CLIENT)
        chain = chained(routed("broken", "haiku", targets={"broken": broken}))
        seen = await seen_by(shape, client_of(colour, chain))
    assert (seen.error, seen.parts) == (None, wanted.parts)
    assert chain.errors()[0] == ("broken", 200, "malformed_answer")
    assert chain.runtime.errors == 0


async def test_plain_words_are_no_answer(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(_saying(b"OK", "text/plain")) as server:
        broken = Target("broken", SONNET, base_url=server.url, api_key=KEY_OF_CLIENT)
        chain = chained(routed("broken", "haiku", targets={"broken": broken}))
        assert (await seen_by(FOUR[0], client_of(colour, chain))).error is None
    assert chain.errors()[0] == ("broken", 200, "malformed_answer")


async def test_half_of_a_json_document_is_no_answer(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    wanted = await seen_by(FOUR[0], client_of(colour), model=HAIKU)
    chain = chained()
    api.set_faults([Fault(model=SONNET, malformed_at=0)])
    seen = await seen_by(FOUR[0], client_of(colour, chain))
    assert (seen.error, seen.parts) == (None, wanted.parts)
    assert chain.errors()[0] == ("sonnet", 200, "malformed_answer")


@four
async def test_nothing_but_pages_exhausts_the_chain(
    shape: Shape, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(_saying(PAGE, "text/html")) as server:
        chain = chained(routed("sonnet"))
        seen = await seen_by(shape, client_of(colour, chain, base_url=server.url, max_retries=0))
    assert seen.error[0] is ChainExhausted
    assert "malformed_answer" in seen.error[1]


# -- silence -----------------------------------------------------------------------------------------------------------


def _sse(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


PING = _sse("ping")
USAGE = {"input_tokens": 3, "output_tokens": 1}
STARTED = _sse("message_start", message={
    "id": "msg_1", "type": "message", "role": "assistant", "model": SONNET, "content": [], "stop_reason": None,
    "stop_sequence": None, "usage": USAGE,
})  # fmt: skip
ENDED = _sse("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 4}) + _sse(
    "message_stop"
)


def _block(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    started = _sse("content_block_start", index=index, content_block=block)
    return [started, *(_sse("content_block_delta", index=index, delta=delta) for delta in deltas)]


def _text(index: int, *words: str) -> list[bytes]:
    return _block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": word} for word in words))


def _stop(index: int) -> bytes:
    return _sse("content_block_stop", index=index)


TOOL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}


def _json_delta(part: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": part}


def _streaming(parts: list[Any]) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        request_on(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for part in parts:
            connection.sendall(part) if isinstance(part, bytes) else time.sleep(part)

    return serve


LONG_PAUSE = [PING, 0.15] * 6
"""0.9 s of nothing but pings: more than twice the limit for silence."""
LIVING = {
    "a tool's input": [*_text(0, "Let me see."), _stop(0), *_block(1, TOOL, _json_delta('{"city": ')), *LONG_PAUSE,
                       _sse("content_block_delta", index=1, delta=_json_delta('"Rome"}')), _stop(1)],
    "thinking that is not shown": [*_block(0, THINKING, {"type": "thinking_delta", "thinking": "Hm."}), *LONG_PAUSE,
                                   _stop(0), *_text(1, "Now."), _stop(1)],
    "a server tool": [*_block(0, SEARCH, _json_delta('{"query": "x"}')), _stop(0), *LONG_PAUSE, *_text(1, "Found."), _stop(1)],
}  # fmt: skip


@pytest.mark.parametrize("what", LIVING)
async def test_pings_are_life_while_a_tool_or_thinking_is_under_way(
    what: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(_streaming([STARTED, *LIVING[what], ENDED])) as server:
        chain = chained(routed("sonnet", limits=LimitsPolicy(None, 5, 0.4)))
        seen = await seen_by(STREAM, client_of(colour, chain, base_url=server.url))
    assert seen.error is None
    assert chain.only_call()["outcome"] == "ok"


DYING = {
    "pings while a text is open": ([*_text(0, "Half of"), *[PING, 0.1] * 100], 0.4, 60.0),
    "pings in a second text": (
        [*_block(0, TOOL, _json_delta("{}")), _stop(0), *_text(1, "Half"), *[PING, 0.1] * 100],
        0.4,
        60.0,
    ),
    "a tool without a ping": ([*_block(0, TOOL, _json_delta('{"a"')), 30.0], 0.4, 60.0),
    "a tool that pings for ever": ([*_block(0, TOOL, _json_delta('{"a"')), *[PING, 0.1] * 100], 1.0, 1.0),
    "comments": ([*_text(0, "Half of"), *[b": still here\n\n", 0.1] * 100], 0.4, 60.0),
}


@pytest.mark.parametrize("what", DYING)
async def test_b10_what_is_silence_ends_a_stream_however_it_is_filled(
    what: str, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The last number: for how long pings are life where they are."""
    parts, after_s, thinking_s = DYING[what]
    with Server(_streaming([STARTED, *parts])) as server:
        chain = chained(routed("sonnet", limits=LimitsPolicy(None, 5, 0.4, thinking_s), on_break="error"))
        began = time.monotonic()
        seen = await seen_by(STREAM, client_of(colour, chain, base_url=server.url))
        took_s = time.monotonic() - began
    assert seen.error is not None
    assert took_s > after_s - 0.1
    assert took_s < 8  # 10 s would be all that the server has to send
    assert chain.only_call()["error"] == "timeout"


@pytest.mark.parametrize(("thinking", "is_answered"), [({"type": "adaptive"}, True), (None, False)])
async def test_a_model_that_was_asked_to_think_has_longer_for_its_first_content(
    thinking: dict[str, Any] | None, is_answered: bool, colour: str, chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:  # fmt: skip
    with Server(_streaming([STARTED, *[PING, 0.2] * 5, *_text(0, "Now."), _stop(0), ENDED])) as server:
        chain = chained(routed("sonnet", limits=LimitsPolicy(None, 0.5, 0.5)))
        more = {} if thinking is None else {"thinking": thinking}
        seen = await seen_by(STREAM, client_of(colour, chain, base_url=server.url), **more)
    assert (seen.error is None) == is_answered


def _slow(connection: socket.socket) -> None:
    """A plain answer that takes 0.8 s, longer than SHORT's limit."""
    request_on(connection)
    time.sleep(0.8)
    body = json.dumps({
        "id": "msg_1", "type": "message", "role": "assistant", "model": SONNET, "content": [{"type": "text", "text": "Long."}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE,
    }).encode()  # fmt: skip
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize(("max_tokens", "is_answered"), [(20_000, True), (8_192, False)])
async def test_an_answer_that_may_be_very_long_may_take_longer(
    max_tokens: int, is_answered: bool, colour: str, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    with Server(_slow) as server:
        chain = chained(routed("sonnet", limits=SHORT))
        seen = await seen_by(FOUR[0], client_of(colour, chain, base_url=server.url, max_retries=0), max_tokens=max_tokens)
    assert (seen.error is None) == is_answered


# -- headroom ----------------------------------------------------------------------------------------------------------


@four
async def test_the_heartbeat_tells_what_the_last_answers_have_said_of_their_limits(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Of a target that refused as well: its answer says most."""
    chain = chained()
    api.set_faults([Fault(model=SONNET, status=429, retry_after="60")])
    assert (await seen_by(shape, client_of(colour, chain))).error is None
    state = json.loads(chain.rows("process")[0]["state"])["headroom"]
    assert set(state) >= {"haiku"}
    limit, remaining, reset = state["haiku"]["requests"]
    assert 0 < remaining < limit and reset.endswith("Z")
    assert abs(state["haiku"]["at"] - time.time_ns() // 1000) < 60e6


# -- I14 ---------------------------------------------------------------------------------------------------------------


def _exercising(*chain: str, **more: Any) -> Routing:
    return replace(routed(*chain, **more), exercises_fallbacks=True)


def _overdue(chain: Chained, target: str) -> None:
    """As if the target had answered a day ago, and the watcher had looked."""
    exercise, gate = chain.runtime.exercise, chain.runtime.gate
    gate.admit(target, {})
    gate._breakers[target].good_at = time.perf_counter_ns() // 1000 - DAY_US
    exercise._looked_us = -(10**15)
    exercise.tick()
    assert target in exercise.due


@four
async def test_i14_a_fallback_that_has_not_answered_for_a_day_gets_one_call(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(_exercising())
    client = client_of(colour, chain)
    _overdue(chain, "haiku")
    for _ in range(4):
        assert (await seen_by(shape, client)).error is None
    assert [entry["model"] for entry in api.requests()] == [HAIKU] + [SONNET] * 3
    calls = chain.rows("call")
    assert [(call["served_by"], call["target"]) for call in calls] == [("fallback", "haiku")] + [("primary", "sonnet")] * 3
    told = json.loads(chain.rows("process")[0]["state"])["exercise"]
    assert told["haiku"]["error"] is None


@four
@pytest.mark.parametrize("fault", [Fault(status=529), Fault(status=401), Fault(status=400), Fault(status=404)],
                         ids=lambda fault: fault.label)  # fmt: skip
async def test_i14_what_is_wrong_with_a_fallback_is_found_out_at_no_callers_cost(
    fault: Fault, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    other = {"other": Target("other", HAIKU, base_url=api.url, api_key=KEY_OF_CLIENT)}
    chain = chained(_exercising("sonnet", "other", targets=other))
    client = client_of(colour, chain)
    api.set_faults([type(fault)(model=HAIKU, status=fault.status)])
    wanted = await seen_by(shape, client)
    api.clear_requests()
    _overdue(chain, "other")
    for _ in range(3):
        seen = await seen_by(shape, client)
        assert (seen.error, seen.parts) == (None, wanted.parts)
    assert [entry["model"] for entry in api.requests()] == [HAIKU] + [SONNET] * 3
    assert {call["served_by"] for call in chain.rows("call")} == {"primary"}
    assert read_state(chain.rows("process")[0]["state"]) is not None
    assert json.loads(chain.rows("process")[0]["state"])["exercise"]["other"]["error"]


@four
@pytest.mark.parametrize("fault", [Fault(status=401), Fault(status=403), Fault(status=413), Fault(status=529),
                                   Fault(status=424), Fault(status=429, error_code=SPENT), Fault(no_response=True),
                                   Fault(reset=True)], ids=lambda fault: fault.label)  # fmt: skip
async def test_i14_a_trial_with_the_key_of_the_primary_and_no_retry_budget_takes_nothing_from_the_call(
    fault: Fault, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What holds for the account of the trial holds for the primary's only if the primary says so."""
    monkeypatch.setattr("console.core.flow.TRIAL_S", 0.5)
    chain = chained(_exercising(limits=LimitsPolicy(answer=60, first_token=60)))
    client = client_of(colour, chain, max_retries=0)
    wanted = await seen_by(shape, client)
    api.set_faults([type(fault)(**{name: getattr(fault, name) for name in fault.__slots__} | {"model": HAIKU})])
    api.clear_requests()
    _overdue(chain, "haiku")
    while chain.runtime.gate.take():
        pass
    began = time.monotonic()
    seen = await seen_by(shape, client)
    assert (seen.error, seen.parts) == (None, wanted.parts)
    assert time.monotonic() - began < 30
    assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET]
    assert [call["served_by"] for call in chain.rows("call")] == ["primary"] * 2
    assert json.loads(chain.rows("process")[0]["state"])["exercise"]["haiku"]["error"]


@four
async def test_i14_a_call_whose_trial_failed_still_has_its_whole_chain_and_its_own_answer(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """What the trial has said is not what the caller is told when the chain fails after it."""
    chain = chained(_exercising())
    client = client_of(colour, chain, max_retries=0)
    _overdue(chain, "haiku")
    api.set_faults([Fault(model=HAIKU, status=403), Fault(model=SONNET, status=401)])
    seen = await seen_by(shape, client)
    assert seen.error[2] == 401
    assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET]


async def test_i14_a_trial_that_failed_is_none_of_the_attempts_of_a_stream_that_breaks(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(_exercising())
    client = client_of(colour, chain)
    _overdue(chain, "haiku")
    api.set_faults([Fault(model=HAIKU, status=529, times=2), Fault(model=SONNET, cut_at=6, times=1)])
    assert (await seen_by(STREAM, client)).error is None
    assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET, HAIKU, SONNET]


@four
async def test_i14_a_trial_that_a_switch_kept_from_being_made_has_said_nothing(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(_exercising())
    client = client_of(colour, chain)
    assert (await seen_by(shape, client)).error is None
    _overdue(chain, "haiku")
    chain.kill(Scope("model", HAIKU))
    until(lambda: chain.runtime.last().switches)
    assert (await seen_by(shape, client)).error is None
    assert [entry["model"] for entry in api.requests()] == [SONNET] * 2
    assert chain.runtime.exercise.due == set()
    assert json.loads(chain.rows("process")[0]["state"])["exercise"] == {}


async def test_i14_no_fallback_waits_for_one_that_nobody_calls_nor_for_one_that_has_failed(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The first that is due belongs to a feature without calls; the breaker of the second stays as its trial has left it,
    because no call asks it."""
    other = {name: Target(name, HAIKU, base_url=api.url, api_key=KEY_OF_CLIENT) for name in ("idle", "gone", "last")}
    routing = _exercising("sonnet", "gone", "last", targets=other)
    chain = chained(replace(routing, features={"nobody": replace(routing.default, chain=("sonnet", "idle"))}))
    client, gate = client_of(colour, chain), chain.runtime.gate
    for name in ("idle", "last"):
        _overdue(chain, name)
    _overdue(chain, "gone")
    api.set_faults([Fault(model=HAIKU, status=404, times=1)])
    assert (await seen_by(FOUR[0], client)).error is None
    assert chain.state("gone") == "open"
    assert chain.runtime.exercise.due == set()
    chain.runtime.exercise._looked_us = -(10**15)
    chain.runtime.exercise.tick()
    assert chain.runtime.exercise.due == set(), "something is out"
    gate._breakers["gone"].until = 0
    chain.runtime.exercise._looked_us = -(10**15)
    chain.runtime.exercise.tick()
    assert chain.runtime.exercise.due == {"idle", "last"}
    for _ in range(2):
        assert (await seen_by(FOUR[0], client)).error is None
    assert [entry["model"] for entry in api.requests()] == [HAIKU, SONNET, HAIKU, SONNET]


@four
@pytest.mark.parametrize("status", [400, 422])
async def test_i14_a_fallback_that_refuses_the_callers_own_request_is_not_the_callers_fault(
    status: int, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The same model elsewhere: the request is not changed for it."""
    body = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}'
    with Server(_saying(body, "application/json", status)) as server:
        twin = {"twin": Target("twin", SONNET, base_url=server.url, api_key=KEY_OF_CLIENT)}
        chain = chained(_exercising("sonnet", "twin", targets=twin))
        client = client_of(colour, chain)
        _overdue(chain, "twin")
        assert (await seen_by(shape, client)).error is None
    assert [call["served_by"] for call in chain.rows("call")] == ["primary"]
    assert [attempt["target"] for attempt in chain.rows("attempt")] == ["twin", "sonnet"]


async def test_i14_nothing_is_tried_while_anything_is_out_or_an_operator_has_decided(
    colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(_exercising())
    client = client_of(colour, chain)
    assert (await seen_by(FOUR[0], client)).error is None
    _overdue(chain, "haiku")
    chain.route("sonnet", "haiku")
    until(lambda: chain.runtime.last().state.routes)
    assert (await seen_by(FOUR[0], client)).error is None
    chain.route()
    chain.force("haiku", "forced_closed")
    until(lambda: chain.runtime.last().state.forced)
    assert (await seen_by(FOUR[0], client)).error is None
    assert {entry["model"] for entry in api.requests()} == {SONNET}
    assert chain.runtime.exercise.due == {"haiku"}
