"""B11: a caller that goes away at each point where a call over a chain waits. Nothing stays behind: no request, permit or thread."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from failover_tools import BY_NAME, FOUR, QUICK, Server, full, routed, silent
from sdk_shapes import HAIKU, SONNET, Shape, ask, seen_by

from console.core.breaker import BreakerPolicy
from console.core.switches import ALL, Scope
from console.core.targets import KEY_OF_CLIENT, LimitsPolicy, Target
from console.sdk.answers import CallBlocked
from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from failover_tools import Chained

    from console.sim.server import SimulatedAPI

pytest_plugins = ["failover_fixtures"]
pytestmark = pytest.mark.asyncio
four = pytest.mark.parametrize("shape", FOUR, ids=str)

AFTER_S = 0.15
"""How long a call goes on before its caller goes away."""
WITHIN_S = 0.25


async def _cancelled_task(call: Awaitable[Any]) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(AFTER_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _timeout(call: Awaitable[Any]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(AFTER_S):
            await call


async def _scope(call: Awaitable[Any]) -> None:
    with anyio.move_on_after(AFTER_S) as scope:
        await call
    assert scope.cancelled_caught


WAYS = {"a cancelled task": _cancelled_task, "asyncio.timeout": _timeout, "a cancel scope": _scope}

POINTS: dict[str, tuple[Shape, Fault]] = {
    "headers": (BY_NAME["create"], Fault(no_response=True)),
    "headers of a stream": (BY_NAME["messages.stream"], Fault(no_response=True)),
    "a plain body": (BY_NAME["create"], Fault(stall_at=0)),
    "the first content": (BY_NAME["messages.stream"], Fault(stall_at=1)),
    "the first content among pings": (BY_NAME["messages.stream"], Fault(stall_at=1, pings_only=True)),
    "a committed stream": (BY_NAME["messages.stream"], Fault(stall_at=4)),
    "a plain body that the caller reads": (BY_NAME["unread"], Fault(stall_at=0)),
}


def _foreign_threads() -> set[str]:
    """Without our own, and the event loop's for looking up names."""
    return {
        thread.name
        for thread in threading.enumerate()
        if "_handle" not in thread.name and not thread.name.startswith(("console-", "asyncio_"))
    }


async def _until(condition: Callable[[], object], *, within_s: float = 1.0) -> None:
    """Waits for `condition` while the event loop goes on."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"did not come true within {within_s} s"
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("point", POINTS)
async def test_b11_cancelled_at_a_point_the_connection_is_closed_and_nothing_stays(
    point: str, way: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    shape, fault = POINTS[point]
    chain = chained(routed(breaker=QUICK))
    client = client_of("awaiting", chain, max_retries=2)
    threads = _foreign_threads()
    api.set_faults([fault])
    await WAYS[way](_caught(shape, client))
    gone = time.time_ns() // 1000
    await _until(lambda: api.requests()[0]["client_closed"])
    closed = api.requests()[0]["client_closed_us"]
    assert closed - gone <= WITHIN_S * 1e6
    assert len(api.requests()) == 1
    api.clear_faults()
    wanted = await seen_by(shape, client_of("awaiting"))
    assert await seen_by(shape, client) == wanted
    assert api.requests()[-1]["model"] == SONNET
    assert chain.state("sonnet") == "closed"
    assert not chain.runtime.guarded
    assert _foreign_threads() == threads
    rows = chain.rows("call")
    assert [(row["outcome"], row["attempts"]) for row in rows] == [("cancelled", 1), ("ok", 1)]


async def _caught(shape: Shape, client: Any) -> None:
    """The call alone: `seen_by` keeps an error that is none of a cancellation."""
    seen = await seen_by(shape, client)
    raise AssertionError(f"it was not cancelled: {seen}")


@pytest.mark.parametrize("way", WAYS)
@four
async def test_b11_cancelled_while_connecting(
    shape: Shape, way: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Not in a TLS handshake: the connection of one asyncio itself drops only later, with the middleware and without."""
    with full() as url:
        broken = Target("broken", SONNET, base_url=url, api_key=KEY_OF_CLIENT)
        chain = chained(routed("broken", "haiku", targets={"broken": broken}))
        began = time.monotonic()
        await WAYS[way](_caught(shape, client_of("awaiting", chain)))
        assert time.monotonic() - began <= AFTER_S + WITHIN_S
    assert api.requests() == []
    assert chain.only_call()["outcome"] == "cancelled"


@pytest.mark.parametrize(("shape", "way"), list(zip((*FOUR, FOUR[0]), WAYS, strict=True)))
async def test_b11_cancelled_between_two_attempts_no_other_is_made(
    shape: Shape, way: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed("sonnet"))
    api.set_faults([Fault(status=529)])
    client = client_of("awaiting", chain, max_retries=2)
    began = time.monotonic()
    await WAYS[way](_caught(shape, client))
    assert time.monotonic() - began < AFTER_S + WITHIN_S
    await asyncio.sleep(1.1)  # the longest pause
    assert len(api.requests()) == 1
    call = chain.only_call()
    assert (call["outcome"], call["attempts"]) == ("cancelled", 1)
    assert call["latency_us"] <= (AFTER_S + WITHIN_S) * 1e6
    assert chain.errors() == [("sonnet", 529, "overloaded_error")]


@four
async def test_b11_i4_a_cancelled_probe_gives_its_permit_back(
    shape: Shape, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed(breaker=BreakerPolicy(dwell=0.1, max_dwell=0.1, ramp=0.1)))
    client = client_of("awaiting", chain)
    api.set_faults([Fault(model=SONNET, status=529)])
    for _ in range(3):
        await seen_by(shape, client)
    assert chain.state("sonnet") == "open"
    api.set_faults([Fault(model=SONNET, no_response=True)])
    await asyncio.sleep(0.2)
    api.clear_requests()
    await _cancelled_task(_caught(shape, client))
    assert [entry["model"] for entry in api.requests()] == [SONNET]
    assert chain.state("sonnet") == "half_open"
    api.clear_faults()
    api.clear_requests()
    assert (await seen_by(shape, client)).error is None
    assert [entry["model"] for entry in api.requests()] == [SONNET]


async def test_b11_a_hundred_callers_that_go_away_at_any_moment_leave_nothing(
    api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Cancelled at random between the first byte and the last, over faults of every kind."""
    chain = chained(routed(breaker=QUICK, limits=LimitsPolicy(0.5, 0.5, 0.5)))
    client = client_of("awaiting", chain)
    kinds = [
        {"status": 529},
        {"reset": True},
        {"no_response": True},
        {"stall_at": 1},
        {"stall_at": 4},
        {"error_at": 1},
        {"trickle_bytes_per_s": 3000.0},
    ]
    api.set_faults([Fault(model=SONNET, probability=1 / 8, **kind) for kind in kinds])  # type: ignore[arg-type]

    async def one(number: int) -> None:
        with anyio.move_on_after(number % 25 * 0.012):
            await seen_by(FOUR[number % 2], client)

    await asyncio.gather(*(one(number) for number in range(100)))
    assert not chain.runtime.guarded
    await _until(lambda: all(entry["finished"] for entry in api.requests()))
    api.clear_faults()
    deadline = time.monotonic() + 3
    while chain.state("sonnet") != "closed" and time.monotonic() < deadline:
        await seen_by(FOUR[0], client)
        await asyncio.sleep(0.05)
    api.clear_requests()
    assert (await seen_by(FOUR[0], client)).error is None
    assert api.requests()[0]["model"] == SONNET
    assert chain.runtime.errors == 0


# -- a kill interrupts every wait (I12, A13) ---------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
@four
@pytest.mark.parametrize("fault", [Fault(status=529), Fault(status=429, retry_after="5")], ids=lambda fault: fault.label)
async def test_a13_a_kill_ends_the_pause_between_two_attempts(
    fault: Fault,
    shape: Shape,
    colour: str,
    api: SimulatedAPI,
    chained: Callable[..., Chained],
    client_of: Callable[..., Any],
) -> None:
    chain = chained(routed("sonnet"))
    api.set_faults([fault])
    killed: list[float] = []

    def kill() -> None:
        chain.kill(ALL)
        killed.append(time.monotonic())

    timer = threading.Timer(0.15, kill)
    timer.start()
    client, began = client_of(colour, chain, max_retries=2), time.monotonic()
    seen = await seen_by(shape, client)
    ended = time.monotonic()
    timer.join()
    assert seen.error[0] is CallBlocked
    assert ended - killed[0] <= WITHIN_S
    assert len(api.requests()) == 1
    call = chain.only_call()
    assert (call["outcome"], call["attempts"]) == ("blocked", 1)
    assert call["latency_us"] <= (ended - began) * 1e6


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
@four
async def test_a13_a_kill_on_the_model_that_is_waited_for_moves_the_call_on(
    shape: Shape, colour: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained()
    api.set_faults([Fault(model=SONNET, status=429, retry_after="1.9")])
    timer = threading.Timer(0.15, chain.kill, (Scope("model", SONNET),))
    timer.start()
    began = time.monotonic()
    seen = await seen_by(shape, client_of(colour, chain))
    timer.join()
    assert seen.error is None
    assert time.monotonic() - began < 1.2
    assert [entry["model"] for entry in api.requests()] == [SONNET, HAIKU]


# -- a blocking caller ---------------------------------------------------------------------------------------------------


class Interrupt(BaseException):
    """What a signal raises in the middle of a blocking call, as Ctrl-C does."""


@contextlib.contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with pytest.raises(Interrupt):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("point", POINTS)
async def test_b11_a_blocking_caller_that_is_interrupted_leaves_nothing(
    point: str, api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    shape, fault = POINTS[point]
    chain = chained(routed(breaker=QUICK))
    client = client_of("blocking", chain, max_retries=2)
    api.set_faults([fault])
    with _interrupted_after(AFTER_S):
        await seen_by(shape, client)
    gone = time.time_ns() // 1000
    await _until(lambda: api.requests()[0]["client_closed"])
    assert api.requests()[0]["client_closed_us"] - gone <= WITHIN_S * 1e6
    api.clear_faults()
    assert (await seen_by(shape, client)).error is None
    assert api.requests()[-1]["model"] == SONNET
    assert not chain.runtime.guarded
    assert [row["outcome"] for row in chain.rows("call")] == ["cancelled", "ok"]


async def test_b11_a_blocking_caller_that_is_interrupted_between_two_attempts(
    api: SimulatedAPI, chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    chain = chained(routed("sonnet"))
    api.set_faults([Fault(status=529)])
    client = client_of("blocking", chain, max_retries=2)
    with _interrupted_after(AFTER_S):
        client.messages.create(**ask())
    assert len(api.requests()) == 1
    assert chain.only_call()["outcome"] == "cancelled"


async def test_b11_the_server_of_a_silent_target_sees_the_caller_go(
    chained: Callable[..., Chained], client_of: Callable[..., Any]
) -> None:
    """Also when the limit, not the caller, has ended the attempt."""
    servers: list[Server] = []
    servers.append(Server(silent(servers)))
    with servers[0] as server:
        chain = chained(routed("sonnet", limits=LimitsPolicy(0.2, 0.2, 0.2)))
        for colour in ("blocking", "awaiting"):
            began = time.monotonic()
            await seen_by(FOUR[0], client_of(colour, chain, base_url=server.url))
            await _until(lambda: server.closed_at)
            assert server.closed_at.pop() - began <= 0.2 + WITHIN_S
