"""The net below everything: one filter through which each line goes before it is painted.

Text is made safe where it enters (`console.core.text`). This is for what was forgotten: it takes control characters and
deceptive ones out of segments, drops links, click actions and foreign control codes, and, where the terminal cannot
show UTF-8, draws our glyphs with ASCII.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rich.segment import Segment
from textual.filter import LineFilter

from console.core.text import MARK, line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.style import Style
    from textual.color import Color

_ASCII: Final = str.maketrans(
    {
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛", "+"),
        **dict.fromkeys("─━╌╍", "-"),
        **dict.fromkeys("│┃╎", "|"),
        **dict(zip("▁▂▃▄▅▆▇█", "__..--##", strict=True)),
        **dict(zip("●▲■○▶▷▼·…–→↑↓✓×¦▸░", "*!#o>-v.~->^v+x|>:", strict=True)),
        "≤": "<",
    }
)
_BRAILLE: Final = 0x2800
_UPPER_DOTS: Final = 0b00011011
_LOWER_DOTS: Final = 0b11100100


def is_ascii_only(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to draw with ASCII: the stream cannot encode UTF-8, the terminal has no such font, or the locale says
    plain C.

    Python itself sets LC_CTYPE=C.UTF-8 when it finds the C locale, so that variable alone proves nothing.
    """
    encoding = (getattr(sys.__stderr__, "encoding", None) or "ascii").lower().replace("-", "")
    if encoding not in {"utf8", "utf16", "utf32"}:
        return True
    if environ.get("TERM", "") in {"dumb", "linux", "vt100", "vt102", "vt220"}:
        return True
    named = environ.get("LC_ALL") or environ.get("LANG") or ""
    return named in {"C", "POSIX"}


class SafeFilter(LineFilter):
    """Textual applies it to every line of every widget, borders and titles included. Keeps the width of each
    segment."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._ascii_only = ascii_only

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(self._text(text), _plain(style) if style is not None else None)
            for text, style, control in segments
            if not control
        ]

    def _text(self, text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        safe = "".join(char if char.isprintable() else _replaced(char) for char in text)
        return safe if not self._ascii_only else to_ascii(safe)


def to_ascii(text: str) -> str:
    """`text` with our glyphs drawn in ASCII and everything else beyond ASCII as a question mark."""
    return "".join(map(_ascii, text.translate(_ASCII)))


def _ascii(char: str) -> str:
    code = ord(char)
    if code < 128:
        return char
    if _BRAILLE <= code < _BRAILLE + 256:
        dots = code - _BRAILLE
        return " '.:"[bool(dots & _UPPER_DOTS) + 2 * bool(dots & _LOWER_DOTS)]
    return "?"


def _replaced(char: str) -> str:
    return line(char)[:1] or MARK


@lru_cache(1024)
def _plain(style: Style) -> Style:
    """`style` without a link and without click or hover actions."""
    if style.link is None and not any(key.startswith("@") for key in style.meta):
        return style
    return style.clear_meta_and_links()
