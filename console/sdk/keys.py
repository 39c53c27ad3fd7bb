"""The API keys of targets that have one of their own: where they are is configured, what they say is read here and not kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from console.errors import ConfigError, Mistake
from console.store.files import read_regular

LARGEST: Final = 10_000


def read_key(reference: str) -> str:
    """The key behind `env:NAME` or `file:PATH`. Raises ConfigError when there is none; the message holds no part of it."""
    kind, _, where = reference.partition(":")
    if kind == "env":
        key = os.environ.get(where, "")
    else:
        try:
            key = read_regular(Path(where).expanduser(), LARGEST)
        except (OSError, UnicodeError) as error:
            raise ConfigError((Mistake(where, 0, 0, f"the API key cannot be read: {type(error).__name__}"),)) from None
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError((Mistake(reference, 0, 0, "no API key is there"),))
    return key
