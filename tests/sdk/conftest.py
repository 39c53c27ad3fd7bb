"""One simulated API without delays for all tests here, and an installation of its own for each test."""

from __future__ import annotations

import sqlite3
import ssl
from contextlib import AsyncExitStack, closing
from functools import cache
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
import pytest_asyncio
from sdk_shapes import DEGRADED

from console import Console
from console.ops.desk import Desk
from console.ops.views import Order
from console.sim.server import SimulatedAPI
from console.store.configuration import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from console.core.switches import Scope
    from console.ops.views import ActName

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def shared_api() -> Iterator[SimulatedAPI]:
    with SimulatedAPI(speed=float("inf")) as api:
        yield api


@pytest.fixture
def api(shared_api: SimulatedAPI) -> SimulatedAPI:
    shared_api.clear_faults()
    shared_api.clear_requests()
    return shared_api


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own pause before a retry, half a second and more, is none of what is tested."""
    monkeypatch.setattr("anthropic._base_client.INITIAL_RETRY_DELAY", 0.001)


@pytest.fixture(autouse=True, scope="module")
def _quick_watcher() -> Iterator[None]:
    """The end of each installation waits for its watcher to wake up; hundreds of them would take half a minute."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr("console.runtime.process.WATCH_S", 0.01)
        yield


class Installation:
    """A data directory with a configuration, the application's `Console` in it, and the operator's desk."""

    def __init__(self, root: Path) -> None:
        self.file = root / "console.yaml"
        self.file.write_text(
            f"data: data\nkill_directories: [glass]\nfeatures:\n  resting:\n    degraded: {DEGRADED}\n"
            '  structured:\n    degraded: \'{"answer": "later"}\'\n'
        )
        self.data = root / "data"
        self.glass = root / "glass"
        self.console = Console(config=self.file, data=self.data)
        self.desk = Desk(load_settings(self.file, self.data))

    @property
    def errors(self) -> int:
        return self.console._runtime.errors

    def act(self, act: ActName, scope: Scope, for_us: int | None = None) -> None:
        self.desk.act(Order(act, scope, for_us))

    def rows(self, table: str) -> Rows:
        """The rows of a telemetry table after everything has been written; the application is over then."""
        self.console.close()
        path = self.data / "telemetry.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]

    def only_call(self) -> dict[str, Any]:
        (row,) = self.rows("call")
        return row


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.console.close()


@cache
def _tls() -> ssl.SSLContext:
    """Never used, but made by every HTTP client that is not given one, at 15 ms each."""
    return ssl.create_default_context()


@pytest_asyncio.fixture
async def client_of(api: SimulatedAPI) -> AsyncIterator[Callable[..., Any]]:
    """Makes SDK clients of either colour: `client_of("blocking", middleware=…)`; `wire` answers in place of the network."""
    async with AsyncExitStack() as stack:

        def make(
            colour: str, console: Console | None = None, *, wire: Callable[[httpx2.Request], Any] | None = None, **more: Any
        ) -> Any:
            is_async = colour == "awaiting"
            http = anthropic.DefaultAsyncHttpxClient if is_async else anthropic.DefaultHttpxClient
            transport = {"verify": _tls()} if wire is None else {"transport": httpx2.MockTransport(wire)}
            settings: dict[str, Any] = {"base_url": api.url, "api_key": "sim-key", "max_retries": 0, "timeout": 10} | more
            if console is not None:
                settings.setdefault("middleware", [console.middleware])
            made = (anthropic.AsyncAnthropic if is_async else anthropic.Anthropic)(http_client=http(**transport), **settings)
            if is_async:
                stack.push_async_callback(made.close)
            else:
                stack.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="module")
def shared_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for the tests of a module that look at the caller's side only."""
    made = Installation(tmp_path_factory.mktemp("shared"))
    yield made
    made.console.close()
