"""Pane 3: latency and errors over the last half hour, for the feature under the cursor or for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.tui import words
from console.tui.cells import Cells, Row, row
from console.tui.order import ERROR_CRIT, P99_WARN_MS, STATUS_429_WARN
from console.tui.widgets import plot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from console.ops.views import StatusView

_PLOTS_FROM: Final = 12
"""Lines of height from which two plots fit beside the sparks."""
_ROOMY_FROM: Final = 16
_LABEL: Final = 10
_NUMBER: Final = 8
_HIGHEST: Final = 12
_WITH_HIGHEST_FROM: Final = 48

_Measure = tuple[str, str, "Callable[[float | None], str]", tuple[float, ...], float]
_P99: Final[_Measure] = ("p99_ms", "p99", words.latency, plot.LATENCY_TOPS, 1_000)
_ERRORS: Final[_Measure] = ("error_rate", "errors", words.rate, plot.RATE_TOPS, 0.1)
_REST: Final[tuple[_Measure, ...]] = (
    ("status_529_per_min", "529/min", words.per_min, plot.COUNT_TOPS, 10),
    ("calls_per_min", "calls/min", words.per_min, plot.COUNT_TOPS, 10),
    ("status_429_per_min", "429/min", words.per_min, plot.COUNT_TOPS, 10),
    ("p50_ms", "p50", words.latency, plot.LATENCY_TOPS, 1_000),
)


_LIMITS: Final = {"p99_ms": P99_WARN_MS, "error_rate": ERROR_CRIT, "status_429_per_min": STATUS_429_WARN}
"""Above these the spark is in the alarm's colour, as the plot is above its dashed line."""


def pane(view: StatusView, width: int, height: int) -> list[Row]:
    """Plots where there is height for them, sparks otherwise; nothing invented where nothing was recorded."""
    known = {trend.name: trend for trend in view.trends}
    values: dict[str, plot.Values] = {name: trend.values for name, trend in known.items()}
    whole = f"last {known['p99_ms'].step_s if 'p99_ms' in known else 0} s"
    if not any(value is not None for series in values.values() for value in series):
        return [row(("no calls in the last 30 minutes", "dim"))]
    if height < _PLOTS_FROM:
        measures = (_P99, _ERRORS, *_REST)
        return [_spark_row(measure, values, width) for measure in measures[:height]]
    rest = [_spark_row(measure, values, width) for measure in (_REST if height >= _ROOMY_FROM else _REST[:2])]
    each = (height - len(rest)) // 2
    marks = _marks(view, len(values.get("p99_ms", ())), known["p99_ms"].step_s if "p99_ms" in known else 0)
    return [
        *_plot_rows(_P99, values, width, each, whole, marks=marks, threshold=P99_WARN_MS),
        *_plot_rows(_ERRORS, values, width, each, whole, marks=marks, threshold=ERROR_CRIT),
        *rest,
    ]


def _spark_row(measure: _Measure, values: Mapping[str, Sequence[float | None]], width: int) -> Row:
    name, label, say, tops, least = measure
    series = values.get(name, ())
    last_whole = latest(series)
    if name.endswith("_per_min"):  # the step under way has not had its calls yet: it would be drawn as a fall
        series = series[:-1]
    top = plot.top_of(series, tops, least)
    highest = max((value for value in series if value is not None), default=None)
    last = _HIGHEST if width >= _WITH_HIGHEST_FROM else 0
    room = width - _LABEL - _NUMBER - last
    cells = Cells().cell(label, _LABEL)
    limit = _LIMITS.get(name)
    for char, value in zip(plot.spark(series, max(room, 0), top), plot.stretched(series, room), strict=True):
        cells.put(char, "crit" if limit is not None and value is not None and value > limit else "info")
    cells.cell(say(last_whole), _NUMBER, "bold", "right")
    return cells.cell(f"max {say(highest)}" if highest is not None else "", last, "dim", "right").row()


def _plot_rows(
    measure: _Measure,
    values: Mapping[str, plot.Values],
    width: int,
    height: int,
    whole: str,
    *,
    marks: Sequence[int],
    threshold: float,
) -> list[Row]:
    name, label, say, tops, least = measure
    series = values.get(name, ())
    top = plot.top_of(series, tops, least)
    caption = row((label, "bold"), f"  {whole} ", (say(latest(series)), "bold"))
    shown = threshold if threshold < top else None
    drawn = plot.trend(series, width, height - 1, top=top, label=say, threshold=shown, marks=marks, since="30m ago", role="ok")
    return [caption, *drawn]


def latest(series: Sequence[float | None]) -> float | None:
    """The newest step that is whole: the one under way, the last, is still filling."""
    return series[-2] if len(series) > 1 else None


def _marks(view: StatusView, count: int, step_s: int) -> list[int]:
    """At which step each change happened."""
    if not count or not step_s:
        return []
    start = view.at - count * step_s * 1_000_000
    steps = ((change.at - start) // (step_s * 1_000_000) for change in view.changes)
    return sorted({step for step in steps if 0 <= step < count})
