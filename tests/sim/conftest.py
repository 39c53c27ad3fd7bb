"""One simulated API without delays for all tests here; each test begins without faults and without a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anthropic
import pytest
import pytest_asyncio

from console.sim.server import SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def shared_api() -> Iterator[SimulatedAPI]:
    with SimulatedAPI(speed=float("inf")) as api:
        yield api


@pytest.fixture
def api(shared_api: SimulatedAPI) -> SimulatedAPI:
    shared_api.clear_faults()
    shared_api.clear_requests()
    return shared_api


@pytest.fixture
def client(api: SimulatedAPI) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=api.url, api_key="sim-key", max_retries=0, timeout=10) as client:
        yield client


@pytest_asyncio.fixture
async def async_client(api: SimulatedAPI) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=api.url, api_key="sim-key", max_retries=0, timeout=10) as client:
        yield client
