"""What goes over the line when a few cells change: from the first changed cell to the last, and no more.

Textual repaints a row from the left edge of its widget: 225 bytes for one number. The widget says exactly which cells
it changed, so this starts there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.control import Control
from textual._compositor import ChopsUpdate, CompositorUpdate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class TightUpdate(CompositorUpdate):
    """A partial update of Textual, cropped at both ends. No line ends: each part is placed by itself."""

    def __init__(self, update: ChopsUpdate) -> None:
        self._update = update

    def render_segments(self, console: Console) -> str:
        update, parts = self._update, []
        for y, first, end in update.spans:
            for chop_end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                start, stop = max(x, first), min(chop_end, end)
                if strip is None or start >= stop:
                    continue
                parts.append(Control.move_to(start, y).segment.text)
                parts.append(strip.crop(start - x, stop - x).render(console))
        return "".join(parts)


def tightened(renderable: RenderableType | None) -> RenderableType | None:
    """`renderable`, tight where it is a partial update."""
    return cast("RenderableType", TightUpdate(renderable)) if isinstance(renderable, ChopsUpdate) else renderable
