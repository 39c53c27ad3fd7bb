"""The files that travel with the package (prices, sample prompts, playbooks), found alike in a checkout and in a wheel."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(kind: Literal["data", "prompts", "playbooks"]) -> Path:
    """The directory of a kind of shipped file. In a wheel they are inside the package, in a checkout beside it."""
    inside = _PACKAGE / "_data" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


@cache
def shipped_text(kind: Literal["data", "prompts", "playbooks"], name: str) -> str:
    """The text of one shipped file."""
    return (shipped(kind) / name).read_text(encoding="utf-8")
