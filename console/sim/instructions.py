"""What a system prompt asks of an answer, found by the phrases that carry it. Pure: text in, values out.

A simulated model cannot understand a prompt, but it can do what a prompt says in so many words: answer in the customer's
language or in English, name order numbers or spare the customer numbers, keep to rules or confirm whatever is asked for.
So a prompt that asks for something unwise gets the answers that it asks for, and no version of a prompt is known by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_NUMBERS: Final = {
    "one": 1, "a single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
}  # fmt: skip
_LANGUAGES: Final = {"english": "en", "german": "de", "french": "fr", "spanish": "es"}

_COUNT = rf"(?:{'|'.join(_NUMBERS)}|\d{{1,2}})"
_SENTENCES = re.compile(rf"\b({_COUNT})(?: ?(?:to|or|-|–) ?({_COUNT}))?(?: short| plain)? sentences?\b", re.I)
_ONE_SENTENCE = re.compile(r"\bbriefly\b|as short as possible|ein(?:em|en) Satz", re.I)
_TWO_SENTENCES = re.compile(r"\bbe (?:very )?brief\b|\bkeep (?:it|your answers?|answers|replies) (?:short|brief)\b", re.I)

_ASKERS_LANGUAGE = re.compile(r"'s (?:own )?language|\blanguage of the|\bsame language|\blanguage (?:that )?(?:they|the)", re.I)
_NAMED_LANGUAGE = re.compile(r"\b(?:in|use|write|only|always) (?:[\w-]+,? ){0,3}?(English|German|French|Spanish)\b", re.I)

_SPARE = (
    r"(?:\b(?:do not|don't|never|avoid)\b[^.;:!?]{0,20}?\b(?:burden|bother|mention|quot|repeat|cit|list|explain|nam|bor)\w*"
    r"|\b(?:without|leave out|omit|skip|spare)\b)[^.;:!?]{0,60}?"
)
_SPARES_NUMBERS = re.compile(_SPARE + r"\b(?:numbers?|figures|references?)\b", re.I)
_SPARES_RULES = re.compile(_SPARE + r"\b(?:rules?|polic(?:y|ies)|conditions?|terms|deadlines?|fine print)\b", re.I)
_SPARES_QUOTES = re.compile(_SPARE + r"\b(?:messages?|questions?|words) back\b", re.I)
_NAMES_NUMBERS = re.compile(r"\b(?:name|give|quote|mention|repeat|state)\b[^.;:!?]{0,40}\b(?:numbers?|references?)\b", re.I)
_ASKS_NOTHING = re.compile(r"\b(?:do not|don't|never|without|avoid) ask(?:ing)?\b", re.I)
_AGREES = re.compile(
    r"\b(?:confirm|grant|accept|agree (?:to|with)|say yes to)\b[^.;:!?]{0,30}\b(?:ask|want|wish|request|demand)"
    r"|\b(?:resolve|settle|close)\b[^.;:!?]{0,30}\b(?:at once|immediately|right away)",
    re.I,
)
_PROMISES_NOTHING = re.compile(r"\b(?:do not|don't|never) (?:promise|offer|grant)\b", re.I)
_CHEERFUL = re.compile(r"\b(?:positive|upbeat|cheerful|enthusias\w+|optimis\w+)\b", re.I)
_THOROUGH = re.compile(r"\b(?:every|each|all) (?:the )?(?:points?|questions?)\b", re.I)
_SETTLES_DOUBT = re.compile(r"\b(?:if|when) (?:two|several|more than one|in doubt)\b", re.I)


@dataclass(frozen=True, slots=True)
class Instructions:
    """What a system prompt asks for. A None is something that it leaves to the model."""

    language: str | None = None
    """`en`, `de`, `fr` or `es` for everybody; None: that of the question."""
    most_sentences: int | None = None
    names_numbers: bool | None = None
    """Whether the order or invoice number of the question is named in the answer."""
    states_rules: bool = True
    """Whether the answer may tell how a thing is done: terms, deadlines, steps."""
    quotes: bool = True
    """Whether the question is taken up in its own words."""
    asks_back: bool = True
    agrees: bool = False
    """Whether it confirms what is asked for, whatever the rules say."""
    is_cheerful: bool = False
    is_thorough: bool = False
    settles_doubt: bool = False
    """Whether it says what to do when two labels fit."""


@lru_cache(maxsize=64)
def instructions_in(system: str) -> Instructions:
    """The instructions in a system prompt, however its lines are broken. Never raises."""
    text = " ".join(system.replace("’", "'").split())
    spares_numbers = bool(_SPARES_NUMBERS.search(text))
    return Instructions(
        language=_language(text),
        most_sentences=_most_sentences(text),
        names_numbers=False if spares_numbers else True if _NAMES_NUMBERS.search(text) else None,
        states_rules=not _SPARES_RULES.search(text),
        quotes=not _SPARES_QUOTES.search(text),
        asks_back=not _ASKS_NOTHING.search(text),
        agrees=bool(_AGREES.search(text)) and not _PROMISES_NOTHING.search(text),
        is_cheerful=bool(_CHEERFUL.search(text)),
        is_thorough=bool(_THOROUGH.search(text)),
        settles_doubt=bool(_SETTLES_DOUBT.search(text)),
    )


def _language(text: str) -> str | None:
    """A language that is named holds for everybody, unless the asker's own is wanted and the name is only the exception."""
    named = None if _ASKERS_LANGUAGE.search(text) else _NAMED_LANGUAGE.search(text)
    return _LANGUAGES[named.group(1).lower()] if named else None


def _most_sentences(text: str) -> int | None:
    """The upper end of the first number of sentences, or what a wish for brevity comes to."""
    found = _SENTENCES.search(text)
    if found:
        last = (found.group(2) or found.group(1)).lower()
        return max(1, _NUMBERS.get(last) or int(last))
    if _ONE_SENTENCE.search(text):
        return 1
    return 2 if _TWO_SENTENCES.search(text) else None
