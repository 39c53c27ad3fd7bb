"""The verdict: whose fault it is, in one line, and what says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.tui.cells import Cells, Row, clipped, row, wrapped

if TYPE_CHECKING:
    from console.core.verdict import Side, Verdict
    from console.tui.cells import Role

_SIGNS: Final[dict[Side, tuple[str, Role]]] = {"well": ("●", "ok"), "unknown": ("○", "dim")}


def sign(verdict: Verdict) -> tuple[str, Role]:
    """(glyph, role)."""
    return _SIGNS.get(verdict.side, ("▲", "warn"))


def verdict_row(verdict: Verdict, width: int) -> Row:
    """One line: whose it is comes first, so that it is seen where the line is short."""
    glyph, role = sign(verdict)
    said, _, rest = line(verdict.said, 300).partition(":")
    return clipped(Cells().cell(glyph, 2, role).put(said, "bold" if verdict.is_trouble else "").put(f":{rest}").row(), width)


def evidence_rows(verdict: Verdict, width: int) -> list[Row]:
    """The line in full, and the evidence under it."""
    glyph, role = sign(verdict)
    first, *rest = wrapped(line(verdict.said, 400), max(width - 2, 10)) or [""]
    rows = [row((f"{glyph} ", role), (first, "bold" if verdict.is_trouble else "")), *(row(f"  {part}") for part in rest)]
    for said in verdict.evidence:
        rows += [row((f"  {part}", "dim")) for part in wrapped(line(said, 300), max(width - 2, 10))]
    return rows
