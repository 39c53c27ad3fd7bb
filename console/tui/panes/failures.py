"""The last failures in rows: when, status, kind, where, and the request id that support asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from console.core.text import line
from console.tui import words
from console.tui.cells import Cells, Row, clipped, row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from console.ops.views import FailureView

Where = Literal["target", "feature"]
_NARROW: Final = 62
"""Below this there is no space for where, which the heading says for most."""
_WIDE: Final = 96


def failure_rows(failures: Iterable[FailureView], now_us: int, width: int, *, where: Where) -> list[Row]:
    """Head and one row each, newest first; one sentence when there is none. `where`: what the heading does not say."""
    found = list(failures)
    if not found:
        return [row(("no failed attempt is recorded", "dim"))]
    kind = min(max(10, *(len(line(one.error, 40)) for one in found)), 18 if width < _WIDE else 28) + 1
    head = Cells().cell("failed at", 10, "dim").cell("", 4).cell("kind", kind, "dim")
    if width >= _NARROW:
        head.cell(where, 13, "dim")
    if width >= _WIDE:
        head.cell("after", 8, "dim", "right").cell("", 2)
    titles = clipped(head.put("request id", "dim").row(), width)
    return [titles, *(_failure_row(one, now_us, width, kind, where) for one in found)]


def _failure_row(failure: FailureView, now_us: int, width: int, kind: int, where: Where) -> Row:
    status = words.NONE if failure.status is None else str(failure.status)
    cells = Cells().cell(words.moment(failure.at, now_us), 10).cell(status, 4, "bold")
    cells.cell(failure.error, kind - 1).cell("", 1)
    if width >= _NARROW:
        cells.cell(failure.target if where == "target" else failure.feature, 12).cell("", 1)
    if width >= _WIDE:
        cells.cell(words.latency(failure.latency_ms), 8, "", "right").cell("", 2)
    return clipped(cells.put(line(failure.request_id or words.NONE, 60), "dim").row(), width)


def last_words(failures: tuple[FailureView, ...], now_us: int) -> str:
    """The newest in a few words: "529 overloaded_error <1m ago"; nothing when there is none."""
    if not failures:
        return ""
    last = failures[0]
    status = "" if last.status is None else f"{last.status} "
    return f"{status}{line(last.error, 40)} {words.ago(last.at, now_us)} ago"
