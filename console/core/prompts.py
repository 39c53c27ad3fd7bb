"""Prompt files as values: what one may hold, every mistake in it with its position, and filling in variables. Pure.

    ---
    description: Answers a customer's message to the shop.
    variables: [product]
    owner: support
    notes: Begins with what happens now.
    draft: true
    ---
    You are the customer support assistant for ${product}. Prices are written as $${amount} in our templates.

All keys are optional. `${name}` stands for a declared variable, `$${` for `${` itself. Nothing else is special: no attributes,
no formats, no expressions, and a value is never looked at again (`str.format` on a prompt leaked a key through
`{u.__init__.__globals__}`). The YAML library is loaded only when a file is parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from console.core.control import text_hash
from console.core.pointers import MAX_VERSION
from console.errors import MissingVariables, Mistake, PromptError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.core.strict_yaml import Document

MAX_CHARS: Final = 200_000
MAX_VARIABLES: Final = 100
MAX_ABOUT: Final = 2_000
"""Characters of a description, an owner, a note."""

RESERVED: Final = frozenset({"key", "conversation"})
"""What `render` takes for itself: a variable of that name could not be given."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_FRONT: Final = re.compile(r"---[ \t]*\r?\n(?P<front>(?:.*\n)*?)---[ \t]*(?:\r?\n|\Z)")
_USE: Final = re.compile(r"\$\$\{|\$\{(?:(?P<variable>[A-Za-z_][A-Za-z0-9_]{0,63})\})?")
_ABOUT: Final = ("description", "owner", "notes")
_KEYS: Final = (*_ABOUT, "variables", "draft")


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """One version of a prompt. `hash` is that of the whole file, `body` what is sent once it is filled in."""

    name: str
    version: int
    hash: str
    body: str
    variables: tuple[str, ...] = ()
    is_draft: bool = False
    description: str | None = None
    owner: str | None = None
    notes: str | None = None
    pieces: tuple[str, ...] = field(default=(), repr=False)
    """The body taken apart: text, variable, text, variable, …, text."""

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


def check_name(name: object) -> str:
    """The name of a prompt, if it is one: it becomes the name of a directory. Raises PromptError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        said = repr(name[:80]) if isinstance(name, str) else f"a value of type {type(name).__name__}"
        raise PromptError(f"{said} cannot be a prompt's name: use a-z, 0-9, - and _, up to 64, a letter or digit first")
    return name


def check_version(version: object) -> int:
    """The number of a version, if it is one. Raises PromptError."""
    if type(version) is not int or not 0 < version <= MAX_VERSION:
        said = version if type(version) is int else f"a value of type {type(version).__name__}"
        raise PromptError(f"{said} cannot be a version: versions are whole numbers from 1 to {MAX_VERSION}")
    return version


def parse_prompt(name: str, version: int, text: str, file: str) -> PromptVersion:
    """The version that a prompt file holds. Raises PromptError with every mistake, each as file:line:column."""
    check_name(name)
    check_version(version)
    if len(text) > MAX_CHARS:
        raise PromptError(f"{file}: longer than {MAX_CHARS} characters")
    match = _FRONT.match(text)
    if match is None:
        raise PromptError(f"{file}:1:1: begin with a line `---`, then `variables: [...]` and the like, then another line `---`")
    from console.core.strict_yaml import read_yaml  # noqa: PLC0415 -- 12 ms that an application without prompts does not need

    document = read_yaml("\n" + match["front"], file)  # the line break stands for the first `---`: positions are the file's
    front = _Front(document)
    start = match.end()
    pieces = tuple(_pieces(text, start, front, document))
    if not text[start:].strip():
        document.mistakes.append(_at(text, start, file, "the prompt has no text"))
    if document.mistakes:
        found = sorted(document.mistakes, key=lambda mistake: (mistake.line, mistake.column))
        raise PromptError("\n".join(map(str, found)))
    return PromptVersion(
        name=name,
        version=version,
        hash=text_hash(text),
        body=_trimmed((text[start:].replace("\r\n", "\n"),))[0],
        variables=front.variables,
        is_draft=front.is_draft,
        description=front.about["description"],
        owner=front.about["owner"],
        notes=front.about["notes"],
        pieces=_trimmed(pieces),
    )


class _Front:
    """What the front matter says. Mistakes go to the document's."""

    def __init__(self, document: Document) -> None:
        self._document = document
        value = document.value
        known: dict[str, object] = {}
        if isinstance(value, dict):
            known = dict(value)
        elif not document.mistakes:
            self._mistake((), "the front matter is a mapping of keys to values")
        self.is_read = not document.mistakes
        for key in known:
            if key not in _KEYS:
                self._mistake((key,), f"unknown key {key[:80]!r} (keys: {', '.join(_KEYS)})")
        self.about = {key: self._text(key, known.get(key)) for key in _ABOUT}
        self.variables = tuple(self._variables(known.get("variables")))
        self.is_draft = self._truth(known.get("draft", "false"))

    def _mistake(self, path: tuple[str | int, ...], message: str) -> None:
        self._document.mistakes.append(self._document.mistake(path, message))

    def _text(self, key: str, value: object) -> str | None:
        if value is None or (isinstance(value, str) and len(value) <= MAX_ABOUT):
            return value
        self._mistake((key,), f"{key}: write a text of up to {MAX_ABOUT} characters")
        return None

    def _truth(self, value: object) -> bool:
        if value not in ("true", "false"):
            self._mistake(("draft",), "draft: write true or false")
        return value == "true"

    def _variables(self, value: object) -> list[str]:
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > MAX_VARIABLES:
            self._mistake(("variables",), f"variables: write a list of up to {MAX_VARIABLES} names, such as [product, plan]")
            return []
        found: list[str] = []
        for index, name in enumerate(value):
            if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
                self._mistake(("variables", index), "variables: a name is a letter or _, then letters, digits and _, up to 64")
            elif name in RESERVED:
                self._mistake(("variables", index), f"variables: `{name}` is what render() takes for itself; use another name")
            elif name in found:
                self._mistake(("variables", index), f"variables: {name} stands there twice")
            else:
                found.append(name)
        return found


def _pieces(text: str, start: int, front: _Front, document: Document) -> list[str]:
    """The body from `start` on, taken apart. Mistakes go to the document's."""
    pieces: list[str] = []
    literal = ""
    for use in _USE.finditer(text, start):
        literal += text[start : use.start()]
        start = use.end()
        variable = use["variable"]
        if use[0] == "$${":
            literal += "${"
            continue
        if variable is None:
            said = "`${` begins a variable, `${name}`; for these two characters themselves write `$${`"
            document.mistakes.append(_at(text, use.start(), document.file, said))
        elif variable not in front.variables and front.is_read:
            said = f"${{{variable}}} is not among the variables: declare it, or write $${{ for ${{ itself"
            document.mistakes.append(_at(text, use.start(), document.file, said))
        else:
            pieces += [literal.replace("\r\n", "\n"), variable]
            literal = ""
    return [*pieces, (literal + text[start:]).replace("\r\n", "\n")]


def _trimmed(pieces: tuple[str, ...]) -> tuple[str, ...]:
    """Without the line breaks before and after the text, which are the file's and not the prompt's."""
    trimmed = list(pieces)
    trimmed[0] = trimmed[0].lstrip("\n")
    trimmed[-1] = trimmed[-1].rstrip("\n")
    return tuple(trimmed)


def _at(text: str, position: int, file: str, message: str) -> Mistake:
    return Mistake(file, text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position), message)


def fill(prompt: PromptVersion, variables: Mapping[str, object]) -> str:
    """The prompt's text with the values in place of its variables; what else is given is ignored.

    Raises MissingVariables with all that are missing, and PromptError for a value that is neither text nor a number nor a truth
    value. Their messages name variables and types, never a value.
    """
    filled = list(prompt.pieces)
    for index in range(1, len(filled), 2):
        name = filled[index]
        value = variables.get(name, _ABSENT)
        if isinstance(value, str):
            filled[index] = value
        elif isinstance(value, int | float):
            filled[index] = str(value)
        else:
            raise _unfilled(prompt, variables)
    return "".join(filled)


_ABSENT: Final = object()


def _unfilled(prompt: PromptVersion, variables: Mapping[str, object]) -> PromptError:
    needed = tuple(dict.fromkeys(prompt.pieces[1::2]))
    missing = [name for name in needed if name not in variables]
    if missing:
        return MissingVariables(f"prompt {prompt} needs {', '.join(missing)}: give render() a value for each")
    wrong = {name: type(variables[name]).__name__ for name in needed if not isinstance(variables[name], str | int | float)}
    said = ", ".join(f"{name} is of type {kind}" for name, kind in wrong.items())
    return PromptError(f"prompt {prompt} takes text, numbers and truth values: {said}")
