"""What the tests of failover share: an installation with a chain, what its files say, and servers that misbehave on purpose."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

from sdk_shapes import HAIKU, SHAPES, SONNET

from console.core.breaker import BreakerPolicy
from console.core.ids import uuid7
from console.core.routes import breaker_key, encode_force, encode_route, route_key
from console.core.switches import Scope
from console.core.targets import FeaturePolicy, LimitsPolicy, Routing, Target
from console.ops.desk import Desk
from console.ops.views import Order
from console.runtime.process import Runtime
from console.sdk.middleware import ConsoleMiddleware
from console.store.configuration import Settings
from console.store.locations import locations
from console.store.sqlite.control import Change, write_change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from console.core.control import ControlRow
    from console.core.routes import Force

BY_NAME = {shape.name: shape for shape in SHAPES}
FOUR = (BY_NAME["create"], BY_NAME["messages.stream"])
"""With the two colours: the four combinations."""
WHOLE = tuple(shape for shape in SHAPES if shape.kind == "message" and shape.name != "tools")
"""Every way of asking for a message whose answer is the same from every model that gets the same request."""

TARGETS = {"sonnet": Target("sonnet", SONNET), "haiku": Target("haiku", HAIKU)}
LIMITS = LimitsPolicy(answer=5.0, first_token=5.0, silence=5.0)
SHORT = LimitsPolicy(answer=0.4, first_token=0.4, silence=0.4)
NEVER_OPENS = BreakerPolicy(consecutive=1000, minimum_calls=100_000)
QUICK = BreakerPolicy(dwell=0.2, max_dwell=0.2, ramp=0.2)

Rows = list[dict[str, Any]]


def routed(
    *chain: str,
    targets: Mapping[str, Target] | None = None,
    limits: LimitsPolicy = LIMITS,
    breaker: BreakerPolicy = NEVER_OPENS,
    **policy: Any,
) -> Routing:
    """A chain that every feature has, with more of a `FeaturePolicy`; the feature `bare` has none."""
    known = {**TARGETS, **(targets or {})}
    default = FeaturePolicy(chain or ("sonnet", "haiku"), limits, **policy)
    return Routing(known, default, {"bare": FeaturePolicy()}, breaker, exercises_fallbacks=False)


class Chained:
    """An application's middleware over a chain, in seconds as short as a test needs them, and the operator's side of it."""

    def __init__(self, root: Path, routing: Routing, degraded: Mapping[str, str]) -> None:
        self.places = locations(root / "data", (root / "glass",))
        self.runtime = Runtime(self.places, service="test", routing=routing)
        self.middleware = ConsoleMiddleware(self.runtime, degraded)
        settings = Settings(None, "test", None, dict(degraded), 2 * 86400, 400 * 86400, None, self.places, routing)
        self.desk = Desk(settings)

    def close(self) -> None:
        self.runtime.close()

    def rows(self, table: str) -> Rows:
        """The rows of a telemetry table, in the order of time, after everything has been written: the application is over."""
        self.close()
        order = "at, id" if table in ("call", "attempt") else "1"
        with closing(sqlite3.connect(f"file:{self.places.telemetry}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")]

    def only_call(self) -> dict[str, Any]:
        (row,) = self.rows("call")
        return row

    def errors(self) -> list[tuple[str, int | None, str | None]]:
        """Target, status and error of every attempt."""
        return [(row["target"], row["status"], row["error"]) for row in self.rows("attempt")]

    def state(self, target: str) -> str:
        """The breaker's, as the heartbeat tells of it."""
        return self.runtime.gate.states({}, (target,))[target].state

    def kill(self, scope: Scope) -> None:
        self.desk.act(Order("kill", scope))

    def restore(self, scope: Scope) -> None:
        self.desk.act(Order("restore", scope))

    def change(self, act: str, key: str, value: str, *, for_us: int | None = None) -> ControlRow:
        """Writes one row as an act does."""
        at = time.time_ns() // 1000
        until = None if for_us is None else at + for_us
        noise = int.from_bytes(os.urandom(10))
        return write_change(
            self.places.control, Change(uuid7(at, noise), act, key, value, at, "tester", {}, None, until, None, None, 0)
        )

    def route(self, *targets: str, feature: str | None = None, for_us: int | None = None) -> None:
        """Sends a feature's calls, or all, to targets; to none: back to the configuration."""
        scope = Scope("all") if feature is None else Scope("feature", feature)
        self.change("switch", route_key(scope), encode_route(targets or None), for_us=for_us)

    def force(self, target: str, state: Force | None, *, for_us: int | None = None) -> None:
        """Holds a breaker, or lets go of it."""
        self.change("force", breaker_key(target), encode_force(state), for_us=for_us)


class Server:
    """Listens on a port of its own and does to each connection what `serve` says, in a thread; `began` counts connections."""

    def __init__(self, serve: Callable[[socket.socket], None] | None, *, backlog: int = 16) -> None:
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self._open: list[socket.socket] = []
        self.began = 0
        self.closed_at: list[float] = []
        """When a caller was seen to close its connection (steady clock); only `silent` looks."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        if self._serve is not None:
            threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.began += 1
                self._open.append(connection)
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        assert self._serve is not None
        with contextlib.suppress(OSError):
            self._serve(connection)


def request_on(connection: socket.socket) -> tuple[dict[str, str], bytes]:
    """Reads one request: its headers (and `:line`), and its body as it was sent."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise ConnectionResetError
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {":line": line} | {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return headers, body


def answer_on(connection: socket.socket, model: str, text: str = "Here it is.") -> None:
    """A whole plain answer; the connection ends with it."""
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 4},
    }  # fmt: skip
    body = json.dumps(message).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    connection.sendall(head.encode() + body)


def silent(server_of: list[Server]) -> Callable[[socket.socket], None]:
    """Reads a request, never answers, and notes in `server_of[0]` when the caller closes."""

    def serve(connection: socket.socket) -> None:
        request_on(connection)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
        server_of[0].closed_at.append(time.monotonic())

    return serve


@contextlib.contextmanager
def unheard() -> Iterator[str]:
    """An address at which nobody listens."""
    with closing(socket.socket()) as unbound:
        unbound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unbound.getsockname()[1]}"


@contextlib.contextmanager
def full() -> Iterator[str]:
    """A listening socket that never accepts and whose queue is full: connecting takes for ever."""
    with Server(None, backlog=0) as server, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield server.url


def until(condition: Callable[[], object], *, within_s: float = 3.0) -> None:
    """Waits for `condition`; fails the test when it does not come true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"did not come true within {within_s} s"
        time.sleep(0.005)
