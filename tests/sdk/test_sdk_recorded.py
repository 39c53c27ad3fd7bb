"""What is recorded is what happened: one row a call, one an attempt, rollups that agree."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from sdk_shapes import COLOURS, HAIKU, MESSAGE_SHAPES, PLAIN, SONNET, STREAM, Shape, ask, each, entered, got, seen_by

from console.core.rollups import TIERS_S
from console.sim.faults import Fault
from console.store.sqlite import reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installation

    from console.sim.server import SimulatedAPI

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("colour", COLOURS)]
both = pytest.mark.parametrize("shape", (PLAIN, STREAM), ids=str)
TAGS = {"x-console-feature": "support-reply", "x-console-customer": "acme", "x-console-session": "s-1"}


@pytest.mark.parametrize("shape", MESSAGE_SHAPES, ids=str)
async def test_a_call_is_recorded_with_everything_that_the_caller_got(
    shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    before = time.time_ns() // 1000
    seen = await seen_by(shape, client_of(colour, installation.console), extra_headers=TAGS)
    after = time.time_ns() // 1000
    assert seen.error is None
    (request,) = api.requests()
    call = installation.only_call()
    assert (call["feature"], call["customer"], call["session"]) == ("support-reply", "acme", "s-1")
    assert (call["model_asked"], call["model_served"]) == (request["model"], request["model"])
    assert (call["outcome"], call["served_by"], call["status"], call["error"]) == ("ok", "primary", 200, None)
    assert call["is_streamed"] == shape.is_streamed
    assert call["request_id"] == request["request_id"]
    assert call["stop_reason"] in ("end_turn", "tool_use", "max_tokens")
    assert call["input_tokens"] > 0
    assert call["output_tokens"] > 0
    assert before <= call["at"] <= call["at"] + call["latency_us"] <= after
    assert (call["first_token_us"] is not None) == shape.is_streamed
    assert (call["first_token_us"] or 0) <= call["latency_us"]
    (attempt,) = installation.rows("attempt")
    assert (attempt["call"], attempt["status"], attempt["request_id"]) == (call["id"], 200, call["request_id"])
    assert attempt["latency_us"] == call["latency_us"]


@both
async def test_every_kind_of_token_is_recorded(
    shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    system = [{"type": "text", "text": f"{shape}{colour} " * 3000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    client = client_of(colour, installation.console)
    told = []
    for _ in range(2):
        message = await _message(client, shape, system=system)
        told.append(message.usage)
    written, read = installation.rows("call")
    for row, usage in ((written, told[0]), (read, told[1])):
        assert row["input_tokens"] == usage.input_tokens
        assert row["output_tokens"] == usage.output_tokens
        assert row["cache_read_tokens"] == usage.cache_read_input_tokens
        assert row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"] == usage.cache_creation_input_tokens
        assert row["cache_write_1h_tokens"] == usage.cache_creation.ephemeral_1h_input_tokens
    assert written["cache_write_1h_tokens"] + written["cache_write_5m_tokens"] > 0
    assert read["cache_read_tokens"] > 0


async def _message(client: Any, shape: Shape, **more: Any) -> Any:
    if not shape.is_streamed:
        return await got(client.messages.create(**ask(**more)))
    async with entered(client.messages.stream(**ask(**more))) as stream:
        return await got(stream.get_final_message())


@both
async def test_the_rollups_agree_with_the_rows(
    shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console, max_retries=2)
    await seen_by(shape, client, extra_headers=TAGS)
    api.set_faults([Fault(status=529, times=1), Fault(model=HAIKU, status=400)])
    await seen_by(shape, client, extra_headers=TAGS)
    await seen_by(shape, client, extra_headers=TAGS, model=HAIKU)
    calls = installation.rows("call")
    assert sorted(call["outcome"] for call in calls) == ["failed", "ok", "ok"]
    with reads.reading_telemetry(installation.data / "telemetry.db") as connection:
        for tier in TIERS_S:
            sums = reads.series_sums(connection, tier, 0)
            assert sum(row.calls for row in sums) == 3
            assert sum(row.failed for row in sums) == 1
            assert sum(row.tokens[0] for row in sums) == sum(call["input_tokens"] or 0 for call in calls)
            assert sum(row.tokens[1] for row in sums) == sum(call["output_tokens"] or 0 for call in calls)
            results = {key[1]: dict(counts) for key, counts in reads.attempts(connection, tier, 0).items()}
            assert results == {SONNET: {"ok": 2, "529": 1}, HAIKU: {"400": 1}}
            by_feature = reads.latencies(connection, tier, 0).by_feature
            assert sum(by_feature["support-reply"].values()) == 2
    (customer,) = [row for row in installation.rows("customer_rollup") if row["tier"] == 60 and row["model"] == SONNET]
    assert (customer["customer"], customer["calls"], customer["attempts"]) == ("acme", 2, 3)


@both
async def test_retries_of_the_sdk_are_one_call_with_all_its_attempts(
    shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(status=529, times=2)])
    seen = await seen_by(shape, client_of(colour, installation.console, max_retries=2))
    assert seen.error is None
    call = installation.only_call()
    assert (call["outcome"], call["attempts"], call["status"], call["error"]) == ("ok", 3, 200, None)
    attempts = sorted(installation.rows("attempt"), key=lambda row: row["at"])
    assert [(row["status"], row["error"], row["call"]) for row in attempts] == [
        (529, "overloaded_error", call["id"]),
        (529, "overloaded_error", call["id"]),
        (200, None, call["id"]),
    ]
    assert [row["request_id"] for row in attempts] == [entry["request_id"] for entry in api.requests()]
    assert call["latency_us"] >= sum(row["latency_us"] for row in attempts)


@both
async def test_exhausted_retries_are_one_failed_call(
    shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(status=529)])
    seen = await seen_by(shape, client_of(colour, installation.console, max_retries=2))
    assert seen.error[2] == 529
    call = installation.only_call()
    assert (call["outcome"], call["served_by"], call["attempts"], call["status"]) == ("failed", "none", 3, 529)
    assert call["error"] == "overloaded_error"


@pytest.mark.parametrize("max_retries", [0, 4])
@both
async def test_the_clients_own_number_of_retries_decides_when_a_call_is_over(
    max_retries: int, shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    """Without a word from the middleware's user: a client tells it with its first answer, also when that is a failure."""
    api.set_faults([Fault(status=529)])
    await seen_by(shape, client_of(colour, installation.console, max_retries=max_retries))
    written = _written_within(installation, 2.0)
    assert [(call["attempts"], call["outcome"]) for call in written] == [(max_retries + 1, "failed")]


def _written_within(installation: Installation, seconds: float) -> list[dict[str, Any]]:
    """The calls in the file while the application goes on: none that is held back for a retry."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(reads.NothingRecorded), reads.reading_telemetry(installation.data / "telemetry.db") as connection:
            rows = connection.execute("SELECT attempts, outcome FROM call").fetchall()
            if rows:
                return [{"attempts": row[0], "outcome": row[1]} for row in rows]
        time.sleep(0.02)
    return []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
@pytest.mark.parametrize(
    "shape", [shape for shape in MESSAGE_SHAPES if shape.name in ("create", "raw-stream", "unread")], ids=str
)
async def test_a_failed_call_has_the_status_the_type_and_the_request_id(
    status: int,
    kind: str,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    installation: Installation,
    client_of: Callable[..., Any],
) -> None:
    api.set_faults([Fault(status=status)])
    await seen_by(shape, client_of(colour, installation.console))
    call = installation.only_call()
    assert (call["outcome"], call["status"], call["error"]) == ("failed", status, kind)
    assert call["request_id"] == api.requests()[0]["request_id"]
    assert call["input_tokens"] is None


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault(no_response=True), "timeout"), (Fault(reset=True), "reset")],
    ids=lambda value: str(value)[:12],
)
@both
async def test_a_call_without_an_answer_is_a_failed_one_without_a_status(
    fault: Fault,
    kind: str,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    installation: Installation,
    client_of: Callable[..., Any],
) -> None:
    api.set_faults([fault])
    seen = await seen_by(shape, client_of(colour, installation.console, timeout=0.1 if fault.no_response else 10))
    assert seen.error is not None
    call = installation.only_call()
    assert (call["outcome"], call["status"], call["error"], call["attempts"]) == ("failed", None, kind, 1)


@both
async def test_a_refused_connection_is_a_failed_call(
    shape: Shape, colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        await seen_by(shape, client_of(colour, installation.console, base_url=url, max_retries=1))
    call = installation.only_call()
    assert (call["outcome"], call["error"], call["attempts"]) == ("failed", "connection", 2)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(error_at=4), "overloaded_error"),
        (Fault(error_at=4, error_type="api_error"), "api_error"),
        (Fault(cut_at=4), "reset"),
        (Fault(stall_at=4), "timeout"),
        (Fault(clean_end_at=4), "truncated_stream"),
        (Fault(malformed_at=4), "cancelled"),
    ],
    ids=lambda value: value.label if isinstance(value, Fault) else value,
)
@pytest.mark.parametrize("shape", [shape for shape in MESSAGE_SHAPES if shape.is_streamed], ids=str)
async def test_a_stream_that_breaks_is_a_failed_call_with_what_was_known(
    fault: Fault,
    kind: str,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    installation: Installation,
    client_of: Callable[..., Any],
) -> None:
    api.set_faults([fault])
    await seen_by(shape, client_of(colour, installation.console, timeout=10 if fault.stall_at is None else 0.2))
    call = installation.only_call()
    if kind == "cancelled":  # the SDK gives up in the middle, or a raw reader does not notice at all
        assert (call["outcome"], call["error"]) in [("cancelled", "cancelled"), ("ok", None)]
        return
    assert (call["outcome"], call["status"], call["error"]) == ("failed", 200, kind)
    assert call["model_served"] == SONNET
    assert call["input_tokens"] > 0
    assert call["first_token_us"] is not None


@pytest.mark.parametrize("shape", [shape for shape in MESSAGE_SHAPES if not shape.is_streamed], ids=str)
async def test_a_plain_answer_that_is_no_json_is_a_failed_call(
    shape: Shape, colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(malformed_at=0)])
    seen = await seen_by(shape, client_of(colour, installation.console))
    assert seen.error is not None
    call = installation.only_call()
    assert (call["outcome"], call["error"], call["output_tokens"]) == ("failed", "truncated_stream", None)


async def test_a_stream_that_the_caller_closes_early_is_cancelled(
    colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(trickle_bytes_per_s=40_000.0)])
    client = client_of(colour, installation.console)
    async with entered(client.messages.stream(**ask(max_tokens=500))) as stream:
        async for _ in each(stream.text_stream):
            break
    call = installation.only_call()
    assert (call["outcome"], call["error"]) == ("cancelled", "cancelled")
    assert call["input_tokens"] > 0


async def test_a_stream_that_is_dropped_unread_is_cancelled(
    colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    client = client_of(colour, installation.console)
    stream = await got(client.messages.create(**ask(), stream=True))
    await got(stream.close())
    del stream
    assert installation.only_call()["outcome"] == "cancelled"


async def test_a_batch_and_everything_that_is_no_message_leave_no_call(
    colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    from sdk_shapes import SHAPES

    client = client_of(colour, installation.console)
    for shape in SHAPES:
        if shape.kind != "message":
            assert (await seen_by(shape, client)).error is None
    assert installation.rows("call") == []


async def test_calls_at_once_are_recorded_apart(
    colour: str, api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(status=529, probability=0.3)])
    client = client_of(colour, installation.console, max_retries=5)
    if colour == "awaiting":
        await asyncio.gather(*(seen_by(STREAM if n % 2 else PLAIN, client) for n in range(24)))
    else:
        threads = [threading.Thread(target=_blocking_calls, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    calls = installation.rows("call")
    assert len(calls) == 24
    assert sum(call["attempts"] for call in calls) == len(api.requests())
    assert {entry["request_id"] for entry in api.requests()} == {row["request_id"] for row in installation.rows("attempt")}


def _blocking_calls(client: Any) -> None:
    for _ in range(6):
        with suppress(anthropic.APIStatusError):
            client.messages.create(**ask())
