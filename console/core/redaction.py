"""Secrets taken out of text before it is stored. Pure.

Names (features, customers, sessions) come from the application and are stored; an application that passes a key as a customer
must not leave it in our files.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from console.core.calls import DEFAULT_FEATURE, NAME_LIMIT

if TYPE_CHECKING:
    from console.core.calls import AttemptEnd, Facts

REDACTED: Final = "[redacted]"

_SECRET: Final = re.compile(
    r"""
      sk-[A-Za-z0-9_-]{16,}                                     # API keys of Anthropic and others
    | (?:AKIA|ASIA)[A-Z0-9]{16}                                 # AWS access keys
    | gh[pousr]_[A-Za-z0-9]{30,}                                # GitHub tokens
    | xox[abprs]-[A-Za-z0-9-]{10,}                              # Slack tokens
    | AIza[A-Za-z0-9_-]{35}                                     # Google API keys
    | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*   # JSON web tokens
    | (?i:bearer\s+[A-Za-z0-9._~+/-]{16,}=*)                    # bearer headers
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE,
)


def redact(text: str) -> str:
    """The text with everything that has the form of a secret replaced by a fixed word."""
    return _SECRET.sub(REDACTED, text)


@lru_cache(maxsize=8192)
def _name(text: str | None) -> str | None:
    return None if text is None else _encodable(redact(text[: 4 * NAME_LIMIT])[:NAME_LIMIT])


@lru_cache(maxsize=4096)
def _facts(facts: Facts) -> Facts:
    return facts._replace(
        feature=_name(facts.feature) or DEFAULT_FEATURE,
        customer=_name(facts.customer),
        session=_name(facts.session),
        prompt=_name(facts.prompt),
        prompt_version=_name(facts.prompt_version),
        models=tuple(_name(model) or "unknown" for model in facts.models[:1]),
    )


def redact_name(end: AttemptEnd) -> AttemptEnd:
    """The ended attempt with its names redacted, cut to NAME_LIMIT and encodable. Names repeat, so each is looked at once."""
    return end._replace(
        facts=_facts(end.facts),
        target=_name(end.target) or "unknown",
        model_served=_name(end.model_served),
        error=_name(end.error),
        request_id=None if end.request_id is None else _encodable(end.request_id[:NAME_LIMIT]),
        stop_reason=_name(end.stop_reason),
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
