"""Asking the targets from the operator's side, which never loads the SDK: a child process does it and tells in lines of
JSON."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from console.core.health import Health, health_from_json
from console.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOADING_S: Final = 30.0
"""Loading the SDK takes 1.3 to 3 s, and much longer on a machine that is busy; the targets' time comes on top."""
MOST_BYTES: Final = 5_000_000
STOP_S: Final = 2.0


def look(
    config: str | None, data: str | None, timeout_s: float, told: Callable[[dict[str, Any]], None] = lambda heard: None
) -> Health:
    """The health of every target, asked now with the credentials of this process' environment, each for `timeout_s` at most.

    Blocks for that and for as long as the child takes to load. `told` hears `{"asking": [names]}`, then `{"answered": name,
    ...}`. Raises AgentError when the child cannot do it; the configuration is read by the caller before, so that its mistakes
    are his.
    """
    command = [sys.executable, "-P", "-m", "console.agent", "health", "--timeout", str(timeout_s)]
    for option, value in (("--config", config), ("--data", data)):
        if value is not None:
            command += [option, value]
    process = subprocess.Popen(  # noqa: S603 -- ourselves
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
    )
    is_done = False
    try:
        for heard in _lines(process, time.monotonic() + LOADING_S + timeout_s):
            if "health" in heard:
                is_done = True
                return health_from_json(heard["health"])
            if "error" in heard:
                raise AgentError(f"the targets could not be asked: {heard['error']['kind']}: {heard['error']['message']}")
            told(heard)
    except (ValueError, KeyError, TypeError) as error:
        raise AgentError(f"the child process that asks the targets said something unreadable: {error}") from None
    finally:
        _end(process, at_once=not is_done)
    raise AgentError("the child process that asks the targets ended without an answer")


def _environment() -> dict[str, str]:
    """This environment, with this very package first on the path. `-P` keeps what lies in the working directory out."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[dict[str, Any]]:
    """What the child says, line by line, until it ends. Raises AgentError when it is too late or too much, ValueError."""
    assert process.stdout is not None  # noqa: S101 -- it was started with a pipe
    descriptor, said, length = process.stdout.fileno(), b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            part = os.read(descriptor, 65_536)
            if not part:
                return
            length += len(part)
            if length > MOST_BYTES:
                raise AgentError("the child process that asks the targets says far too much")
            *whole, said = (said + part).split(b"\n")
            for line in whole:
                heard = json.loads(line)
                if not isinstance(heard, dict):
                    raise ValueError("not an object")
                yield heard
    raise AgentError("the child process that asks the targets did not come to an end in time; is this machine busy?")


def _end(process: subprocess.Popen[bytes], *, at_once: bool) -> None:
    """It leaves by itself as soon as it has told everything; nothing of it stays behind."""
    if at_once:
        process.terminate()
    if process.stdout is not None:
        with suppress(OSError):
            process.stdout.close()
    for harsher in (process.terminate, process.kill):
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            harsher()
    process.wait()
