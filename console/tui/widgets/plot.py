"""Plots as rows: a braille trend on a fixed scale, and a spark of one line. Pure.

A scale that follows the data makes 0.82 to 0.94 look like a collapse. So the top of a scale is one of a few round
numbers, the bottom is zero, and both stand at the axis. A gap in the data is a gap in the plot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.tui.cells import Cells, Role, Row, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille cell, by column and by row from the top."""
_BRAILLE: Final = 0x2800
_LABEL: Final = 7
_GAP: Final = "·"

RATE_TOPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LATENCY_TOPS: Final = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000)
COUNT_TOPS: Final = tuple(base * 10**power for power in range(7) for base in (1, 2, 5))

Values = tuple[float | None, ...]


def top_of(values: Sequence[float | None], tops: Sequence[float], at_least: float = 0.0) -> float:
    """The smallest of `tops` that holds every value and `at_least`."""
    highest = max((value for value in values if value is not None), default=0.0)
    need = max(highest, at_least)
    return next((top for top in tops if top >= need), need)


def sampled(values: Sequence[float | None], columns: int) -> list[float | None]:
    """Exactly `columns` values, the newest at the right; each is the worst (highest) of those that share its column."""
    if columns <= 0:
        return []
    if len(values) <= columns:
        return [*([None] * (columns - len(values))), *values]
    out: list[float | None] = []
    for column in range(columns):
        part = values[column * len(values) // columns : (column + 1) * len(values) // columns]
        known = [value for value in part if value is not None]
        out.append(max(known) if known else None)
    return out


def stretched(values: Sequence[float | None], columns: int) -> list[float | None]:
    """Exactly `columns` values over the whole width: sampled when there are more, held when there are fewer."""
    if columns <= 0 or not values or len(values) >= columns:
        return sampled(values, columns)
    return [values[column * len(values) // columns] for column in range(columns)]


def spark(values: Sequence[float | None], width: int, top: float) -> str:
    """One line of blocks between zero and `top`; a gap is a dot."""
    cells = []
    for value in stretched(values, width):
        if value is None:
            cells.append(_GAP)
            continue
        level = min(max(value / top if top else 0.0, 0.0), 1.0)
        cells.append(_BLOCKS[min(int(level * len(_BLOCKS)), len(_BLOCKS) - 1)])
    return "".join(cells)


def trend(
    values: Sequence[float | None],
    width: int,
    height: int,
    *,
    top: float,
    label: Callable[[float], str],
    threshold: float | None = None,
    marks: Sequence[int] = (),
    since: str = "",
    role: Role = "info",
) -> list[Row]:
    """`height` rows of `width` cells: axis with labels, braille data, a dashed threshold, `▼` over marked columns'
    steps.

    `marks` are indexes into `values`. Cells above the threshold are shown in the alarm's colour.
    """
    columns, plot_height = width - _LABEL - 2, height - 1
    if columns < 4 or plot_height < 1:
        return []
    dots = _braille(stretched(values, columns * 2), columns, plot_height, top)
    dashed = None if threshold is None else _row_of(threshold, plot_height, top)
    rows = []
    for y in range(plot_height):
        tick = label(top) if y == 0 else label(threshold) if y == dashed and threshold is not None else ""
        cells = Cells().cell(tick, _LABEL, "dim", "right").put("┤" if tick else "│", "dim")
        is_alarm = dashed is not None and y < dashed
        for char in dots[y]:
            if char == " " and y == dashed:
                cells.put("╌", "dim")
            else:
                cells.put(char, "crit" if is_alarm else role)
        rows.append(cells.row())
    rows.append(_axis(columns, len(values), marks, since, label(0)))
    return rows


def _axis(columns: int, count: int, marks: Sequence[int], since: str, zero: str) -> Row:
    line = list(fit(since, columns - 4) + " now" if columns > len(since) + 4 else " " * columns)
    for mark in marks:
        if 0 <= mark < count:
            line[min(mark * columns // count, columns - 1)] = "▼"
    return Cells().cell(zero, _LABEL, "dim", "right").put("└", "dim").put("".join(line), "dim").row()


def _row_of(value: float, height: int, top: float) -> int:
    return min(max(height - 1 - int(value / top * height), 0), height - 1) if top else height - 1


def _braille(values: Sequence[float | None], columns: int, height: int, top: float) -> list[str]:
    """Dots joined vertically from one value to the next, so that a spike is seen."""
    grid = [[0] * columns for _ in range(height)]
    last = height * 4 - 1
    before: int | None = None
    for x, value in enumerate(values):
        if value is None:
            before = None
            continue
        y = last - min(max(round(value / top * last) if top else 0, 0), last)
        low, high = (y, y) if before is None else (min(y, before), max(y, before))
        for step in range(low, high + 1):
            grid[step // 4][x // 2] |= _DOTS[x % 2][step % 4]
        before = y
    return ["".join(chr(_BRAILLE + bits) if bits else " " for bits in row) for row in grid]
