"""Where a continued answer meets what was said before it: how the next model is asked to go on, and which of its first words
are a repetition. Pure: text in, text out.

The next model cannot be made to go on in the middle of a word: recent models refuse a request that ends in an assistant turn,
so what has come stands in an assistant turn of its own and a user turn asks for the rest, to be begun with the last words,
quoted. Some models then repeat them, some quote them, some go on at once, some begin a sentence or the whole answer again. What
they say first is held until it is clear which; only a repetition that reaches to the very end of what was said is dropped, for
anything else would tear a hole. What is held is never more than was said before.
"""

from __future__ import annotations

import re
from typing import Final

QUOTED_WORDS: Final = 5
QUOTED_CHARACTERS: Final = 60
"""So much of the end is quoted: enough to be found again, and little to repeat."""
FEW_WORDS: Final = 3
"""So many of them in quotes are a repetition."""
QUOTED_UNSPACED: Final = 20
"""Characters, in a script that puts no spaces between words."""

_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, Chinese and Japanese."""
_IS_UNSPACED: Final = re.compile(f"[{_UNSPACED}]")
_IS_SPACED: Final = re.compile(rf"(?![{_UNSPACED}])\w")
_SPACE: Final = re.compile(r"\s+")
_DRESSING: Final = re.compile(r"(?:[\"'`“”„«»‘’…\s]|\.\.\.)+")
"""What some put around a quotation, or before one."""
_CLOSING: Final = "\"'`”“»«’‘"


def ask_to_go_on(words: str) -> str:
    """The user turn that asks for the rest of an answer that ended with `words`."""
    return (
        "Your answer was cut off. Go on exactly where it stopped, as if nothing had happened: without any comment, and without "
        f'saying again what was said before. Begin with its last words, so that the place can be found: "{words}"'
    )


def last_words(said: str) -> str:
    """The last five words or 60 characters, whichever is less, on one line; whole words where there are any so short."""
    words = _flat(said[-10 * QUOTED_CHARACTERS :]).split(" ")[-QUOTED_WORDS:]
    while len(words) > 1 and len(" ".join(words)) > QUOTED_CHARACTERS:
        del words[0]
    last = " ".join(words)[-QUOTED_CHARACTERS:]
    return last[-QUOTED_UNSPACED:].lstrip() if _IS_UNSPACED.search(last) else last


class Seam:
    """Takes the beginning of a continuation until it is clear how much of it repeats the end of `said` (with the white space at
    its end, if there is any), and gives what is new.

    A repetition is: the new text begins with the quoted last words, or else with the whole of `said` from some word of it to
    its end, of which the longest counts. (Where a text repeats itself both can be; then the model did as it was asked.) White
    space may differ. When it has three words it may also stand in quotes, or begin in another case. A single word
    counts only when it is a word in both texts ("is" is not repeated by "island").
    """

    __slots__ = ("_end", "_exact", "_held", "_last", "_loose")

    def __init__(self, said: str) -> None:
        flat = _flat(said)
        quoted = len(flat) - len(last_words(said))
        few = len(flat) - len(" ".join(flat.rsplit(" ", FEW_WORDS)[-FEW_WORDS:]))
        self._end = said[len(said.rstrip()) :]
        self._last = flat[-1:]
        self._held: list[str] = []
        self._exact = _Overlap(flat, quoted, len(flat), is_loose=False)
        self._loose = _Overlap(flat, quoted, max(quoted, few), is_loose=True)

    def take(self, text: str) -> str | None:
        """The next of the new text. None: nothing can be handed on yet; else what is new so far, and the seam is done with."""
        self._held.append(text)
        self._exact.take(text)
        self._loose.take(text)
        return self._decide(is_end=False)

    def end(self) -> str:
        """The new text has ended: what of it is new, perhaps nothing."""
        return self._decide(is_end=True) or ""

    def _decide(self, *, is_end: bool) -> str | None:
        for overlap in (self._exact, self._loose):
            if overlap.is_open and not is_end:
                return None
            length = overlap.length(is_end=is_end)
            if length:
                return self._behind(overlap.dressing, length, is_end=is_end)
        return self._joined("".join(self._held), is_end=is_end, is_exact=False)

    def _behind(self, dressing: str, length: int, *, is_end: bool) -> str | None:
        """What comes behind a repetition of so many flat characters, and behind the quotes around it."""
        held = "".join(self._held)
        rest = held[_raw_length(held, dressing, length) :]
        is_dressed = not dressing.isspace() and dressing != ""
        if is_dressed and rest[:1] and rest[0] in _CLOSING:
            rest = rest[1:]
        return self._joined(rest, is_end=is_end, is_exact=not is_dressed)

    def _joined(self, rest: str, *, is_end: bool, is_exact: bool) -> str | None:
        """The new text, as it goes behind what was said. White space that was said already is not said again: the model has not
        seen it, since an assistant turn must not end in any. A space is put between two words, since a new turn begins without
        one, and pieces of a stream end where a token ends; behind repeated words the place is exact, and may be in a word."""
        new = rest.lstrip()
        if not new and not is_end:
            return None
        space = rest[: len(rest) - len(new)]
        if self._end and space:
            space = space.removeprefix(self._end) if space.startswith(self._end) or "\n" in space else ""
        elif not self._end and not space and not is_exact and _is_spaced(self._last) and _is_spaced(new[:1]):
            space = " "
        return space + new


class _Overlap:
    """Which ends of `said`, which is flat, a text that comes in pieces begins with. Ends begin at a word or at `quoted`, and
    not behind `latest`; the one at `quoted` goes before all others. Loose: what is put before a quotation does not count, nor
    does the case of the first letter."""

    __slots__ = ("_head", "_is_loose", "_latest", "_pieces", "_quoted", "_said", "_size", "_waiting", "_whole", "dressing")

    def __init__(self, said: str, quoted: int, latest: int, *, is_loose: bool) -> None:
        self._said, self._quoted, self._latest, self._is_loose = said, quoted, latest, is_loose
        self._waiting: list[int] | None = None
        """Where ends begin that the text agrees with so far without having come to their end; None: it has not begun."""
        self._whole: list[int] = []
        """Where ends begin that the text has repeated."""
        self._pieces: list[str] = []
        """The text, made flat."""
        self._size = 0
        self._head = ""
        self.dressing = ""
        """What stands before the repetition."""

    def take(self, text: str) -> None:
        """The next piece."""
        if self._waiting is None:
            self._head += text
            before = (_DRESSING if self._is_loose else _SPACE).match(self._head)
            text = self._head[before.end() :] if before else self._head
            if not text.strip("." if self._is_loose else ""):  # a point may become three
                return
            self.dressing = self._head[: len(self._head) - len(text)]
            self._waiting = self._starts(text[0])
        text = _SPACE.sub(" ", text)
        if self._pieces and self._pieces[-1].endswith(" "):
            text = text.removeprefix(" ")
        if text:
            self._compare(text)

    def _starts(self, first: str) -> list[int]:
        said, found = self._said, []
        for letter in {first, first.lower()[:1], first.upper()[:1]} if self._is_loose else {first}:
            at = said.find(letter)
            while 0 <= at <= self._latest:
                if at == self._quoted or _begins_word(said, at):
                    found.append(at)
                at = said.find(letter, at + 1)
        return found

    def _compare(self, text: str) -> None:
        said, size = self._said, self._size
        first = 0 if self._pieces else 1  # the first letter has been compared
        still: list[int] = []
        for start in self._waiting or ():
            left = len(said) - start - size
            if said.startswith(text[first:left], start + size + first):
                (still if left > len(text) else self._whole).append(start)
        self._waiting = still
        self._size += len(text)
        self._pieces.append(text)

    @property
    def is_open(self) -> bool:
        """Whether more text may show a longer repetition, or that the one that is there is none."""
        if self._waiting is None:
            return True
        if not self._whole:
            return bool(self._waiting)
        best = self._ranked()[0]
        is_outdone = best != self._quoted and any(start < best or start == self._quoted for start in self._waiting)
        return is_outdone or self._size <= len(self._said) - best

    def length(self, *, is_end: bool) -> int:
        """Characters of the flat text that are a repetition, 0 for none."""
        text = "".join(self._pieces) if self._whole else ""
        for start in self._ranked():
            overlap = self._said[start:]
            following = text[len(overlap) : len(overlap) + 1]
            if (following or is_end) and (start == self._quoted or _counts(overlap, following)):
                return len(overlap)
        return 0

    def _ranked(self) -> list[int]:
        return sorted(self._whole, key=lambda start: (start != self._quoted, start))


def _counts(overlap: str, following: str) -> bool:
    """Whether this is a repetition, and not a coincidence of a few letters."""
    if _IS_UNSPACED.search(overlap):
        return len(overlap) > 1
    if not re.search(r"\w", overlap):
        return False
    return " " in overlap or not (_is_spaced(overlap[-1]) and _is_spaced(following))


def _begins_word(text: str, at: int) -> bool:
    if at == 0 or text[at - 1] == " " or _IS_UNSPACED.match(text[at]):
        return True
    before = text[at - 1]
    if before in "'’":
        return at == 1 or not text[at - 2].isalnum()
    return _is_spaced(text[at]) and not _is_spaced(before)


def _is_spaced(letter: str) -> bool:
    """Whether it is of a word, in a script that puts spaces between words."""
    return _IS_SPACED.match(letter) is not None


def _flat(text: str) -> str:
    return " ".join(text.split())


def _raw_length(text: str, dressing: str, flat_length: int) -> int:
    """How many characters of `text` the first `flat_length` flat ones behind the dressing are."""
    at = len(dressing)
    for _ in range(flat_length):
        at += 1
        if text[at - 1].isspace():
            while at < len(text) and text[at].isspace():
                at += 1
    return at
