"""The parent's side of the simulated API: starts the process, sets its faults, reads its log, ends it.

Standard library only; it imports neither the SDK nor the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from console.sim.clouds import base_url_of
from console.sim.faults import Fault, fault_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_STOP_S = 2.0
_CALL_S = 10.0


class SimulatedAPIError(RuntimeError):
    """The simulated API did not start, or refused what it was told."""


class SimulatedAPI:
    """A simulated API in a process of its own, for the length of a `with` block. It dies with this process.

    `speed` divides all believable latencies, infinity removes them. `log` is a file that gets one JSON line a request.
    `keys` are the only API keys that are not answered with 401; without any every key is good.
    Raises SimulatedAPIError when no ready line comes within `start_timeout` seconds.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        seed: int = 0,
        log: Path | str | None = None,
        keys: Iterable[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        start_timeout: float = 20.0,
    ) -> None:
        self._command = [sys.executable, "-m", "console.sim.api", "--until-stdin-closes", "--host", host]
        self._command += ["--port", str(port), "--speed", str(speed), "--seed", str(seed)]
        if log is not None:
            self._command += ["--log", os.fspath(log)]
        self._command += [f"--key={key}" for key in keys]
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        # Loopback is never behind a proxy, whatever the environment says.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL for a client, without a slash at its end. Empty before the start."""
        return self._url

    def at(self, provider: str) -> str:
        """What the SDK's client for a provider takes as its `base_url`."""
        return base_url_of(self._url, provider)

    @property
    def pid(self) -> int:
        """The server's process id. Raises SimulatedAPIError when it does not run."""
        return self._running().pid

    def start(self) -> Self:
        """Start the process and wait for its ready line. `with` does this."""
        if self._process is not None:
            raise SimulatedAPIError("the simulated API is running already")
        self._process = subprocess.Popen(  # noqa: S603 - our own module with our own interpreter
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_child_environment()
        )
        try:
            self._url = str(json.loads(_first_line(self._process, self._start_timeout))["url"])
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process: first by closing its stdin, at last with SIGKILL. Idempotent; never raises."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        for harsher in (process.terminate, process.kill):
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                harsher()
        process.wait()

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Replace all faults; requests that arrive after the return get the new ones."""
        self._call("PUT", "/sim/faults", [fault_to_json(fault) for fault in faults])

    def clear_faults(self) -> None:
        """Remove all faults. Requests under way keep the one they got."""
        self._call("DELETE", "/sim/faults")

    def faults(self) -> list[dict[str, Any]]:
        """The faults as they stand, as JSON, with what is left of their `times`."""
        faults: list[dict[str, Any]] = self._call("GET", "/sim/faults")
        return faults

    def set_status_page(self, page: object) -> None:
        """What the status page answers (Statuspage version 2) at `/api/v2/summary.json`; at first that all is well."""
        self._call("PUT", "/sim/status-page", page)

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """The log from index `after` on, requests that are under way (`finished` is false) included."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._call("GET", f"/sim/requests?after={after}")
            found += page["requests"]
            if not page["requests"]:
                return found
            after = page["next"]

    def clear_requests(self) -> None:
        """Forget the log. Indexes go on counting."""
        self._call("DELETE", "/sim/requests")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise SimulatedAPIError("the simulated API does not run")
        return self._process

    def _call(self, method: str, path: str, value: object = None) -> Any:
        self._running()
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(f"{self._url}{path}", data=body, method=method)  # noqa: S310 - our own server
        try:
            with self._opener.open(request, timeout=_CALL_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise SimulatedAPIError(f"{method} {path}: {_said(error.read())}") from None


def _said(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")


def _child_environment() -> dict[str, str]:
    """The environment with this very package first on the path, wherever the parent was started."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def _first_line(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """The child's first line. Raises SimulatedAPIError when it ends, or says nothing in time."""
    assert process.stdout is not None  # noqa: S101 - it was started with a pipe
    descriptor, line, deadline = process.stdout.fileno(), b"", time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise SimulatedAPIError(f"the simulated API said nothing within {timeout} s")
            part = os.read(descriptor, 4096)
            if not part:
                raise SimulatedAPIError(f"the simulated API ended at its start (exit code {process.wait(_STOP_S)})")
            line += part
    return line
