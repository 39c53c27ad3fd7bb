"""B1, B3, B13, B15 and I6: what a chain asks of an API that is in trouble, counted at the simulated API."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from store_tools import ROOT, python, query, report, until

from console.core.breaker import BreakerPolicy
from console.core.targets import FeaturePolicy, LimitsPolicy, Routing, Target
from console.runtime.process import Runtime
from console.sdk.answers import ChainExhausted
from console.sdk.middleware import ConsoleMiddleware
from console.sim.faults import Fault
from console.sim.server import SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from console.store.locations import Locations

SONNET, HAIKU = "claude-sonnet-5-5", "claude-haiku-5-5"
TARGETS = {"sonnet": Target("sonnet", SONNET), "haiku": Target("haiku", HAIKU)}
NEVER_OPENS = BreakerPolicy(consecutive=100_000, minimum_calls=100_000)
ASKED: dict[str, Any] = {"model": SONNET, "max_tokens": 20, "messages": [{"role": "user", "content": "Hello."}]}
CALLS = 500


@pytest.fixture(scope="module")
def shared_api() -> Iterator[SimulatedAPI]:
    with SimulatedAPI(speed=float("inf")) as api:
        yield api


@pytest.fixture
def api(shared_api: SimulatedAPI) -> SimulatedAPI:
    shared_api.clear_faults()
    shared_api.clear_requests()
    return shared_api


@contextmanager
def application(
    places: Locations, breaker: BreakerPolicy, *chain: str, limits: LimitsPolicy | None = None
) -> Iterator[tuple[ConsoleMiddleware, Runtime]]:
    policy = FeaturePolicy(chain or ("sonnet", "haiku"), limits or LimitsPolicy(5.0, 5.0, 5.0))
    runtime = Runtime(places, routing=Routing(TARGETS, policy, breaker=breaker))
    try:
        yield ConsoleMiddleware(runtime, {}), runtime
    finally:
        runtime.close()


def ask_blocking(client: Any, *, streamed: bool) -> Any:
    if not streamed:
        return client.messages.create(**ASKED)
    with client.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


async def ask_awaiting(client: Any, *, streamed: bool) -> Any:
    if not streamed:
        return await client.messages.create(**ASKED)
    async with client.messages.stream(**ASKED) as stream:
        return await stream.get_final_message()


def in_threads(number: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def made(colour: str, url: str, middleware: ConsoleMiddleware, calls: int, *, streamed: bool, workers: int = 10) -> list[Any]:
    """What `calls` calls, ten at a time, have come to: messages, or the exceptions that were raised."""
    ended: list[Any] = []
    if colour == "blocking":
        with anthropic.Anthropic(base_url=url, api_key="k", middleware=[middleware]) as client:

            def work() -> None:
                for _ in range(calls // workers):
                    try:
                        ended.append(ask_blocking(client, streamed=streamed))
                    except Exception as error:  # noqa: BLE001 -- looked at by the test
                        ended.append(error)

            in_threads(workers, work)
        return ended

    async def everything() -> None:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="k", middleware=[middleware]) as client:

            async def some() -> None:
                for _ in range(calls // workers):
                    try:
                        ended.append(await ask_awaiting(client, streamed=streamed))
                    except Exception as error:  # noqa: BLE001 -- looked at by the test
                        ended.append(error)

            await asyncio.gather(*(some() for _ in range(workers)))

    asyncio.run(everything())
    return ended


four = pytest.mark.parametrize(
    ("colour", "streamed"), [(colour, streamed) for colour in ("blocking", "awaiting") for streamed in (False, True)]
)


@four
def test_b1_when_every_target_fails_requests_are_bounded_by_the_calls(
    colour: str,
    streamed: bool,
    api: SimulatedAPI,
    places: Locations,
) -> None:
    """I1: with the SDK's default of two retries, and with breakers that never open: the worst case."""
    api.set_faults([Fault(status=529)])
    with application(places, NEVER_OPENS) as (middleware, _):
        ended = made(colour, api.url, middleware, CALLS, streamed=streamed)
    requests = len(api.requests())
    report(f"{CALLS} calls, {requests} requests")
    assert len(ended) == CALLS
    assert {type(one).__name__ for one in ended} == {"OverloadedError"}
    assert CALLS <= requests <= 1.2 * CALLS + 10
    assert query(places.telemetry, "SELECT count(*), sum(attempts) FROM call") == [(CALLS, requests)]


@four
def test_b1_i6_with_breakers_an_outage_never_turns_into_a_stampede(
    colour: str,
    streamed: bool,
    api: SimulatedAPI,
    places: Locations,
) -> None:
    """Three failures open a breaker; from there on one call a second may ask, and the rest ends at once."""
    api.set_faults([Fault(status=529)])
    began = time.monotonic()
    with application(places, BreakerPolicy()) as (middleware, _):
        ended = made(colour, api.url, middleware, CALLS, streamed=streamed)
    seconds = time.monotonic() - began
    assert {type(one).__name__ for one in ended} <= {"OverloadedError", "ChainExhausted"}
    assert any(isinstance(one, ChainExhausted) for one in ended)
    # Three to open each of two, those that were under way meanwhile (ten workers), and one a second after.
    assert len(api.requests()) <= 2 * (3 + 10) + seconds + 1


@pytest.mark.parametrize(
    "fault", [Fault(reset=True), Fault(status=500), Fault(status=429, retry_after="0")], ids=lambda f: f.label
)
def test_i1_no_kind_of_failure_gets_more(fault: Fault, api: SimulatedAPI, places: Locations) -> None:
    api.set_faults([fault])
    with application(places, NEVER_OPENS) as (middleware, _):
        made("awaiting", api.url, middleware, 200, streamed=False, workers=50)
    assert 200 <= len(api.requests()) <= 1.2 * 200 + 10


def test_i1_one_call_makes_three_attempts_at_most(api: SimulatedAPI, places: Locations) -> None:
    api.set_faults([Fault(status=500)])
    with application(places, NEVER_OPENS, "sonnet", "haiku", "claude-opus-5-5", "claude-opus-5") as (middleware, _):
        made("blocking", api.url, middleware, 1, streamed=False, workers=1)
    assert len(api.requests()) == 3


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
def test_b3_thirty_two_callers_that_reach_half_open_together_are_one_probe(
    colour: str, api: SimulatedAPI, places: Locations
) -> None:
    """The probe is slow to fail: all the others have come and gone to the fallback meanwhile."""
    breaker = BreakerPolicy(dwell=0.3, max_dwell=0.3, ramp=0.3)
    with application(places, breaker, limits=LimitsPolicy(0.6, 0.6, 0.6)) as (middleware, runtime):
        api.set_faults([Fault(model=SONNET, status=529)])
        made(colour, api.url, middleware, 4, streamed=False, workers=1)
        assert runtime.gate.states({})["sonnet"].state == "open"
        api.set_faults([Fault(model=SONNET, no_response=True)])
        time.sleep(0.4)
        api.clear_requests()
        ended = made(colour, api.url, middleware, 32, streamed=False, workers=32)
    assert {one.model for one in ended} == {HAIKU}
    assert [entry["model"] for entry in api.requests()].count(SONNET) == 1


@four
def test_b15_a_primary_that_was_down_gets_its_traffic_back(
    colour: str,
    streamed: bool,
    api: SimulatedAPI,
    places: Locations,
) -> None:
    """In a fortieth of the time: down for 1.5 s, a dwell of 0.3 s, back within 1.1 s of recovery; every call is served."""
    breaker = BreakerPolicy(window=5.0, dwell=0.3, max_dwell=0.3, ramp=0.3)
    with application(places, breaker) as (middleware, _):
        api.set_faults([Fault(model=SONNET, status=529, for_s=1.5)])
        began, models = time.monotonic(), []
        while time.monotonic() < began + 2.6:
            models += [one.model for one in made(colour, api.url, middleware, 1, streamed=streamed, workers=1)]
            time.sleep(0.1)
        api.clear_requests()
        after = [one.model for one in made(colour, api.url, middleware, 10, streamed=streamed, workers=1)]
    assert set(models) == {HAIKU, SONNET}
    assert after == [SONNET] * 10
    rows = query(places.telemetry, "SELECT outcome, count(*) FROM call GROUP BY outcome")
    assert [row[0] for row in rows] == ["ok"]
    failed = query(places.telemetry, "SELECT count(*) FROM attempt WHERE target = 'sonnet' AND status = 529")[0][0]
    assert failed <= 3 + 1.5 / 0.3, "three to open, one probe per dwell"


def test_b13_a_process_that_was_stopped_does_not_wake_with_a_burst(api: SimulatedAPI, tmp_path: Path) -> None:
    """Sixteen threads at 80 calls a second over a chain whose primary is down, stopped for three seconds."""
    api.set_faults([Fault(model=SONNET, status=529)])
    script = ROOT / "tests" / "faults" / "fault_failover_load.py"
    process = python(script, api.url, tmp_path, 16, 80, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "under way\n"
        until(lambda: len(api.requests()) > 100, within_s=15)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(3)
        api.clear_requests()
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(1)
        woken = api.requests()
    finally:
        process.send_signal(signal.SIGCONT)
        ended = process.communicate(timeout=20)[0]
    report(f"{len(woken)} requests in the second after waking")
    # What was under way, a second's calls, and the probes; not three seconds' calls.
    assert len(woken) <= 16 + 1.2 * 80 + 30
    assert [entry["model"] for entry in woken].count(SONNET) <= 4
    assert set(json.loads(ended)) == {HAIKU}
