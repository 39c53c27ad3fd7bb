"""Each fault that acts on the wire, seen by the real SDK."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from sim_asks import HAIKU, SONNET, ask

from console.sim.faults import Fault
from console.sim.server import SimulatedAPIError

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.sim.server import SimulatedAPI


def _stream(client: anthropic.Anthropic, **more: Any) -> list[str]:
    """The events that arrive; raises what the SDK raises."""
    names: list[str] = []
    with client.messages.create(**ask(), stream=True, **more) as events:
        for event in events:
            names.append(event.type)  # noqa: PERF401 - what came before an error must not be lost
    return names


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("index", [0, 1, 4])
def test_a_cut_stream_is_an_error_after_its_events(api: SimulatedAPI, client: anthropic.Anthropic, index: int) -> None:
    api.set_faults([Fault(cut_at=index)])
    names = []
    with (
        pytest.raises((httpx2.RemoteProtocolError, anthropic.APIConnectionError)),
        client.messages.create(**ask(), stream=True) as events,
    ):
        for event in events:
            names.append(event.type)  # noqa: PERF401 - as above
    # The third event on the wire is a ping, which the SDK keeps to itself.
    assert len(names) == (index + 1 if index < 2 else index)


def test_a_stream_that_ends_cleanly_too_early_has_no_message_stop(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(clean_end_at=5)])
    names = _stream(client)
    assert names[-1] == "content_block_delta"
    assert len(names) == 5


def test_a_stalled_stream_runs_into_the_callers_timeout(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(stall_at=3)])
    with pytest.raises((httpx2.ReadTimeout, anthropic.APITimeoutError)):
        _stream(client, timeout=0.3)
    _until(lambda: api.requests()[-1]["client_closed"])


def test_an_event_with_broken_json_breaks_the_reader(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(malformed_at=4)])
    with pytest.raises((json.JSONDecodeError, anthropic.AnthropicError, ValueError)):
        _stream(client)


@pytest.mark.parametrize(("index", "error_type"), [(0, None), (1, None), (6, "api_error")])
def test_an_error_event_in_a_stream_is_a_status_error_with_200(
    api: SimulatedAPI, client: anthropic.Anthropic, index: int, error_type: str | None
) -> None:
    api.set_faults([Fault(error_at=index, error_type=error_type)])
    with pytest.raises(anthropic.APIStatusError) as caught:
        _stream(client)
    assert (caught.value.status_code, caught.value.type) == (200, error_type or "overloaded_error")


def test_pings_alone_keep_a_stream_open(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(pings_only=True)])
    began, lines = time.monotonic(), []
    with client.messages.with_streaming_response.create(**ask(), stream=True, timeout=2) as response:
        for line in response.iter_lines():
            lines.append(line)
            if time.monotonic() - began > 0.7:
                break
    assert lines.count("event: ping") >= 3
    assert not any("content_block" in line for line in lines)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [Fault(reset=True), Fault(no_response=True)])
def test_no_answer_at_all_is_a_connection_error(
    api: SimulatedAPI, client: anthropic.Anthropic, fault: Fault, stream: bool
) -> None:
    api.set_faults([fault])
    with pytest.raises(anthropic.APIConnectionError) as caught:
        client.messages.create(**ask(), stream=stream, timeout=0.3)
    assert isinstance(caught.value, anthropic.APITimeoutError) is fault.no_response
    assert api.requests()[-1]["status"] is None


@pytest.mark.parametrize("fault", [Fault(cut_at=0), Fault(stall_at=0)])
def test_a_plain_answer_can_break_in_the_middle(api: SimulatedAPI, client: anthropic.Anthropic, fault: Fault) -> None:
    api.set_faults([fault])
    with pytest.raises((anthropic.APIConnectionError, httpx2.TransportError)):
        client.messages.create(**ask(), timeout=0.3)


def test_latency_comes_before_the_headers_and_is_real_time(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(latency_s=0.3)])
    began = time.monotonic()
    with client.messages.with_streaming_response.create(**ask(), stream=True):
        assert time.monotonic() - began >= 0.3


def test_a_late_first_token_comes_after_message_start(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(first_token_s=0.3)])
    began, at = time.monotonic(), {}
    with client.messages.create(**ask(), stream=True) as events:
        for event in events:
            at.setdefault(event.type, time.monotonic() - began)
    assert at["message_start"] < 0.25
    assert at["content_block_start"] >= 0.3


@pytest.mark.parametrize("stream", [False, True])
def test_a_trickle_takes_its_time_and_is_complete(api: SimulatedAPI, client: anthropic.Anthropic, stream: bool) -> None:
    with client.messages.with_streaming_response.create(**ask(), stream=stream) as response:
        size = len(response.read())
    api.set_faults([Fault(trickle_bytes_per_s=size / 0.5)])
    began = time.monotonic()
    with client.messages.with_streaming_response.create(**ask(), stream=stream) as response:
        assert len(response.read()) == size
    assert time.monotonic() - began >= 0.4


def test_less_quality_gives_a_shorter_answer_without_an_error(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    good = client.messages.create(**ask())
    api.set_faults([Fault(quality=0.2)])
    bad = client.messages.create(**ask())
    assert (bad.stop_reason, bad.usage.output_tokens < good.usage.output_tokens) == ("end_turn", True)


def test_a_fault_of_one_model_leaves_the_others_alone(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(model=SONNET, status=529)])
    with pytest.raises(anthropic.OverloadedError):
        client.messages.create(**ask())
    assert client.messages.create(**ask(model=HAIKU)).id


def test_a_fault_with_times_ends_by_itself(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(status=500, times=1, name="once")])
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(**ask())
    assert client.messages.create(**ask()).id
    assert [entry["fault"] for entry in api.requests()] == ["once", None]
    assert api.faults()[0]["times"] == 0


def test_a_connection_survives_an_error_and_a_clean_early_end(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(status=529, times=1), Fault(clean_end_at=3, times=1)])
    with pytest.raises(anthropic.OverloadedError):
        client.messages.create(**ask())
    _stream(client)
    assert client.messages.create(**ask()).id


def test_a_bad_fault_is_refused_with_the_field(api: SimulatedAPI) -> None:
    with pytest.raises(SimulatedAPIError, match=r"faults\[0\]\.status"):
        api.set_faults([Fault(status=99)])
    assert api.faults() == []


@pytest.mark.asyncio
async def test_a_cancelled_call_is_seen_as_a_closed_connection(
    api: SimulatedAPI, async_client: anthropic.AsyncAnthropic
) -> None:
    import asyncio

    api.set_faults([Fault(latency_s=5)])
    task = asyncio.create_task(async_client.messages.create(**ask()))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.25)
    entry = api.requests()[-1]
    assert (entry["client_closed"], entry["finished"]) == (True, True)


def test_a_stall_can_end_and_the_answer_go_on(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    whole = _stream(client)
    api.set_faults([Fault(stall_at=4, stall_s=0.3)])
    began = time.monotonic()
    assert _stream(client) == whole
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("stall_s", [0, 0.2])
def test_a_plain_answer_can_stall_in_the_middle_and_be_whole(
    api: SimulatedAPI, client: anthropic.Anthropic, stall_s: float
) -> None:
    whole = client.messages.create(**ask())
    api.set_faults([Fault(stall_at=0, stall_s=stall_s)])
    assert client.messages.create(**ask()).content == whole.content


def test_pings_can_come_before_an_answer_that_comes_after_all(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(pings_only=True, stall_s=0.5)])
    with client.messages.with_streaming_response.create(**ask(), stream=True) as response:
        names = [line.removeprefix("event: ") for line in response.iter_lines() if line.startswith("event: ")]
    assert names[:3] == ["message_start", "ping", "ping"]
    assert names[-1] == "message_stop"


def test_pings_can_come_alone_after_the_first_content(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(pings_only=True, stall_at=4)])
    lines: list[str] = []
    with client.messages.with_streaming_response.create(**ask(), stream=True, timeout=2) as response:
        for line in response.iter_lines():
            lines.append(line)
            if lines.count("event: ping") > 3:
                break
    assert lines.count("event: content_block_delta") == 2
    assert lines[-1] == "event: ping"


def test_a_fault_ends_at_its_time_and_comes_again(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(status=529, after_s=0.3, for_s=0.3, every_s=1.2)])
    began, seen = time.monotonic(), []
    while time.monotonic() - began < 1.7:
        try:
            client.messages.create(**ask())
            seen.append("ok")
        except anthropic.OverloadedError:
            seen.append("529")
        time.sleep(0.02)
    changes = [one for at, one in enumerate(seen) if at == 0 or seen[at - 1] != one]
    assert changes == ["ok", "529", "ok", "529"]


def test_a_fault_with_a_probability_takes_its_share(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    api.set_faults([Fault(status=503, probability=0.3)])
    for _ in range(100):
        try:
            client.messages.create(**ask(model=HAIKU))
        except anthropic.InternalServerError:
            continue
    statuses = [entry["status"] for entry in api.requests()]
    assert 10 <= statuses.count(503) <= 50
    assert statuses.count(200) + statuses.count(503) == 100


@pytest.mark.parametrize("fault", [Fault(stall_at=4), Fault(no_response=True), Fault(pings_only=True)])
def test_the_log_says_when_the_caller_hung_up(api: SimulatedAPI, client: anthropic.Anthropic, fault: Fault) -> None:
    api.set_faults([fault])
    began = time.time_ns() // 1000
    with pytest.raises((anthropic.APITimeoutError, httpx2.ReadTimeout, TimeoutError)):
        _hang_up(client)
    ended = time.time_ns() // 1000
    _until(lambda: api.requests()[-1]["client_closed"])
    entry = api.requests()[-1]
    assert began + 200_000 <= entry["client_closed_us"] <= ended + 300_000
    assert entry["arrived_us"] < entry["client_closed_us"]


def _hang_up(client: anthropic.Anthropic) -> None:
    began = time.monotonic()
    with client.messages.with_streaming_response.create(**ask(), stream=True, timeout=0.3) as response:
        for _ in response.iter_lines():
            if time.monotonic() - began > 0.3:
                raise TimeoutError


def test_the_log_tells_what_an_answer_was_billed_whole_or_not(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    """The prompt as soon as an answer begins, and as much of the answer as was made; nothing for what failed before."""
    whole = client.messages.create(**ask()).usage
    plain = api.requests()[-1]["billed"]
    assert (plain["input_tokens"], plain["output_tokens"]) == (whole.input_tokens, whole.output_tokens)
    output = []
    for index in (0, 5, 12):
        api.set_faults([Fault(cut_at=index)])
        with pytest.raises((httpx2.RemoteProtocolError, anthropic.APIConnectionError)):
            _stream(client)
        billed = api.requests()[-1]["billed"]
        assert billed["input_tokens"] == whole.input_tokens
        output.append(billed["output_tokens"])
    assert output[0] == 1 < output[1] < output[2] < whole.output_tokens
    for fault in (Fault(status=529), Fault(reset=True)):
        api.set_faults([fault])
        with pytest.raises(anthropic.APIError):
            client.messages.create(**ask())
        assert api.requests()[-1]["billed"] is None
