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

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator

    from console.core.switches import Switch


class Send(NamedTuple):
    """Send the request to a target."""

    target: str


class Wait(NamedTuple):
    """Pause for `seconds`."""

    seconds: float


class Discard(NamedTuple):
    """Let the answer in hand go."""


Effect = Send | Wait | Discard


class Answered(NamedTuple):
    """An HTTP answer is in hand; a stream is unread."""

    status: int


class Failed(NamedTuple):
    """There was no HTTP answer, or the one in hand broke; `kind` as in `AttemptEnd.error`."""

    kind: str


class Stopped(NamedTuple):
    """A kill switch stops the call."""

    switch: Switch


class Woken(NamedTuple):
    """The pause is over."""


class Discarded(NamedTuple):
    """The answer is gone; its connection can be used again."""


Reply = Answered | Failed | Stopped | Woken | Discarded | None
"""None only starts the flow."""


class Serve(NamedTuple):
    """The caller gets the answer in hand, good or bad, or the failure in hand."""


SERVE: Final = Serve()


class Refuse(NamedTuple):
    """The caller gets the feature's defined text, or `CallBlocked`."""

    switch: Switch


Verdict = Serve | Refuse


def call_flow(chain: tuple[str, ...]) -> Generator[Effect, Reply, Verdict]:
    """One call over a chain of exactly one target: the SDK owns the retries, so whatever comes back is served."""
    (target,) = chain
    reply = yield Send(target)
    if isinstance(reply, Stopped):
        return Refuse(reply.switch)
    return SERVE
