"""Durations as people write them ("30m", "1h30m", "90s") and read them ("14m", "2d"). Pure."""

from __future__ import annotations

import re
from typing import Final

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART: Final = re.compile(r"(\d{1,9})([smhdw])")
_WHOLE: Final = re.compile(r"(?:\d{1,9}[smhdw])+")

MAX_S: Final = 10 * 365 * 86400


def parse_duration_s(text: str) -> int:
    """Seconds of "90s", "30m", "1h30m", "2d". Raises ValueError with a sentence that says what is accepted."""
    cleaned = text.strip().lower()
    if not _WHOLE.fullmatch(cleaned):
        raise ValueError(f"{text!r} is not a duration: write a number and a unit, such as 90s, 30m, 1h30m or 2d")
    seconds = sum(int(number) * _UNITS_S[unit] for number, unit in _PART.findall(cleaned))
    if not 0 < seconds <= MAX_S:
        raise ValueError(f"{text!r} is out of range: between 1s and {MAX_S // 86400}d")
    return seconds


def age(seconds: float) -> str:
    """A rounded age in one unit: "now", "42 s", "14 m", "3 h", "9 d"."""
    if seconds < 1:
        return "now"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def ago(seconds: float) -> str:
    """The same for a moment in the past: "just now", "42 s ago"."""
    return "just now" if seconds < 1 else f"{age(seconds)} ago"
