"""`console.prompts`: prompts rendered into text that knows its name and version, and found again in a request."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from console.runtime.clock import now_us

if TYPE_CHECKING:
    from console.runtime.process import Runtime


class Prompt(str):
    """A rendered prompt: an ordinary text that also says what it was made from, so that the middleware can tell which prompt a
    call carries. What is made from it (`prompt + "..."`, `prompt.strip()`) is ordinary text again."""

    name: str
    version: int
    hash: str
    """sha256 of the version's file."""

    def __new__(cls, text: str, name: str, version: int, hash: str) -> Prompt:
        """`text` with its origin."""
        made = str.__new__(cls, text)
        made.name, made.version, made.hash = name, version, hash
        return made

    def __getnewargs__(self) -> tuple[str, str, int, str]:  # type: ignore[override]
        """What a copy or an unpickled one is made from."""
        return str(self), self.name, self.version, self.hash


class Prompts:
    """The prompts of an installation, as an application uses them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def render(self, name: str, /, *, key: str | None = None, conversation: str | None = None, **variables: object) -> Prompt:
        """The text of a prompt with its variables filled in (text, numbers, truth values; more than it needs do no harm).

        `key`: who it is for, a user's id for example: the same key gets the same version while versions share the traffic.
        `conversation`: keeps the version that its first call got, in this process, until an operator rolls that one back. Both
        are optional; without either every call is for itself.

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
        return Prompt(text, made.name, made.version, made.hash)
