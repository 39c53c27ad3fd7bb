"""Every switch against every call shape: the documented answer each time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from sdk_shapes import (
    COLOURS,
    DEGRADED,
    MESSAGE_SHAPES,
    PLAIN,
    SHAPES,
    STREAM,
    Shape,
    Verdict,
    ask,
    each,
    entered,
    got,
    seen_by,
)

from console import errors
from console.core.switches import ALL, Scope
from console.sdk.answers import CallBlocked
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installation

    from console.sim.server import SimulatedAPI

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]

MODEL = "claude-sonnet-5"
SWITCHES = {
    "all": (ALL, ALL),
    "feature": (Scope("feature", "support-reply"), Scope("feature", "resting")),
    "model": (Scope("model", MODEL), Scope("model", MODEL)),
    "customer": (Scope("customer", "acme"), Scope("customer", "acme")),
}
"""Which scopes stop the feature without a defined text and the one with it."""


def asked(feature: str) -> dict[str, Any]:
    return {"model": MODEL, "extra_headers": {"x-console-feature": feature, "x-console-customer": "acme"}}


def assert_blocked(seen: Any) -> None:
    assert seen.error is not None
    assert seen.error[0] is CallBlocked
    assert seen.parts == []


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_a11_a_switch_stops_every_shape_of_a_call_and_lets_the_rest_pass(
    shape: Shape, switch: str, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console, max_retries=2)
    for scope in dict.fromkeys(SWITCHES[switch]):
        installation.act("kill", scope)
    blocked = await seen_by(shape, client, **asked("support-reply"))
    degraded = await seen_by(shape, client, **asked("resting"))
    if shape.kind == "other":
        assert blocked.error is degraded.error is None
        assert len(api.requests()) == 2
        return
    assert_blocked(blocked)
    if shape.kind == "batch" or shape.name == "parse":  # neither is answered by prose
        assert_blocked(degraded)
    else:
        assert degraded.error is None
        assert DEGRADED in repr(degraded.parts)
    assert api.requests() == []
    if shape.kind == "message":
        text_outcome = ("blocked", "none") if shape.name == "parse" else ("degraded", "degraded")
        told = [(row["outcome"], row["served_by"], row["error"], row["attempts"]) for row in installation.rows("call")]
        assert told == [("blocked", "none", "kill_switch", 0), (*text_outcome, "kill_switch", 0)]
        assert installation.rows("attempt") == []


async def test_a11_a_break_glass_file_stops_every_shape_within_a_second(
    colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console)
    assert (await seen_by(PLAIN, client)).error is None
    api.clear_requests()
    installation.glass.mkdir()
    for name in ("support-reply", "all"):
        (installation.glass / name).touch()
        deadline = time.monotonic() + 1
        while (await seen_by(PLAIN, client, **asked("support-reply"))).error is None:
            assert time.monotonic() < deadline
        api.clear_requests()
        for shape in SHAPES:
            seen = await seen_by(shape, client, **asked("support-reply"))
            if shape.kind == "other":
                assert seen.error is None
            else:
                assert_blocked(seen)
        assert {entry["path"] for entry in api.requests()} == {"/v1/messages/count_tokens", "/v1/models"}
        (installation.glass / name).unlink()


async def test_a11_a_blocked_call_is_both_our_error_and_the_sdks_and_says_what_to_do(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    installation.act("kill", Scope("feature", "support-reply"))
    client = client_of(colour, installation.console)
    with pytest.raises(anthropic.APIError) as caught:
        await got(client.messages.create(**ask(**asked("support-reply"))))
    assert isinstance(caught.value, errors.CallBlocked)
    assert caught.value.scope == "feature:support-reply"
    assert "feature:support-reply" in str(caught.value)
    assert "restore" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.request.url.path == "/v1/messages"


async def test_a11_a_switch_stops_nothing_else(colour: str, installation: Installation, client_of: Callable[..., Any]) -> None:
    for scope in (Scope("feature", "summarize"), Scope("model", "claude-opus-5-5"), Scope("customer", "globex")):
        installation.act("kill", scope)
    client = client_of(colour, installation.console)
    for shape in SHAPES:
        assert (await seen_by(shape, client, **asked("support-reply"))).error is None


async def test_a11_a_defined_text_is_a_real_answer_of_the_type_that_the_caller_expects(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console)
    healthy = {shape: await seen_by(shape, client, **asked("resting")) for shape in MESSAGE_SHAPES}
    installation.act("kill", ALL)
    for shape in MESSAGE_SHAPES:
        if shape.name in ("parse", "unread-stream"):
            continue
        seen = await seen_by(shape, client, **asked("resting"))
        assert _kinds(seen.parts) == _kinds(healthy[shape].parts), shape
    async with entered(client.messages.stream(**ask(**asked("resting")))) as stream:
        message = await got(stream.get_final_message())
    assert (message.content[0].text, message.stop_reason, message.model) == (DEGRADED, "end_turn", MODEL)
    assert message.usage.output_tokens == 0
    raw = await got(client.messages.with_raw_response.create(**ask(**asked("resting"))))
    assert raw.headers["x-console-served-by"] == "degraded"


async def test_a11_a_defined_text_that_fits_the_callers_own_type_is_parsed(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    installation.act("kill", ALL)
    asked_for = ask(extra_headers={"x-console-feature": "structured"}, output_format=Verdict)
    message = await got(client_of(colour, installation.console).messages.parse(**asked_for))
    assert message.parsed_output == Verdict(answer="later")
    assert installation.only_call()["outcome"] == "degraded"


def _kinds(parts: list[Any]) -> set[str]:
    return {part[0] if isinstance(part, list) else type(part).__name__ for part in parts}


async def test_a11_a_switch_with_an_end_lets_calls_through_again_by_itself(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console)
    installation.act("kill", ALL, for_us=250_000)
    until = time.monotonic() + 0.25
    assert_blocked(await seen_by(PLAIN, client))
    time.sleep(max(0.0, until - time.monotonic()) + 0.02)  # noqa: ASYNC251 -- the wall clock is what it is about
    assert (await seen_by(PLAIN, client)).error is None


@pytest.mark.parametrize("scope", [pair[0] for pair in SWITCHES.values()], ids=str)
async def test_a11_a_restore_lets_the_next_call_through(
    scope: Scope, colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console)
    for _ in range(2):
        installation.act("kill", scope)
        assert_blocked(await seen_by(PLAIN, client, **asked("support-reply")))
        installation.act("restore", scope)
        assert (await seen_by(STREAM, client, **asked("support-reply"))).error is None


async def test_a11_a_batch_is_stopped_for_the_model_of_any_of_its_requests(
    colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    installation.act("kill", Scope("model", MODEL))
    client = client_of(colour, installation.console)
    requests = [{"custom_id": str(n), "params": ask(model=model)} for n, model in enumerate(("claude-haiku-5-5", MODEL))]
    with pytest.raises(CallBlocked):
        await got(client.messages.batches.create(requests=requests))
    assert api.requests() == []
    assert (await got(client.messages.batches.create(requests=requests[:1]))).id
    assert installation.rows("call") == []


async def test_a13_a_kill_between_two_attempts_ends_the_call(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    arrived = []

    def wire(request: httpx2.Request) -> httpx2.Response:
        arrived.append(request)
        installation.act("kill", ALL)
        return httpx2.Response(529, json={"type": "error", "error": {"type": "overloaded_error", "message": "no"}})

    client = client_of(colour, installation.console, wire=wire, max_retries=4)
    seen = await seen_by(PLAIN, client)
    assert seen.error[0] is CallBlocked
    assert len(arrived) == 1
    call = installation.only_call()
    assert (call["outcome"], call["attempts"]) == ("blocked", 1)


async def test_a13_a_stream_under_way_is_finished(
    colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(trickle_bytes_per_s=60_000.0)])
    client = client_of(colour, installation.console)
    async with entered(client.messages.stream(**ask())) as stream:
        texts = each(stream.text_stream)
        first = await anext(texts)
        installation.act("kill", ALL)
        rest = [text async for text in texts]
        message = await got(stream.get_final_message())
    assert message.content[0].text == first + "".join(rest)
    assert installation.only_call()["outcome"] == "ok"
