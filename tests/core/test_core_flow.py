"""The flow and its two drivers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from console.core.flow import (
    Answered,
    Discard,
    Discarded,
    Effect,
    Failed,
    Refuse,
    Reply,
    Send,
    Serve,
    Stopped,
    Verdict,
    Wait,
    Woken,
    call_flow,
)
from console.core.switches import ALL, Switch
from console.sdk.drivers import run, run_async

if TYPE_CHECKING:
    from collections.abc import Generator

STOP = Stopped(Switch(ALL))


class ScriptedWire:
    """Replies as written down, and remembers what it was asked. An exception among the replies is raised."""

    def __init__(self, *replies: Reply | BaseException) -> None:
        self._replies = iter(replies)
        self.asked: list[Effect] = []

    def perform(self, effect: Effect) -> Reply:
        self.asked.append(effect)
        reply = next(self._replies)
        if isinstance(reply, BaseException):
            raise reply
        return reply


class AwaitedWire(ScriptedWire):
    """The same for the asynchronous driver."""

    async def perform(self, effect: Effect) -> Reply:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().perform(effect)


def _run(flow: Generator[Effect, Reply, Verdict], *replies: Reply | BaseException) -> tuple[Verdict, list[Effect]]:
    wire = ScriptedWire(*replies)
    return run(flow, wire), wire.asked


def _run_async(flow: Generator[Effect, Reply, Verdict], *replies: Reply | BaseException) -> tuple[Verdict, list[Effect]]:
    wire = AwaitedWire(*replies)
    return asyncio.run(run_async(flow, wire)), wire.asked


drivers = pytest.mark.parametrize("drive", [_run, _run_async], ids=["blocking", "awaiting"])
Drive = Any


@drivers
@pytest.mark.parametrize("reply", [Answered(200), Answered(529), Failed("timeout")], ids=repr)
def test_whatever_one_target_answers_is_served_after_one_attempt(reply: Reply, drive: Drive) -> None:
    assert drive(call_flow(("sonnet",)), reply) == (Serve(), [Send("sonnet")])


@drivers
def test_a_call_that_is_stopped_is_refused_with_the_switch_that_stops_it(drive: Drive) -> None:
    assert drive(call_flow(("sonnet",)), STOP) == (Refuse(STOP.switch), [Send("sonnet")])


def _many(closed: list[str]) -> Generator[Effect, Reply, Verdict]:
    """A flow with every effect, to try the drivers with."""
    try:
        assert (yield Send("a")) == Answered(529)
        assert (yield Discard()) == Discarded()
        reply = yield Wait(1.5)
        if isinstance(reply, Stopped):
            return Refuse(reply.switch)
        assert (yield Send("b")) == Failed("connection")
        return Serve()
    finally:
        closed.append("closed")


@drivers
def test_both_drivers_perform_the_same_effects_in_the_same_order(drive: Drive) -> None:
    closed: list[str] = []
    whole = (Answered(529), Discarded(), Woken(), Failed("connection"))
    assert drive(_many(closed), *whole) == (Serve(), [Send("a"), Discard(), Wait(1.5), Send("b")])
    assert drive(_many(closed), Answered(529), Discarded(), STOP) == (Refuse(STOP.switch), [Send("a"), Discard(), Wait(1.5)])
    assert closed == ["closed", "closed"]


@drivers
@pytest.mark.parametrize(
    "error", [RuntimeError("wire"), KeyboardInterrupt(), asyncio.CancelledError(), StopAsyncIteration()], ids=repr
)
def test_i11_a_flow_is_closed_when_the_wire_raises_and_the_caller_gets_what_it_raised(
    error: BaseException, drive: Drive
) -> None:
    closed: list[str] = []
    with pytest.raises(type(error)):
        drive(_many(closed), Answered(529), error)
    assert closed == ["closed"]


def test_i11_a_flow_is_closed_when_its_task_is_cancelled() -> None:
    closed: list[str] = []

    class Hanging:
        async def perform(self, _: Effect) -> Reply:
            await asyncio.sleep(60)
            return None

    async def cancel() -> None:
        task = asyncio.create_task(run_async(_many(closed), Hanging()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert closed == ["closed"]


def test_a_chain_has_a_target() -> None:
    with pytest.raises(ValueError, match="unpack"):
        run(call_flow(()), ScriptedWire())
