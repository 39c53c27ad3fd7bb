"""The two loops that answer the flow's effects, blocking and awaiting. They decide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator

    from console.core.flow import Effect, Reply, Verdict


class Wire(Protocol):
    """Performs effects, blocking."""

    def perform(self, effect: Effect) -> Reply: ...


class AsyncWire(Protocol):
    """Performs effects, awaiting."""

    async def perform(self, effect: Effect) -> Reply: ...


def run(flow: Generator[Effect, Reply, Verdict], wire: Wire) -> Verdict:
    """Drives a flow to its verdict. Whatever the wire raises ends the flow, whose `finally` clauses run."""
    reply: Reply = None
    try:
        while True:
            reply = wire.perform(flow.send(reply))
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict
    finally:
        flow.close()


async def run_async(flow: Generator[Effect, Reply, Verdict], wire: AsyncWire) -> Verdict:
    """The same, awaiting."""
    reply: Reply = None
    try:
        while True:
            reply = await wire.perform(flow.send(reply))
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict
    finally:
        flow.close()
