"""The processes: the ready line, the log, the end, and the sample application against the simulated API."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import deque
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from sim_asks import SONNET, ask
from sim_prompts import SamplePrompts

from console.errors import CallBlocked
from console.sim.application import Application, next_job, outcome_of
from console.sim.faults import Fault
from console.sim.server import SimulatedAPI, SimulatedAPIError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class PassThrough(anthropic.Middleware):
    """A middleware that changes nothing."""

    def handle(self, request: Any, call_next: Any) -> Any:
        return call_next(request)

    async def handle_async(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


class NoConsole:
    """Stands in for the console: tags that reach the API, where the log shows them."""

    middleware = PassThrough()

    def __init__(self) -> None:
        self.prompts = SamplePrompts()

    def tags(self, *, feature: str, customer: str, session: str | None = None) -> Mapping[str, str]:
        return {
            "x-console-feature": feature,
            "x-console-customer": customer,
            **({"x-console-session": session} if session else {}),
        }


def test_the_log_shows_when_a_call_started_and_which_tags_leaked(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    started = time.time_ns() // 1000
    headers = {"x-call-started-us": str(started), "x-console-feature": "support-reply"}
    client.messages.create(**ask(), extra_headers=headers)
    (entry,) = api.requests()
    assert (entry["started_us"], entry["console_headers"]) == (started, ["x-console-feature"])
    assert entry["arrived_us"] >= started
    assert (entry["method"], entry["path"], entry["model"]) == ("POST", "/v1/messages", SONNET)
    assert (entry["status"], entry["stream"], entry["finished"]) == (200, False, True)
    assert entry["system"].startswith("You are the customer support")
    assert len(entry["system"]) <= 80


def test_the_log_can_be_read_from_an_index_on_and_cleared(api: SimulatedAPI, client: anthropic.Anthropic) -> None:
    for _ in range(3):
        client.messages.create(**ask())
    indexes = [entry["index"] for entry in api.requests()]
    assert [entry["index"] for entry in api.requests(after=indexes[1])] == indexes[1:]
    api.clear_requests()
    assert api.requests() == []
    client.messages.create(**ask())
    assert api.requests()[0]["index"] == indexes[-1] + 1


def test_a_request_under_way_is_in_the_log_already(api: SimulatedAPI) -> None:
    api.set_faults([Fault(no_response=True)])
    with anthropic.Anthropic(base_url=api.url, api_key="k", max_retries=0) as client:
        with pytest.raises(anthropic.APITimeoutError):
            client.messages.create(**ask(), timeout=0.2)
        assert api.requests()[0]["fault"] == "no_response"


def test_the_log_file_gets_a_line_per_request_while_the_server_runs(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with (
        SimulatedAPI(speed=float("inf"), log=log) as api,
        anthropic.Anthropic(base_url=api.url, api_key="k", max_retries=0) as client,
    ):
        client.messages.create(**ask())
        deadline = time.monotonic() + 2
        while not log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert json.loads(log.read_text())["status"] == 200
        client.messages.create(**ask())
    assert len(log.read_text().splitlines()) == 2


def test_stop_is_idempotent_and_ends_the_process() -> None:
    api = SimulatedAPI(speed=float("inf")).start()
    pid = api.pid
    api.stop()
    api.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(SimulatedAPIError, match="does not run"):
        api.requests()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_at_once_with_exit_code_0(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-m", "console.sim.api"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process, process.stdout:
        ready = json.loads(process.stdout.readline())
        assert ready["pid"] == process.pid
        process.send_signal(number)
        assert process.wait(2) == 0


def test_a_server_that_cannot_start_is_a_clear_error(api: SimulatedAPI) -> None:
    port = int(api.url.rsplit(":", 1)[1])
    with pytest.raises(SimulatedAPIError, match=r"ended at its start \(exit code 1\)"):
        SimulatedAPI(port=port).start()


def test_neither_the_server_nor_its_parents_side_loads_the_sdk() -> None:
    code = "import sys, console.sim.api, console.sim.server; print([n for n in sys.modules if 'anthropic' in n])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_speed_shortens_believable_latencies() -> None:
    with SimulatedAPI(speed=20) as api, anthropic.Anthropic(base_url=api.url, api_key="k") as client:
        began = time.monotonic()
        for _ in range(5):
            client.messages.create(**ask())
        assert 0.15 < time.monotonic() - began < 2


@pytest.mark.asyncio
async def test_the_sample_application_calls_all_features_in_every_way(api: SimulatedAPI) -> None:
    application = Application(api.url, NoConsole(), rate=60, seed=3)
    await application.run(asyncio.Event(), duration=1.5)
    report = application.tally.report()
    assert report["failures"] == []
    assert all(counts["ok"] for counts in report["features"].values())
    assert report["latency_s"]["p50"] <= report["latency_s"]["p99"]
    entries = api.requests()
    assert {entry["stream"] for entry in entries} == {True, False}
    assert all(entry["started_us"] <= entry["arrived_us"] for entry in entries)
    assert entries[0]["console_headers"] == ["x-console-customer", "x-console-feature"]


@pytest.mark.asyncio
async def test_the_sample_application_goes_on_through_failures_and_stops_in_time(api: SimulatedAPI) -> None:
    api.set_faults([Fault(status=400, probability=0.2), Fault(no_response=True, probability=0.2)])
    application = Application(api.url, NoConsole(), rate=60, seed=4)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(1, stop.set)
    began = time.monotonic()
    await application.run(stop, duration=None)
    assert time.monotonic() - began < 2
    report = application.tally.report()
    assert sum(counts["failed"] for counts in report["features"].values())
    assert report["unfinished"]


@pytest.mark.asyncio
async def test_arrivals_beyond_64_calls_in_flight_are_skipped(api: SimulatedAPI) -> None:
    api.set_faults([Fault(no_response=True)])
    application = Application(api.url, NoConsole(), rate=400, seed=5)
    await application.run(asyncio.Event(), duration=0.6)
    assert application.tally.skipped
    assert len(api.requests()) <= 64


def test_a_seed_repeats_the_traffic() -> None:
    import random

    first, second = ([next_job(rng, deque()) for _ in range(300)] for rng in (random.Random(1), random.Random(1)))
    assert first == second


def test_a_blocked_call_is_counted_apart_from_a_failed_one() -> None:
    blocked = CallBlocked.__new__(CallBlocked)
    assert [outcome_of(error) for error in (None, blocked, ValueError())] == ["ok", "blocked", "failed"]


def test_the_status_page_says_what_it_was_told_and_is_no_request_of_the_api(api: SimulatedAPI) -> None:
    def page() -> object:
        with urllib.request.urlopen(f"{api.url}/api/v2/summary.json", timeout=5) as answer:  # noqa: S310
            return json.loads(answer.read())

    assert page() == {
        "status": {"indicator": "none", "description": "All Systems Operational"},
        "components": [],
        "incidents": [],
    }
    api.set_status_page({"status": {"indicator": "major", "description": "Outage"}})
    assert page() == {"status": {"indicator": "major", "description": "Outage"}}
    assert api.requests() == []
