"""The README's pictures: `python -m tools.pictures` (or `make pictures`). Takes about two minutes.

Starts the demo, waits for its outage of Sonnet, works the real screen with real keys and saves what it shows, as SVG.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.ops.desk import Desk
from console.ops.views import Order
from console.sim.demo import Demo
from console.store.configuration import load_settings
from console.tui.app import ConsoleApp

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
OUTAGE_WITHIN_S: Final = 120
WIDE: Final = (160, 48)
NARROW: Final = (80, 24)


async def picture(desk: Desk, file: Path, size: tuple[int, int], *keys: str, title: str) -> None:
    """The screen after these keys."""
    app = ConsoleApp(desk)
    async with app.run_test(size=size) as pilot:
        await asyncio.sleep(2.5)
        for key in keys:
            await pilot.press(key)
            await asyncio.sleep(0.7 if len(key) > 1 or key.isupper() else 0.1)
        await asyncio.sleep(1)
        svg = app.export_screenshot(title=title)
        await asyncio.to_thread(file.write_text, svg, encoding="utf-8")
        app.exit()
    print(f"made {file.name}", flush=True)  # noqa: T201 -- a command


async def until(seen: Callable[[], bool], within_s: float) -> None:
    """Waits for something to be seen; goes on without it after `within_s`."""
    for _ in range(round(within_s)):
        if await asyncio.to_thread(seen):
            return
        await asyncio.sleep(1)


async def take(out: Path) -> None:
    """All pictures."""
    with Demo() as demo:
        desk = Desk(load_settings(demo.config))

        def has_failed_over() -> bool:
            return any(target.breakers and dict(target.breakers).get("open") for target in desk.status().targets)

        print("the demo runs; waiting for its outage ...", flush=True)  # noqa: T201
        await until(has_failed_over, OUTAGE_WITHIN_S)
        await asyncio.sleep(6)
        await picture(desk, out / "failover.svg", WIDE, title="console: Sonnet is overloaded, Haiku serves")
        await picture(desk, out / "targets.svg", (120, 30), "s", title="console: targets and their breakers")
        await picture(desk, out / "switch.svg", NARROW, "j", "M", title="console: M switches the model of a feature")
        desk.act(Order("use", prompt="support-reply", version=3), reason="shorter answers")
        await asyncio.sleep(12)
        await picture(
            desk, out / "rollback.svg", (120, 36), "slash", *"support", "enter", "B", title="console: B rolls a prompt back"
        )
        await picture(
            desk, out / "prompts.svg", (120, 30), "v", "slash", *"support", "enter", title="console: the versions of a prompt"
        )
        desk.act(Order("rollback", prompt="support-reply"), reason="answers promise refunds")
        await asyncio.sleep(12)
        await picture(desk, out / "timeline.svg", (120, 24), "t", title="console: what was done, by whom and why")
        await picture(desk, out / "overview-80x24.svg", NARROW, title="console at 80x24")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS)
    out: Path = parser.parse_args().out
    out.mkdir(exist_ok=True)
    asyncio.run(take(out))


if __name__ == "__main__":
    main()
