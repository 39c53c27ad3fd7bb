"""Driving the app with a pilot and reading what it painted."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from console.tui.app import ConsoleApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from textual.pilot import Pilot

    from tests.tui.example import ExampleDesk


def painted(app: ConsoleApp) -> str:
    """The text of the top screen, as it would reach the terminal."""
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def until(app: ConsoleApp, holds: Callable[[str], bool], *, seconds: float = 5.0) -> str:
    """Wait until the painted text satisfies `holds`; it."""
    deadline = time.monotonic() + seconds
    while True:
        text = painted(app)
        if holds(text):
            return text
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s:\n{text}")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def opened(
    desk: ExampleDesk, size: tuple[int, int] = (80, 24), *, read_only: bool = False
) -> AsyncIterator[tuple[ConsoleApp, Pilot[int]]]:
    """The console with its first picture painted."""
    app = ConsoleApp(desk, read_only)
    async with app.run_test(size=size) as pilot:
        await until(app, lambda text: "reading…" not in text and text.strip() != "")
        await pilot.pause()
        yield app, pilot


async def typed(pilot: Pilot[int], text: str) -> None:
    await pilot.press(*("space" if char == " " else char for char in text))
