"""Secrets taken out of text before it is stored. Pure.

Names (features, customers, sessions) come from the application and are stored; an application that passes a key as a customer
must not leave it in our files.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from console.core.calls import NAME_LIMIT

if TYPE_CHECKING:
    from console.core.calls import AttemptEnd

REDACTED: Final = "[redacted]"

_SECRET: Final = re.compile(
    r"""
      # Not in the middle of a word: "task-classification" and "helpdesk-summaries" are no keys.
      (?<![A-Za-z0-9])(?:
        sk-[A-Za-z0-9_-]{16,}                                   # API keys of Anthropic and others
      | (?:AKIA|ASIA)[A-Z0-9]{16}                               # AWS access keys
      | gh[pousr]_[A-Za-z0-9]{30,}                              # GitHub tokens
      | xox[abprs]-[A-Za-z0-9-]{10,}                            # Slack tokens
      | AIza[A-Za-z0-9_-]{35}                                   # Google API keys
      | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]* # JSON web tokens
      )
    | (?i:bearer\s+[A-Za-z0-9._~+/-]{16,}=*)                    # bearer headers
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE,
)


def redact(text: str) -> str:
    """The text with everything that has the form of a secret replaced by a fixed word."""
    return _SECRET.sub(REDACTED, text)


@lru_cache(maxsize=8192)
def clean_name(text: str) -> str:
    """A name as it is stored, shown and matched: redacted, cut to NAME_LIMIT, encodable. Names repeat, so this is a look-up."""
    return encodable(redact(text[: 4 * NAME_LIMIT])[:NAME_LIMIT])


def _name(text: str | None) -> str | None:
    return None if text is None else clean_name(text)


def redact_name(end: AttemptEnd) -> AttemptEnd:
    """The ended attempt with what others have named redacted. Its facts are clean already: `Facts` holds clean names."""
    return end._replace(
        target=clean_name(end.target) or "unknown",
        model_served=_name(end.model_served),
        error=_name(end.error),
        request_id=None if end.request_id is None else encodable(end.request_id[:NAME_LIMIT]),
        stop_reason=_name(end.stop_reason),
        earlier=tuple(map(redact_name, end.earlier)),
    )


def encodable(text: str) -> str:
    """The text with what UTF-8 cannot hold (the surrogates of undecodable bytes) replaced."""
    return text.encode("utf-8", "replace").decode()
