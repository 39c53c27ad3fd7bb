"""Numbers and times as people read them at three in the morning. Pure. None is always `–`: nothing is invented.

Coarse on purpose where a number moves by itself: an age that ticks each second would repaint an idle screen for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from console.core.text import line

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE = "–"
_US = 1_000_000


def rate(value: float | None) -> str:
    """0.0123 → "1.2 %"."""
    return NONE if value is None else f"{value * 100:.1f} %"


def per_min(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def latency(ms: float | None) -> str:
    if ms is None:
        return NONE
    if ms < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < 10_000 else f"{ms / 1000:.0f} s"


def money(usd: float | None) -> str:
    if usd is None:
        return NONE
    return f"${usd:,.2f}" if usd < 10 else f"${usd:,.0f}"


def spent(usd: float | None, budget_usd: float | None) -> str:
    """Of a day: "$41/80", "$1.2k/2k"; without a budget, or before anything is spent, as `money`."""
    if usd is None or budget_usd is None:
        return money(usd)
    return f"${_short(usd)}/{_short(budget_usd)}"


def _short(usd: float) -> str:
    """In four cells: "0", "0.42", "4.2", "41", "999", "1.2k", "120k"."""
    size, unit = (1, "") if usd < 999.5 else (1_000, "k")
    shown = usd / size
    digits = 0 if shown >= 9.95 else 1 if unit or shown >= 0.995 else 2
    text = f"{shown:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + unit


def share(value: float | None) -> str:
    """Part of all traffic."""
    return NONE if value is None else f"{value * 100:.1f} % of traffic"


def freshness(age_s: float | None) -> str:
    """The age of the data in steps of five seconds, so that a healthy screen does not tick."""
    if age_s is None:
        return "no data yet"
    return "data <5 s old" if age_s < 5 else f"data {duration(age_s - age_s % 5 if age_s < 60 else age_s)} old"


def duration(seconds: float) -> str:
    """One unit: "38 ms", "12 s", "4m", "2h", "9d"."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}m"
    return f"{seconds // 3600:.0f}h" if seconds < 86_400 else f"{seconds // 86_400:.0f}d"


def ago(at_us: int | None, now_us: int) -> str:
    """In whole minutes below an hour: "<1m"."""
    if at_us is None:
        return NONE
    seconds = max(now_us - at_us, 0) / _US
    return "<1m" if seconds < 60 else duration(seconds)


def clock(at_us: int | None) -> str:
    """UTC, marked as such: hosts and engineers are in different places."""
    if at_us is None:
        return NONE
    try:
        return datetime.fromtimestamp(at_us / _US, UTC).strftime("%H:%MZ")
    except (OverflowError, ValueError, OSError):
        return NONE


def moment(at_us: int | None, now_us: int) -> str:
    """UTC with seconds while it is of the last day, else how many days ago."""
    if at_us is None:
        return NONE
    if now_us - at_us >= 20 * 3600 * _US:
        return f"{ago(at_us, now_us)} ago"
    try:
        return datetime.fromtimestamp(at_us / _US, UTC).strftime("%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return NONE


def headroom(value: float | None) -> str:
    """What is left of a rate limit."""
    return NONE if value is None else f"{value * 100:.0f} %"


def price(usd: tuple[float, float] | None) -> str:
    """US dollars per million tokens, in and out: "$2, $10"."""
    return NONE if usd is None else f"${usd[0]:g}, ${usd[1]:g}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """1 → "1 process", 12 → "12 processes"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def until(at_us: int | None, now_us: int) -> str:
    """ "in 6 s", "now" once it is due."""
    if at_us is None:
        return NONE
    seconds = -(-(at_us - now_us) // _US)
    return f"in {duration(seconds)}" if seconds > 0 else "now"


def chain(targets: Sequence[str]) -> str:
    """ "sonnet → haiku"."""
    return " → ".join(line(target, 60) for target in targets) or NONE
