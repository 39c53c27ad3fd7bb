"""A chain, seen by its caller: whatever befalls the primary, the fallback's answer comes, whole and under its own name."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from failover_tools import BY_NAME, FOUR, LIMITS, NEVER_OPENS, QUICK, SHORT, WHOLE, routed, until
from sdk_shapes import COLOURS, HAIKU, SONNET, Shape, ask, entered, got, seen_by

from console import errors
from console.core.switches import ALL, Scope
from console.core.targets import Target
from console.sdk.answers import CallBlocked, ChainExhausted
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from failover_tools import Chained

    from console.sim.server import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]
four = pytest.mark.parametrize("shape", FOUR, ids=str)

TAGS = {"x-console-feature": "support-reply", "x-console-customer": "acme"}
TEXT = "The assistant is resting."


def _overloaded(times: int = 1) -> tuple[tuple[int | None, str], ...]:
    return ((529, "overloaded_error"),) * times


FAILURES: tuple[tuple[Fault, tuple[tuple[int | None, str], ...]], ...] = (
    (Fault(status=529), _overloaded()),
    (Fault(status=503), ((503, "api_error"),)),
    (Fault(status=504), ((504, "timeout_error"),)),
    (Fault(status=500), ((500, "api_error"),) * 2),
    (Fault(status=502), ((502, "api_error"),) * 2),
    (Fault(status=429, retry_after="0"), ((429, "rate_limit_error"),) * 2),
    (Fault(status=429, retry_after="0.1"), ((429, "rate_limit_error"),) * 2),
    (Fault(status=429, retry_after="60"), ((429, "rate_limit_error"),)),
    (Fault(status=404), ((404, "not_found_error"),)),
    (Fault(reset=True), ((None, "reset"),) * 2),
    (Fault(no_response=True), ((None, "timeout"),)),
    (Fault(latency_s=2.0), ((None, "timeout"),)),
)
BEFORE_CONTENT: tuple[tuple[Fault, tuple[tuple[int | None, str], ...]], ...] = (
    (Fault(error_at=0), ((200, "overloaded_error"),)),
    (Fault(error_at=1), ((200, "overloaded_error"),)),
    (Fault(error_at=2, error_type="api_error"), ((200, "api_error"),)),
    (Fault(error_at=1, error_type="rate_limit_error"), ((200, "rate_limit_error"),)),
    (Fault(cut_at=0), ((200, "reset"),) * 2),
    (Fault(cut_at=2), ((200, "reset"),) * 2),
    (Fault(clean_end_at=0), ((200, "truncated_stream"),) * 2),
    (Fault(clean_end_at=2), ((200, "truncated_stream"),) * 2),
    (Fault(stall_at=0), ((200, "timeout"),)),
    (Fault(stall_at=2), ((200, "timeout"),)),
    (Fault(pings_only=True), ((200, "timeout"),)),
    (Fault(stall_at=1, pings_only=True), ((200, "timeout"),)),
    (Fault(first_token_s=2.0), ((200, "timeout"),)),
    (Fault(trickle_bytes_per_s=40), ((200, "timeout"),)),
)
"""Of a stream: nothing of it has reached the caller. Event 3 is the first with content."""
IN_THE_BODY: tuple[tuple[Fault, tuple[tuple[int | None, str], ...]], ...] = (
    (Fault(cut_at=0), ((200, "reset"),) * 2),
    (Fault(stall_at=0), ((200, "timeout"),)),
    (Fault(trickle_bytes_per_s=40), ((200, "timeout"),)),
)
"""Of a plain answer."""


def _cases() -> list[Any]:
    def named(shape: Shape, fault: Fault, expected: object) -> Any:
        return pytest.param(shape, fault, expected, id=f"{shape}-{fault.label.replace(' ', '-')}")

    found = [named(shape, *row) for shape in FOUR for row in FAILURES]
    found += [named(FOUR[1], *row) for row in BEFORE_CONTENT] + [named(FOUR[0], *row) for row in IN_THE_BODY]
    found += [named(shape, *FAILURES[0]) for shape in WHOLE if shape not in FOUR]
    return found + [named(shape, *BEFORE_CONTENT[1]) for shape in WHOLE if shape not in FOUR and shape.is_streamed]


def _of_sonnet(fault: Fault) -> Fault:
    return dataclasses.replace(fault, model=SONNET)


@pytest.mark.parametrize(("shape", "fault", "expected"), _cases())
async def test_b16_the_caller_gets_the_fallbacks_answer_and_both_are_recorded(
    shape: Shape,
    fault: Fault,
    expected: tuple[tuple[int | None, str], ...],
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    is_slow = any(error == "timeout" for _, error in expected)
    chain = chained(routed(limits=SHORT if is_slow else LIMITS))
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    api.set_faults([_of_sonnet(fault)])
    api.clear_requests()
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2), extra_headers=TAGS)
    assert (seen.error, without_counts(seen.parts)) == (None, without_counts(wanted.parts))
    if not any(entry["billed"] for entry in api.requests()[:-1]):
        assert seen.parts == wanted.parts
    assert [entry["model"] for entry in api.requests()] == [*[SONNET] * len(expected), HAIKU]
    assert all(entry["console_headers"] == [] for entry in api.requests())
    answering = api.requests()[-1]["request_id"]
    call = chain.only_call()
    assert (call["served_by"], call["outcome"], call["status"], call["error"]) == ("fallback", "ok", 200, None)
    assert (call["model_asked"], call["model_served"], call["target"]) == (SONNET, HAIKU, "haiku")
    assert (call["feature"], call["customer"], call["request_id"]) == ("support-reply", "acme", answering)
    assert (call["attempts"], call["is_streamed"]) == (len(expected) + 1, shape.is_streamed)
    assert chain.errors() == [*(("sonnet", *one) for one in expected), ("haiku", 200, None)]
    attempts = chain.rows("attempt")
    assert call["latency_us"] >= sum(row["latency_us"] for row in attempts)
    answered = {entry["request_id"] for entry in api.requests()}
    assert {row["request_id"] for row in attempts} - {None} <= answered
    assert chain.runtime.errors == 0


def without_counts(parts: Any) -> Any:
    """What a caller has seen, without the tokens: a stream that has begun is billed, and its tokens are in the sum."""
    if isinstance(parts, dict):
        return {key: without_counts(value) for key, value in parts.items() if key != "usage"}
    if isinstance(parts, list):
        return [without_counts(part) for part in parts]
    return re.sub(r'"usage": ?\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}', "", parts) if isinstance(parts, str) else parts


@four
async def test_b16_what_an_attempt_was_billed_stands_under_its_own_model(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The rollups' tokens stand under the model that was paid for them. A stream that has begun is billed for its prompt, and the
    caller's `usage` is the sum; a plain answer that never came is not."""
    chain = chained()
    api.set_faults([Fault(model=SONNET, cut_at=1 if shape.is_streamed else 0)])
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    _, message = seen.parts[-1]
    bills = [entry["billed"] for entry in api.requests()]
    rollups = [row for row in chain.rows("call_rollup") if row["tier"] == 10]
    series = {row["id"]: row for row in chain.rows("series")}
    by_model = {series[row["series"]]["model"]: row for row in rollups}
    served = by_model.pop(HAIKU)
    assert (served["calls"], served["failed"], served["attempts"]) == (1, 0, 3)
    assert (served["input_tokens"], served["output_tokens"]) == (bills[-1]["input_tokens"], bills[-1]["output_tokens"])
    assert {row["calls"] for row in by_model.values()} <= {0}
    lost = 0
    if shape.is_streamed:
        lost = sum(bill["input_tokens"] for bill in bills[:-1])
        assert by_model[SONNET]["input_tokens"] == lost
        assert series[by_model[SONNET]["series"]]["outcome"] == "failed"
    assert bool(by_model) is shape.is_streamed
    assert message["usage"]["input_tokens"] == bills[-1]["input_tokens"] + lost


@pytest.mark.parametrize("name", ["create", "create-stream"])
async def test_the_headers_and_the_request_id_are_those_of_the_answer(
    name: str, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    client = client_of(colour, chain)
    api.set_faults([Fault(model=SONNET, status=529)])
    streamed = {"stream": True} if name == "create-stream" else {}
    raw = await got(client.messages.with_raw_response.create(**ask(), **streamed))
    wanted = api.requests()[-1]["request_id"]
    assert (raw.headers["request-id"], raw.status_code, raw.http_response.status_code) == (wanted, 200, 200)
    parsed = await got(raw.parse())
    if streamed:
        await got(parsed.close())
    else:
        assert parsed._request_id == wanted


@four
async def test_a_healthy_primary_is_the_only_one_that_is_asked(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    bare = await seen_by(shape, client_of(colour))
    api.clear_requests()
    assert await seen_by(shape, client_of(colour, chain)) == bare
    assert [entry["model"] for entry in api.requests()] == [SONNET]
    call = chain.only_call()
    assert (call["served_by"], call["target"], call["attempts"]) == ("primary", "sonnet", 1)


@four
async def test_b15_traffic_leaves_a_sick_primary_and_comes_back_by_itself(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(breaker=QUICK))
    client = client_of(colour, chain)
    api.set_faults([Fault(model=SONNET, status=529)])
    for _ in range(15):
        assert (await seen_by(shape, client)).error is None
    sick = [entry for entry in api.requests() if entry["model"] == SONNET]
    assert len(sick) <= 6
    assert chain.state("sonnet") == "open"
    api.clear_faults()
    healed = time.monotonic()
    while chain.state("sonnet") != "closed":
        assert (await seen_by(shape, client)).error is None
        assert time.monotonic() - healed < 3
        time.sleep(0.02)  # noqa: ASYNC251 -- nothing else runs here
    api.clear_requests()
    for _ in range(3):
        await seen_by(shape, client)
    assert {entry["model"] for entry in api.requests()} == {SONNET}
    assert {call["outcome"] for call in chain.rows("call")} == {"ok"}


@four
@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_is_not_tried_again_at_the_same_account(
    status: int, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    api.set_faults([Fault(model=SONNET, status=status)])
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert seen.error[2] == status
    assert len(api.requests()) == 1


@four
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_the_callers_own_fault_is_the_callers(
    status: int, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """I8: returned at once, and no breaker opens for it."""
    chain = chained(routed(breaker=QUICK))
    client = client_of(colour, chain, max_retries=2)
    api.set_faults([Fault(status=status)])
    bare = await seen_by(shape, client_of(colour))
    api.clear_requests()
    for _ in range(5):
        assert await seen_by(shape, client) == bare
    assert [entry["model"] for entry in api.requests()] == [SONNET] * 5
    assert chain.state("sonnet") == "closed"


# -- every target fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", WHOLE, ids=str)
async def test_b1_the_last_answer_is_the_callers_and_the_sdk_does_not_run_the_chain_again(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    client = client_of(colour, chain, max_retries=2)
    bare = await seen_by(shape, client_of(colour))
    assert bare.error is None
    api.set_faults([Fault(status=529)])
    api.clear_requests()
    seen = await seen_by(shape, client)
    assert seen.parts == []
    assert issubclass(seen.error[0], anthropic.APIStatusError)
    assert seen.error[0].__name__ == "OverloadedError"
    assert seen.error[2] == 529
    assert [entry["model"] for entry in api.requests()] == [SONNET, HAIKU]
    call = chain.only_call()
    assert (call["outcome"], call["served_by"], call["status"], call["attempts"]) == ("failed", "none", 529, 2)
    assert call["input_tokens"] is None


@pytest.mark.parametrize("shape", [shape for shape in WHOLE if shape.is_streamed], ids=str)
async def test_an_error_in_band_from_every_target_is_the_callers(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    api.set_faults([Fault(error_at=1)])
    bare = await seen_by(shape, client_of(colour))
    api.clear_requests()
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert seen.error == bare.error
    assert [entry["model"] for entry in api.requests()] == [SONNET, HAIKU]
    assert chain.only_call()["error"] == "overloaded_error"


@four
async def test_without_any_answer_the_chain_is_exhausted_once(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """An `anthropic.APIError` and an `errors.ChainExhausted`, that the SDK does not repeat."""
    chain = chained()
    client = client_of(colour, chain, max_retries=2)
    api.set_faults([Fault(reset=True)])
    with pytest.raises(ChainExhausted) as caught:
        if shape.is_streamed:
            async with entered(client.messages.stream(**ask())) as stream:
                await got(stream.get_final_message())
        else:
            await got(client.messages.create(**ask()))
    assert isinstance(caught.value, anthropic.APIError)
    assert isinstance(caught.value, errors.ChainExhausted)
    assert not isinstance(caught.value, anthropic.APIConnectionError)
    assert "sonnet" in str(caught.value)
    assert "haiku" in str(caught.value)
    assert "sim-key" not in str(caught.value)
    assert len(api.requests()) <= 3
    call = chain.only_call()
    assert (call["outcome"], call["error"], call["status"]) == ("failed", "reset", None)


@pytest.mark.parametrize("shape", WHOLE, ids=str)
@pytest.mark.parametrize("fault", [Fault(status=529), Fault(reset=True)], ids=lambda fault: fault.label)
async def test_the_defined_text_is_served_when_every_target_has_failed(
    fault: Fault,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    text = '{"answer": "later"}' if shape.name == "parse" else TEXT
    chain = chained(routed(), resting=text)
    api.set_faults([fault])
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2), extra_headers={"x-console-feature": "resting"})
    assert seen.error is None
    assert text.replace('"', "") in str(seen.parts).replace('"', "").replace("\\", "")
    asked = len(api.requests())
    call = chain.only_call()
    assert (call["outcome"], call["served_by"], call["attempts"]) == ("degraded", "degraded", asked)
    assert call["input_tokens"] in (None, 0)


@four
async def test_with_no_target_left_a_call_ends_at_once(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(), resting=TEXT)
    for target in ("sonnet", "haiku"):
        chain.force(target, "forced_open")
    client = client_of(colour, chain, max_retries=2)
    seen = await seen_by(shape, client)
    assert seen.error[0] is ChainExhausted
    assert (await seen_by(shape, client, extra_headers={"x-console-feature": "resting"})).error is None
    assert api.requests() == []
    rows = chain.rows("call")
    assert [(row["outcome"], row["error"], row["attempts"]) for row in rows] == [
        ("failed", "no_target", 0),
        ("degraded", "no_target", 0),
    ]


# -- kill switches -----------------------------------------------------------------------------------------------------


@four
@pytest.mark.parametrize("scope", [ALL, Scope("feature", "support-reply"), Scope("customer", "acme")], ids=str)
async def test_a_kill_blocks_a_call_whatever_its_chain(
    scope: Scope, shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    chain.kill(scope)
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2), extra_headers=TAGS)
    assert seen.error[0] is CallBlocked
    assert api.requests() == []
    assert chain.only_call()["outcome"] == "blocked"


@four
async def test_a_kill_on_a_model_skips_its_target_when_the_chain_has_another(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    chain.kill(Scope("model", SONNET))
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    api.clear_requests()
    assert await seen_by(shape, client_of(colour, chain)) == wanted
    assert [entry["model"] for entry in api.requests()] == [HAIKU]
    call = chain.only_call()
    assert (call["served_by"], call["target"], call["attempts"]) == ("fallback", "haiku", 1)


@four
async def test_a_kill_on_a_model_blocks_when_the_chain_has_no_other(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed("sonnet"))
    chain.kill(Scope("model", SONNET))
    assert (await seen_by(shape, client_of(colour, chain))).error[0] is CallBlocked
    assert api.requests() == []


@four
async def test_kills_on_every_model_of_a_chain_block(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(), resting=TEXT)
    for model in (SONNET, HAIKU):
        chain.kill(Scope("model", model))
    client = client_of(colour, chain, max_retries=2)
    assert (await seen_by(shape, client)).error[0] is CallBlocked
    assert (await seen_by(shape, client, extra_headers={"x-console-feature": "resting"})).error is None
    assert api.requests() == []


@four
async def test_i12_a_killed_fallback_is_not_asked_when_the_primary_has_failed(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    chain.kill(Scope("model", HAIKU))
    api.set_faults([Fault(status=529)])
    seen = await seen_by(shape, client_of(colour, chain, max_retries=2))
    assert seen.error[2] == 529
    assert [entry["model"] for entry in api.requests()] == [SONNET]


@four
async def test_a13_a_kill_before_the_next_attempt_stops_it(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """The switch is engaged while the primary is being asked: the fallback never is."""
    chain = chained()

    class Engages(anthropic.Middleware):
        def handle(self, request: Any, call_next: Any) -> Any:
            response = call_next(request)
            chain.kill(ALL)
            return response

        async def handle_async(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            chain.kill(ALL)
            return response

    api.set_faults([Fault(status=529)])
    client = client_of(colour, middleware=[chain.middleware, Engages()], max_retries=2)
    assert (await seen_by(shape, client)).error[0] is CallBlocked
    assert [entry["model"] for entry in api.requests()] == [SONNET]
    call = chain.only_call()
    assert (call["outcome"], call["attempts"]) == ("blocked", 1)


# -- B14: an exception inside the middleware -----------------------------------------------------------------------------

HOOKS = (
    "console.sdk.middleware.without_tags",
    "console.sdk.middleware.endpoint_of",
    "console.sdk.middleware.facts_of",
    "console.runtime.process.Runtime.plan",
    "console.runtime.router.Router.plan",
    "console.sdk.call.Original.of",
    "console.sdk.call.readdress",
    "console.sdk.requests.patched",
    "console.sdk.requests._at_most",
    "console.sdk.call.chain_flow",
    "console.runtime.gate.Gate.begin",
    "console.runtime.gate.Gate.admit",
    "console.runtime.gate.Gate.settle",
    "console.sdk.call.Call.begin_attempt",
    "console.sdk.call.Call.answered",
    "console.sdk.call.Call.guard",
    "console.sdk.call.Guard",
    "console.sdk.call.connection_of",
    "console.sdk.call.narrow_read_timeout",
    "console.sdk.guard.Guard.until",
    "console.sdk.guard.Guard.listen",
    "console.sdk.guard.Guard.tick",
    "console.sdk.call.Observation",
    "console.sdk.call.Call.settled",
    "console.sdk.middleware.observe",
    "console.runtime.recorder.Recorder.put",
    "console.sdk.call.AttemptEnd",
)
OF_THE_FLOW = (
    "console.core.flow.move_of_status",
    "console.runtime.gate.Gate.take",
    "console.runtime.gate.Gate.give_back",
    "console.runtime.gate.Gate.draw",
    "console.sdk.call.Call.attempt_failed",
    "console.sdk.wires.retry_after_s",
    "console.sdk.wires.error_type_of",
)
"""What only a call that fails over comes past, or a stream."""


class HookError(Exception):
    """What a broken hook raises."""


def _break(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise HookError(hook)

    monkeypatch.setattr(hook, broken)


@four
@pytest.mark.parametrize("hook", HOOKS + OF_THE_FLOW)
async def test_b14_an_exception_in_a_hook_costs_no_call(
    hook: str,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    chain = chained(routed(breaker=QUICK))
    bare, client = client_of(colour), client_of(colour, chain)
    _break(hook, monkeypatch)
    assert await seen_by(shape, client) == await seen_by(shape, bare)
    assert await seen_by(shape, client) == await seen_by(shape, bare)


HOOKS_OF_A_FAILOVER = (
    "console.runtime.gate.Gate.give_back",
    "console.sdk.call.connection_of",
    "console.sdk.call.Guard",
    "console.sdk.guard.Guard.tick",
    "console.sdk.call.Observation",
    "console.runtime.recorder.Recorder.put",
)


@four
@pytest.mark.parametrize("hook", sorted({*HOOKS, *OF_THE_FLOW, *HOOKS_OF_A_FAILOVER}))
async def test_b14_an_exception_in_a_hook_never_reaches_the_caller_of_a_failing_api(
    hook: str,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """The caller gets the fallback's answer all the same, or with the policy itself broken what the primary says."""
    chain = chained()
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    api.set_faults([Fault(model=SONNET, status=529)])
    told = await seen_by(shape, client_of(colour))
    client = client_of(colour, chain)
    _break(hook, monkeypatch)
    assert await seen_by(shape, client) in ((wanted,) if hook in HOOKS_OF_A_FAILOVER else (wanted, told))


@four
@pytest.mark.parametrize("hook", HOOKS)
async def test_b14_a_kill_still_kills(
    hook: str,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = chained()
    chain.kill(ALL)
    client = client_of(colour, chain, max_retries=2)
    _break(hook, monkeypatch)
    assert (await seen_by(shape, client)).error is not None
    assert api.requests() == []


# -- without a chain ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["create", "messages.stream", "beta"])
@pytest.mark.parametrize("fault", [None, Fault(status=529), Fault(reset=True)], ids=lambda fault: str(fault and fault.label))
async def test_a_feature_without_a_chain_is_left_to_the_sdk(
    fault: Fault | None,
    name: str,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    """Its retries, and what the caller sees in the end."""
    chain = chained(routed(breaker=NEVER_OPENS))
    api.set_faults([] if fault is None else [fault])
    bare = await seen_by(BY_NAME[name], client_of(colour, max_retries=2))
    without = [(entry["model"], entry["parameters"]) for entry in api.requests()]
    api.clear_requests()
    watched = client_of(colour, chain, max_retries=2)
    assert await seen_by(BY_NAME[name], watched, extra_headers={"x-console-feature": "bare"}) == bare
    assert [(entry["model"], entry["parameters"]) for entry in api.requests()] == without
    assert len(without) == (1 if fault is None else 3)


@four
async def test_a_model_that_the_application_misspells_is_its_own_mistake(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """I8: a 404 for a model that stands in no configuration, as the application asked for it, is the caller's to see."""
    chain = chained(routed("claude-nothing-1", "haiku"))
    seen = await seen_by(shape, client_of(colour, chain), model="claude-nothing-1")
    assert seen.error[2] == 404
    assert len(api.requests()) == 1


@four
async def test_a_model_that_an_operator_misspells_costs_no_call(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    chain.route("claude-nothing-1", "haiku")
    wanted = await seen_by(shape, client_of(colour), model=HAIKU)
    assert await seen_by(shape, client_of(colour, chain)) == wanted


@four
async def test_the_calls_model_counts_for_nothing_where_a_chain_is_configured(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed("opus", targets={"opus": Target("opus", "claude-opus-5-5")}))
    wanted = await seen_by(shape, client_of(colour), model="claude-opus-5-5")
    assert await seen_by(shape, client_of(colour, chain)) == wanted
    until(lambda: not chain.runtime.guarded)
    call = chain.only_call()
    assert (call["model_asked"], call["model_served"], call["served_by"]) == (SONNET, "claude-opus-5-5", "primary")
