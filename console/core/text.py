"""Text from outside made safe to show: one type, two makers. Pure; standard library only; nothing here knows a
terminal.

A model's output, a customer's name or an error message can hold bytes that a terminal obeys, characters that reorder
or hide their neighbours, or ten megabytes. `line` and `block` turn anything into text that can do none of this, and
mark with `·` what they took out: somebody who was attacked should see that.

Both are idempotent, never raise, and look at no more than they may show, so the size of the input costs nothing.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final
from unicodedata import category, combining

LINE_LIMIT: Final = 200
BLOCK_LINES: Final = 200
BLOCK_LIMIT: Final = 20_000

MARK: Final = "·"
"""Stands for a character that was taken out."""
CUT: Final = "…"
"""Stands for text that was left out."""

_MARKS_PER_BASE: Final = 2
"""Vietnamese and Hebrew stack two marks on a letter; what stacks more wants to leave its cell."""
_LOOK_AHEAD: Final = 8
"""Characters looked at for each that may be shown: room for marks that are dropped."""

_BREAKS: Final = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_LINE_END: Final = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")

_DECEPTIVE: Final = frozenset(
    (
        0x034F,  # combining grapheme joiner: invisible
        0x115F,  # Hangul fillers: letters without ink
        0x1160,
        0x3164,
        0xFFA0,
        0x17B4,  # Khmer vowels without ink
        0x17B5,
        *range(0x180B, 0x1810),  # Mongolian variation selectors
        *range(0xFE00, 0xFE10),  # variation selectors: terminals disagree about the width they make
        *range(0xE0100, 0xE01F0),
        *range(0x1F1E6, 0x1F200),  # regional indicators: two make one flag in some terminals
        *range(0x1F3FB, 0x1F400),  # skin tones: they join the cell before them, or do not
    )
)
"""Printable by their category, but invisible or of a width on which no two terminals agree."""


class SafeText(str):
    """Text that `line` or `block` has made. As a type it says: this may meet a widget."""

    __slots__ = ()


def line(raw: object, limit: int = LINE_LIMIT) -> SafeText:
    """`raw` as one line of at most `limit` characters (at least one), ending in `…` when something was left out.

    Line breaks become `·`, tabs and exotic spaces a space. Never raises.
    """
    text = _as_str(raw)
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text if isinstance(text, SafeText) else SafeText(text)
    limit = max(limit, 1)
    head = text[: limit * _LOOK_AHEAD]
    clean = _clean(head.replace("\r\n", "\n"))
    if len(clean) > limit or len(head) < len(text):
        clean = clean[: limit - len(CUT)].removesuffix(CUT) + CUT
    return SafeText(clean)


def block(raw: object, lines: int = BLOCK_LINES, limit: int = BLOCK_LIMIT) -> SafeText:
    """`raw` as at most `lines` lines of at most `limit` characters in all; what was left out is said on a line of its
    own.

    Lines are separated by a newline. Never raises.
    """
    text = _as_str(raw)
    head = text[:limit]
    found = [head[start:end] for start, end in islice(_line_spans(head), lines + 1)]
    shown = [line(part, limit) for part in found[:lines]]
    if len(head) < len(text) or len(found) > lines:
        note = f"{CUT} cut here: {len(text):,} characters in all"
        shown = [*shown[: max(lines - 1, 0)], line(note)]
    return SafeText("\n".join(shown))


def _as_str(raw: object) -> str:
    if isinstance(raw, str):
        return raw
    try:
        return str(raw)
    except Exception:  # noqa: BLE001 - somebody else's __str__ may raise anything
        return MARK


def _line_spans(text: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for end in _LINE_END.finditer(text):
        spans.append((start, end.start()))
        start = end.end()
    spans.append((start, len(text)))
    return spans


def _clean(text: str) -> str:
    out: list[str] = []
    stacked = 0
    for char in text:
        is_mark = combining(char) != 0 or category(char) in {"Mn", "Me"}
        stacked = stacked + 1 if is_mark else 0
        if is_mark and (stacked > _MARKS_PER_BASE or not out) and ord(char) not in _DECEPTIVE:
            continue
        out.append(_shown(char))
    return "".join(out)


def _shown(char: str) -> str:
    """What stands for `char`. `isprintable` is false for controls, formats, surrogates, private use, unassigned and
    every space but the ordinary one."""
    if char.isprintable():
        return MARK if ord(char) in _DECEPTIVE else char
    if char in _BREAKS:
        return MARK
    if char == "\t" or category(char) == "Zs":
        return " "
    return MARK
