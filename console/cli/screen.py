"""`console` and `console open`: the screen, or one plain status where there is no terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from console.cli.options import common, desk_of
from console.cli.output import say, say_json
from console.cli.status import status_json, status_lines

if TYPE_CHECKING:
    from console.ops.desk import Desk


@click.command(name="open")
@common
@click.option("--read-only", is_flag=True, help="Look, but refuse every act.")
@click.pass_context
def screen(
    ctx: click.Context,
    config: str | None = None,
    data: str | None = None,
    as_json: bool = False,
    read_only: bool = False,
) -> None:
    """Open the console. Without a terminal it prints one status and leaves."""
    desk = desk_of(ctx, config, data)
    desk.read_only = desk.read_only or read_only
    if as_json:
        say_json(status_json(desk.status()))
    elif is_terminal():
        ctx.exit(run_screen(desk))
    else:
        say("\n".join(status_lines(desk.status())))


def is_terminal() -> bool:
    """Whether a person sits at all three ends: a Textual app without a terminal never ends, and it draws on standard error."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) and os.environ.get("TERM") != "dumb"


def run_screen(desk: Desk) -> int:
    """The screen, until it is left. Returns the exit code."""
    from console.tui.app import run_console  # noqa: PLC0415 -- 250 ms that no command needs

    desk.watch_status_page()
    return run_console(desk)
