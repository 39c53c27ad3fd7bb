"""The simulated Claude API as a process: `python -m console.sim.api`. Arguments, the ready line and the end.

The first line on stdout is `{"url": …, "pid": …}`; nothing follows. SIGTERM, SIGINT and, with `--until-stdin-closes`,
the end of stdin stop it at once with exit code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from console.sim.connection import listen
from console.sim.journal import Journal
from console.sim.lifetime import when_stdin_closes
from console.sim.pace import Pace
from console.sim.service import Service

if TYPE_CHECKING:
    from collections.abc import Sequence

_FLUSH_EVERY_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop. The result is the exit code."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except OSError as error:
        sys.stderr.write(f"simulated API: cannot listen on {options.host}:{options.port}: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m console.sim.api", description="A simulated Claude API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--speed", type=_speed, default=1.0, help="divides all believable latencies; inf: no delay")
    parser.add_argument("--seed", type=int, default=0, help="makes answers, latencies and fault draws repeatable")
    parser.add_argument("--log", type=Path, default=None, help="append every request to this file as a JSON line")
    parser.add_argument("--key", action="append", default=[], help="a key that is accepted; without any, all are")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the parent that holds stdin")
    return parser


def _speed(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


async def _run(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_stdin_closes:
        when_stdin_closes(lambda: loop.call_soon_threadsafe(stop.set))
    journal = Journal(options.log)
    try:
        service = Service(pace=Pace(options.speed), seed=options.seed, journal=journal, keys=options.key)
        server = await listen(service.serve, options.host, options.port)
        host, port = server.sockets[0].getsockname()[:2]
        ready = {"url": f"http://{f'[{host}]' if ':' in host else host}:{port}", "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await _flush_until(stop, journal)
        server.close()
    finally:
        journal.close()


async def _flush_until(stop: asyncio.Event, journal: Journal) -> None:
    while not stop.is_set():
        try:
            async with asyncio.timeout(_FLUSH_EVERY_S):
                await stop.wait()
        except TimeoutError:
            journal.flush()


if __name__ == "__main__":
    sys.exit(main())
