"""The sample prompts as they are shipped, read the simple way: what the tests here render with."""

from __future__ import annotations

from string import Template
from typing import Any

from console.core.strict_yaml import read_yaml
from console.store.shipped import shipped


def parts_of(name: str, version: int) -> tuple[dict[str, Any], str]:
    """The front matter and the text of one version."""
    file = shipped("prompts") / name / f"v{version}.md"
    before, front, text = file.read_text(encoding="utf-8").split("---\n", 2)
    document = read_yaml(front, str(file))
    assert (before, document.mistakes) == ("", [])
    assert isinstance(document.value, dict)
    return document.value, text.strip()


def system_of(name: str, version: int = 2) -> str:
    """The text that an application sends."""
    return Template(parts_of(name, version)[1]).substitute(product="Acme")


class SamplePrompts:
    """Serves version 2 of every prompt, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, str | None]] = []

    def render(self, name: str, *, key: str | None = None, conversation: str | None = None, **variables: str) -> str:
        front, text = parts_of(name, 2)
        assert sorted(variables) == sorted(front["variables"])
        self.asked.append((name, key, conversation))
        return Template(text).substitute(variables)
