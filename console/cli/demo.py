"""`console demo`: the real console before a simulated API and a sample application."""

from __future__ import annotations

import os
import shlex
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.cli.options import Duration
from console.cli.output import say
from console.cli.screen import is_terminal, run_screen
from console.cli.status import status_line
from console.errors import StoreError
from console.ops.desk import Desk
from console.store.configuration import load_settings

if TYPE_CHECKING:
    from types import FrameType


@click.command()
@click.option("--data", metavar="DIR", help="Keep the demo's files here. [default: a directory that is removed at the end]")
@click.option("--plain", is_flag=True, help="No screen: one status line a second.")
@click.option("--for", "for_s", type=Duration(), default="20s", show_default=True, help="How long, without a screen.")
def demo(data: str | None, plain: bool, for_s: int) -> None:
    """The simulated Claude API, a sample application with two processes, and the console in front.

    Without a terminal it prints one status line a second for 20 seconds. Leaving it ends every process that it started.
    """
    from console.sim.demo import Demo  # noqa: PLC0415 -- no other command needs it
    from console.sim.server import SimulatedAPIError  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        with Demo(None if data is None else Path(data).absolute()) as running:
            desk = Desk(replace(load_settings(running.config, running.data), status_page=running.url))
            say(f"simulated API at {running.url}; in another terminal: console --config {shlex.quote(str(running.config))}")
            if is_terminal() and not plain:
                _wait_for_calls(desk)
                code = run_screen(desk)
                if code:
                    raise click.exceptions.Exit(code)
            else:
                _print_lines(desk, for_s)
    except (SimulatedAPIError, OSError) as error:
        raise StoreError(f"the demo could not be started: {error}") from None


def _leave(number: int, frame: FrameType | None) -> Any:
    """The `with` block must end what it started, so a signal leaves like an exit."""
    raise SystemExit(128 + number)


def _wait_for_calls(desk: Desk) -> None:
    """A second or two, so that the first picture is not an empty one; the workers load the SDK meanwhile."""
    deadline = time.monotonic() + 8
    say("starting two application processes …")
    while time.monotonic() < deadline and not desk.status().features:
        time.sleep(0.1)


def _print_lines(desk: Desk, seconds: int) -> None:
    for _ in range(seconds):
        say(status_line(desk.status()))
        time.sleep(1)
    say(f"done; pid {os.getpid()} ends what it started")
