"""One line of typed text. Textual's own input blinks (580 B/s), copies on ctrl+c and takes any character; this does
none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import SafeText, line
from console.tui.cells import Cells, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.tui.cells import Role

LIMIT: Final = 200

_Edit = tuple[str, int]
"""Text and cursor after an edit."""


class Entry:
    """Text and a cursor. Not a widget: a screen draws `row()` in one of its lines."""

    def __init__(self, text: str = "") -> None:
        self._text = str(line(text, LIMIT)) if text else ""
        self._at = len(self._text)

    @property
    def text(self) -> SafeText:
        return line(self._text, LIMIT)

    def press(self, key: str, character: str | None) -> bool:
        """Edit; whether the key meant something here."""
        edit = _EDITS.get(key)
        if edit is not None:
            self._text, self._at = edit(self._text, self._at)
            return True
        if character is not None and len(character) == 1 and character.isprintable():
            self.insert(character)
            return True
        return False

    def insert(self, raw: str) -> None:
        """Put text at the cursor, made safe; what is too long is left out."""
        safe = line(raw, max(LIMIT - len(self._text), 1)) if len(self._text) < LIMIT else ""
        self._text = self._text[: self._at] + safe + self._text[self._at :]
        self._at += len(safe)

    def row(self, width: int, *, label: str = "", hint: str = "", is_active: bool = False) -> Row:
        """The line to draw: label, text, a cursor when active, the hint when empty."""
        cells = Cells().put(label, "bold" if is_active else "dim")
        room = max(width - len(label) - 2, 1)
        start = max(self._at - room + 1, 0)
        before, after = self._text[start : self._at], self._text[self._at : start + room]
        role: Role = "" if is_active else "dim"
        cells.put(before, role)
        if is_active:
            cells.put("▏", "key")
        cells.put(after, role)
        if not self._text and hint:
            cells.put(hint, "dim")
        return cells.row()


def _erase(text: str, at: int) -> _Edit:
    return text[: max(at - 1, 0)] + text[at:], max(at - 1, 0)


def _erase_word(text: str, at: int) -> _Edit:
    kept = text[:at].rstrip().rpartition(" ")
    before = kept[0] + kept[1]
    return before + text[at:], len(before)


_EDITS: Final[dict[str, Callable[[str, int], _Edit]]] = {
    "backspace": _erase,
    "ctrl+h": _erase,
    "ctrl+w": _erase_word,
    "delete": lambda text, at: (text[:at] + text[at + 1 :], at),
    "left": lambda text, at: (text, max(at - 1, 0)),
    "right": lambda text, at: (text, min(at + 1, len(text))),
    "home": lambda text, at: (text, 0),
    "ctrl+a": lambda text, at: (text, 0),
    "end": lambda text, at: (text, len(text)),
    "ctrl+e": lambda text, at: (text, len(text)),
    "ctrl+u": lambda text, at: (text[at:], 0),
    "ctrl+k": lambda text, at: (text[:at], at),
}
