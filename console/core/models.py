"""Model ids: what the same model is called with a date, a version or another provider's prefix. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_SUFFIX: Final = re.compile(r"(?:[-@]\d{8})?(?:-v\d+)?(?::\d+)?$")
_PREFIX: Final = re.compile(r"^(?:[a-z]{2,10}\.)?anthropic\.")


@lru_cache(maxsize=1024)
def base_model(model: str) -> str:
    """The first-party id without a date: "claude-sonnet-5-5" for "us.anthropic.claude-sonnet-5-5-20260901-v1:0"."""
    return _SUFFIX.sub("", _PREFIX.sub("", model), count=1) or model
