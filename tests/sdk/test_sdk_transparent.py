"""The caller sees the same with the middleware as without, for every call shape and every fault."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from sdk_shapes import COLOURS, MESSAGE_SHAPES, SHAPES, Shape, seen_by

from console.sim.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installation

    from console.sim.server import SimulatedAPI

pytestmark = pytest.mark.asyncio

FAULTS = (
    Fault(status=400),
    Fault(status=429, retry_after="7"),
    Fault(status=529),
    Fault(reset=True),
    Fault(no_response=True),
    Fault(cut_at=0),
    Fault(cut_at=4),
    Fault(clean_end_at=4),
    Fault(stall_at=4),
    Fault(malformed_at=0),
    Fault(malformed_at=4),
    Fault(error_at=0),
    Fault(error_at=4),
    Fault(trickle_bytes_per_s=200_000.0),
)
SILENT = ("no_response", "stall_at")


def shapes_and_faults() -> list[Any]:
    return [pytest.param(s, f, id=f"{s}-{f.label.replace(' ', '-')}") for s in MESSAGE_SHAPES for f in FAULTS]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_a_healthy_call_looks_the_same_with_the_middleware(
    shape: Shape, colour: str, installation: Installation, client_of: Callable[..., Any]
) -> None:
    bare = await seen_by(shape, client_of(colour))
    watched = await seen_by(shape, client_of(colour, installation.console))
    assert bare.error is None
    assert bare.parts
    assert watched == bare
    assert installation.errors == 0


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("shape", "fault"), shapes_and_faults())
async def test_a_fault_looks_the_same_with_the_middleware(
    shape: Shape, fault: Fault, colour: str, api: SimulatedAPI, shared_console: Installation, client_of: Callable[..., Any]
) -> None:
    api.set_faults([fault])
    timeout = 0.05 if any(word in fault.label for word in SILENT) else 10
    bare = await seen_by(shape, client_of(colour, timeout=timeout))
    watched = await seen_by(shape, client_of(colour, shared_console.console, timeout=timeout))
    assert watched == bare
    assert shared_console.errors == 0


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_a_refused_connection_looks_the_same_with_the_middleware(
    shape: Shape, colour: str, shared_console: Installation, client_of: Callable[..., Any]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        bare = await seen_by(shape, client_of(colour, base_url=url))
        watched = await seen_by(shape, client_of(colour, shared_console.console, base_url=url))
    assert bare.error is not None
    assert watched == bare
