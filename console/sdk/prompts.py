"""`console.prompts`: prompts rendered into text that knows its name and version, and found again in a request."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple, Self

from console.runtime.clock import now_us

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.core.prompts import PromptVersion
    from console.runtime.process import Runtime


class Rendering(NamedTuple):
    """What a prompt was rendered from, so that another version of it can be put in its place. In memory only: the values are
    the application's, and are neither stored nor copied with the text."""

    version: PromptVersion
    variables: Mapping[str, object]
    key: str | None
    is_pinned: bool
    """`conversation` was given: the version is the conversation's already."""


class Prompt(str):
    """A rendered prompt: an ordinary text that also says what it was made from, so that the middleware can tell which prompt a
    call carries. What is made from it (`prompt + "..."`, `prompt.strip()`) is ordinary text again."""

    name: str
    version: int
    hash: str
    """sha256 of the version's file."""
    _rendering: Rendering | None

    def __new__(cls, text: str, name: str, version: int, hash: str, rendering: Rendering | None = None) -> Prompt:
        """`text` with its origin."""
        made = str.__new__(cls, text)
        made.name, made.version, made.hash = name, version, hash
        made._rendering = rendering  # noqa: SLF001 -- it is ours, and has no other place
        return made

    def __getnewargs__(self) -> tuple[str, str, int, str]:  # type: ignore[override]
        """What an unpickled one is made from."""
        return str(self), self.name, self.version, self.hash

    def __getstate__(self) -> None:
        """Nothing else goes into a pickle: not what it was rendered from."""

    def __copy__(self) -> Self:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> Self:
        return self


def rendering_of(prompt: Prompt) -> Rendering | None:
    """What a prompt was rendered from, None for one that was pickled meanwhile."""
    return prompt._rendering  # noqa: SLF001 -- no part of what an application sees


class Prompts:
    """The prompts of an installation, as an application uses them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def render(self, name: str, /, *, key: str | None = None, conversation: str | None = None, **variables: object) -> Prompt:
        """The text of a prompt with its variables filled in (text, numbers, truth values; more than it needs do no harm).

        `key`: who it is for, a user's id for example: the same key gets the same version while versions share the traffic.
        `conversation`: keeps the version that its first call got, on this host, until an operator rolls that one back. Both are
        optional. Without `conversation` the middleware knows a conversation by how it begins (its first user message, the key,
        the tags for customer and session), and one that goes on gets what it began with; two that begin alike with different
        versions within a day cannot be told apart, and get what is current.

        Goes into `system` or the first messages of a request as it is: the middleware reads the version from it. Raises
        UnknownPrompt when there is no such prompt, MissingVariables when no version of it can be filled, PromptError for a
        value that is no text. A version that an operator has just made current never makes it raise: the one before is served.
        """
        runtime = self._runtime
        # Ids are often numbers, and it must not depend on an operator's act whether that works.
        key = None if key is None else str(key)
        conversation = None if conversation is None else str(conversation)
        text, made = runtime.prompts.render(
            name, key, conversation, variables, runtime.current().state, now_us(), random.random
        )
        rendering = Rendering(made, variables, key, conversation is not None)
        return Prompt(text, made.name, made.version, made.hash, rendering)
