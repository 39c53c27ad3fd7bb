"""A caller that is cancelled: only an asynchronous one can be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sdk_shapes import STREAM, ask, seen_by

from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installation

    from console.sim.server import SimulatedAPI

pytestmark = pytest.mark.asyncio


async def test_a_cancelled_task_is_a_cancelled_call(
    api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(latency_s=30)])
    client = client_of("awaiting", installation.console)
    for call in (client.messages.create(**ask()), seen_by(STREAM, client)):
        task = asyncio.create_task(call)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    calls = installation.rows("call")
    assert [(call["outcome"], call["error"], call["attempts"]) for call in calls] == [("cancelled", "cancelled", 1)] * 2


async def test_a_task_that_is_cancelled_in_the_middle_of_its_stream_is_a_cancelled_call(
    api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(stall_at=4)])
    task = asyncio.create_task(seen_by(STREAM, client_of("awaiting", installation.console)))
    await asyncio.sleep(0.4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    call = installation.only_call()
    assert (call["outcome"], call["status"]) == ("cancelled", 200)
    assert call["input_tokens"] > 0


async def test_a_retry_that_the_caller_gives_up_is_recorded_when_the_application_ends(
    api: SimulatedAPI, installation: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([Fault(status=429, retry_after="30")])
    task = asyncio.create_task(client_of("awaiting", installation.console, max_retries=2).messages.create(**ask()))
    await asyncio.sleep(0.4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    call = installation.only_call()
    assert (call["outcome"], call["status"], call["attempts"]) == ("failed", 429, 1)
