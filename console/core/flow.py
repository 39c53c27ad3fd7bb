"""The failover flow: one generator that decides, resumed with what happened. No clock, no I/O, no `await`.

Theory of operation: the flow yields an *effect* and is resumed with the *reply* of whoever drives it. The two drivers
(`console.sdk.drivers`) perform effects on a *wire*, blocking or awaiting; they decide nothing. Failures come back as values.
The flow ends with a *verdict*. A kill switch is read by the wire before every attempt, so a reply can be `Stopped`.

    effect      reply
    Send        Answered | Failed | Stopped
    Wait        Woken | Stopped           a pause that a kill switch interrupts
    Discard     Discarded                 read the answer in hand to its end and let it go
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from console.core.switches import Switch


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request to a target."""

    target: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Pause for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Discard:
    """Let the answer in hand go."""


Effect = Send | Wait | Discard


@dataclass(frozen=True, slots=True)
class Answered:
    """An HTTP answer is in hand; a stream is unread."""

    status: int


@dataclass(frozen=True, slots=True)
class Failed:
    """There was no HTTP answer, or the one in hand broke; `kind` as in `AttemptEnd.error`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A kill switch stops the call."""

    switch: Switch


@dataclass(frozen=True, slots=True)
class Woken:
    """The pause is over."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """The answer is gone; its connection can be used again."""


Reply = Answered | Failed | Stopped | Woken | Discarded | None
"""None only starts the flow."""


@dataclass(frozen=True, slots=True)
class Serve:
    """The caller gets the answer in hand, good or bad, or the failure in hand."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The caller gets the feature's defined text, or `CallBlocked`."""

    switch: Switch


Verdict = Serve | Refuse


def call_flow(chain: tuple[str, ...]) -> Generator[Effect, Reply, Verdict]:
    """One call over a chain of exactly one target: the SDK owns the retries, so whatever comes back is served."""
    (target,) = chain
    reply = yield Send(target)
    if isinstance(reply, Stopped):
        return Refuse(reply.switch)
    return Serve()
