"""Every error that this package raises by itself, in one tree. Standard library only; imports nothing of ours.

    ConsoleError
    ├── ConfigError            the configuration cannot be used; all mistakes at once
    ├── StoreError             a database cannot be read or written
    │   ├── SchemaTooNew       written by a newer version; left untouched
    │   └── StoreBusy          somebody else holds the lock; try again
    ├── ActError               an operator's act was refused; nothing was changed
    │   ├── ActConflict        somebody changed the same thing since the preview
    │   ├── ActForbidden       no write permission, or --read-only
    │   └── NothingToUndo      no act is left that could be taken back
    ├── PromptError            a prompt cannot be served or made current
    │   ├── UnknownPrompt      no such prompt or version
    │   ├── MissingVariables   it needs a variable that was not given
    │   └── VersionChanged     the file is not what was registered under this number
    ├── PlaybookError          (playbooks arrive with incidents)
    ├── AgentError             the child process that may load the SDK could not do what it was asked
    └── CallError              a call of the application got no answer
        ├── CallBlocked        a kill switch, a rate or a budget stopped it before it was sent
        │   └── RequestRefused the request itself is larger than its feature allows
        ├── ChainExhausted     every target of the chain failed
        └── StreamBroken       its answer broke off in the middle, and could not be continued

The API's own failures stay the SDK's classes. Each message says what happened, where, and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


class ConsoleError(Exception):
    """The root: `except ConsoleError` catches everything that this package raises by itself."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file, at a line and a column that both start at 1 (0: the file as a whole)."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}" if self.line else f"{self.file}: {self.message}"


class ConfigError(ConsoleError):
    """The configuration cannot be used. `mistakes` holds all of them, in the order of the file."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class StoreError(ConsoleError):
    """A database cannot be read or written."""


class SchemaTooNew(StoreError):
    """The file was written by a newer version of the console and is left untouched."""


class StoreBusy(StoreError):
    """Somebody else holds the lock of the file for longer than we wait."""


class ActError(ConsoleError):
    """An operator's act was refused; nothing was changed."""


class ActConflict(ActError):
    """The thing has been changed by somebody since the preview was made: look at it again."""


class ActForbidden(ActError):
    """This user may look but not act."""


class NothingToUndo(ActError):
    """No act is left that could be taken back."""


class PromptError(ConsoleError):
    """A prompt cannot be served or made current."""


class UnknownPrompt(PromptError):
    """There is no such prompt, or no such version of it."""


class MissingVariables(PromptError):
    """The prompt's text needs a variable that was not given."""


class VersionChanged(PromptError):
    """The file of a version is not what was registered under its number."""


class PlaybookError(ConsoleError):
    """A playbook cannot be used."""


class AgentError(ConsoleError):
    """The child process that may load the SDK could not do what it was asked."""


class CallError(ConsoleError):
    """A call of the application got no answer."""


class CallBlocked(CallError):
    """A kill switch, a rate or a budget stopped the call before it was sent; `scope` says which of them, for example
    "feature:summarize". `retry_after_s`: when there is room again; None of a switch, which an operator lifts."""

    def __init__(self, message: str, *, scope: str, reason: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.scope = scope
        self.reason = reason
        self.retry_after_s = retry_after_s


class RequestRefused(CallBlocked):
    """The request asks for more than its feature allows (`max_tokens`, `max_input_chars`): as it is, it never will be sent."""


class ChainExhausted(CallError):
    """No target of the feature's chain gave an HTTP answer, or none may be asked."""


class StreamBroken(CallError):
    """A stream ended before it was whole, and could not be continued. What has come of it is no answer."""
