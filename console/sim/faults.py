"""Faults that the simulated API can be told to show: their values, their strict parsing, and the choice among them.

Pure: no clock, no randomness, no I/O. Times of a fault are real seconds, never shortened by the server's `--speed`.
A fault without any effect is allowed: placed first, with `times`, it lets that many requests pass untouched.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from console.sim.clouds import ANTHROPIC, PREFIXES, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TYPE_OF_STATUS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The error type that the API sends with each status, used where a fault names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way of misbehaving, and for whom.

    Event indexes count the SSE events of a healthy answer from 0 (`message_start`), pings included; an index past the
    last event does nothing. For requests that are not streamed: `cut_at` and `stall_at` act in the middle of the JSON
    body, `malformed_at` breaks that body, `first_token_s` adds to the latency, `pings_only` means no answer, and
    `clean_end_at` and `error_at` do nothing. Of several at one event the stall comes first.
    """

    model: str | None = None
    """Only requests for this model; None is every model, and requests that name none."""
    wire: str | None = None
    """Only requests in this wire format (`sim.clouds`); None is every one but the token endpoint."""
    probability: float = 1.0
    """The share of the matching requests that gets it."""
    status: int | None = None
    """Answer with this HTTP status and an error body."""
    error_type: str | None = None
    """The body's `error.type`; by default the one that belongs to the status, or `overloaded_error` for `error_at`."""
    error_code: str | None = None
    """The body's `error.details.error_code`."""
    retry_after: str | None = None
    """The raw text of a `retry-after` header, sent with `status`: it may be nonsense."""
    latency_s: float | None = None
    """Wait this long, on top of the usual latency, before the headers."""
    first_token_s: float | None = None
    """Wait this long, on top of the usual time, before the first content event."""
    cut_at: int | None = None
    """Close the socket after event N, in the middle of the chunked body."""
    clean_end_at: int | None = None
    """End the body as if it were whole after event N."""
    stall_at: int | None = None
    """Send nothing more after event N, and keep the socket open."""
    stall_s: float | None = None
    """End the stall after so many seconds and go on; None is without end."""
    malformed_at: int | None = None
    """Send event N with broken JSON, then go on."""
    error_at: int | None = None
    """Send an SSE `error` in the place of event N, then end the body."""
    trickle_bytes_per_s: float | None = None
    """Send the body at this rate."""
    reset: bool = False
    """Reset the connection instead of answering."""
    no_response: bool = False
    """Read the request and never answer."""
    pings_only: bool = False
    """Stall with pings instead of silence: after `message_start`, or after the event that `stall_at` names."""
    quality: float | None = None
    """Scale the model's skill (0..1): the answer comes in time, without an error, and is worse."""
    after_s: float | None = None
    """Begin only so many seconds after the faults were set."""
    for_s: float | None = None
    """End so many seconds after it began; None is without end."""
    every_s: float | None = None
    """Begin again so often, counted from the first beginning; needs `for_s`."""
    times: int | None = None
    """Use it up after this many requests; None is without end."""
    name: str = ""
    """What the request log calls it."""

    @property
    def label(self) -> str:
        """The name, or what it does when it has none: never empty."""
        return self.name or _describe(self)

    @property
    def stalls_at(self) -> int | None:
        """The event after which a stream stalls, if it does."""
        return 0 if self.stall_at is None and self.pings_only else self.stall_at

    @property
    def is_spent(self) -> bool:
        """Whether its `times` are used up."""
        return self.times is not None and self.times <= 0

    def is_due(self, elapsed_s: float) -> bool:
        """Whether it acts so many seconds after the faults were set."""
        since_s = elapsed_s - (self.after_s or 0.0)
        if since_s < 0 or self.for_s is None:
            return since_s >= 0
        return (since_s % self.every_s if self.every_s else since_s) < self.for_s

    def matches(self, model: str | None, elapsed_s: float = 0.0, wire: str = ANTHROPIC) -> bool:
        """Whether a request for this model (None: the request names none) can get it at that time."""
        is_here = wire != TOKEN if self.wire is None else self.wire == wire
        return not self.is_spent and is_here and (self.model is None or self.model == model) and self.is_due(elapsed_s)


class FaultError(ValueError):
    """A list of faults that cannot be read; the message names the fault's place and the field."""


def choose(
    faults: Sequence[Fault], model: str | None, draw: float, elapsed_s: float = 0.0, wire: str = ANTHROPIC
) -> int | None:
    """The index of the fault that a request gets `elapsed_s` seconds after the faults were set, or None.

    `draw` is uniform in [0, 1). The matching faults share that interval in their order, each as wide as its
    probability: 0.1 and 0.05 give 85 % healthy requests, and whatever follows a probability of 1 never happens.
    """
    edge = 0.0
    for index, fault in enumerate(faults):
        if fault.matches(model, elapsed_s, wire):
            edge += fault.probability
            if draw < edge:
                return index
    return None


def spend(faults: Sequence[Fault], index: int) -> tuple[Fault, ...]:
    """The faults after the one at `index` was used once; those without `times` stay as they are."""
    used = faults[index]
    if used.times is None:
        return tuple(faults)
    used = dataclasses.replace(used, times=used.times - 1)
    return (*faults[:index], used, *faults[index + 1 :])


def parse_faults(value: object) -> tuple[Fault, ...]:
    """Faults from a decoded JSON list. Raises FaultError for anything unknown, of a wrong type or out of range."""
    if not isinstance(value, list):
        raise FaultError(f"faults: expected a list, got {_kind(value)}")
    return tuple(parse_fault(item, where=f"faults[{index}]") for index, item in enumerate(value))


def parse_fault(value: object, *, where: str = "fault") -> Fault:
    """One fault from a decoded JSON object. Raises FaultError naming `where` and the field."""
    if not isinstance(value, dict):
        raise FaultError(f"{where}: expected an object, got {_kind(value)}")
    for key, item in value.items():
        check = _CHECKS.get(key)
        if check is None:
            raise FaultError(f"{where}.{key}: unknown field; known are {', '.join(_CHECKS)}")
        problem = None if item is None and key in _NULLABLE else check(item)
        if problem:
            raise FaultError(f"{where}.{key}: expected {problem}, got {item!r}")
    fault = Fault(**value)
    _check_together(fault, where)
    return fault


def fault_to_json(fault: Fault) -> dict[str, object]:
    """The fields that differ from the defaults; `parse_fault` gives the same fault back."""
    return {
        field.name: getattr(fault, field.name)
        for field in dataclasses.fields(fault)
        if getattr(fault, field.name) != field.default
    }


def _check_together(fault: Fault, where: str) -> None:
    """Refuse fields that would do nothing because the one they belong to is missing."""
    fails = fault.status is not None or fault.error_at is not None
    for field in ("error_type", "error_code"):
        if getattr(fault, field) is not None and not fails:
            raise FaultError(f"{where}.{field}: needs status or error_at beside it")
    if fault.retry_after is not None and fault.status is None:
        raise FaultError(f"{where}.retry_after: needs status beside it")
    if fault.stall_s is not None and fault.stall_at is None and not fault.pings_only:
        raise FaultError(f"{where}.stall_s: needs stall_at or pings_only beside it")
    if fault.every_s is not None and (fault.for_s is None or fault.for_s > fault.every_s):
        raise FaultError(f"{where}.every_s: needs for_s beside it, and not longer than every_s")


def _describe(fault: Fault) -> str:
    parts = [
        key if value is True else f"{key}={value}"
        for key, value in fault_to_json(fault).items()
        if key not in {"model", "wire", "probability", "after_s", "for_s", "every_s", "times", "name"}
    ]
    return " ".join(parts) or "none"


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else "a string"


def _wire(value: object) -> str | None:
    return None if value in (ANTHROPIC, *PREFIXES) else f"one of {', '.join((ANTHROPIC, *PREFIXES))}"


def _header_text(value: object) -> str | None:
    # Nonsense is welcome, but a line break in it would be another header, and h11 refuses to send it.
    good = isinstance(value, str) and value.isascii() and value.isprintable() and value == value.strip()
    return None if good else "printable ASCII text without space around it"


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _seconds(value: object) -> str | None:
    return None if _is_number(value) and value >= 0 else "seconds, 0 or more"  # type: ignore[operator]


def _span(value: object) -> str | None:
    return None if _is_number(value) and value > 0 else "seconds, more than 0"  # type: ignore[operator]


def _rate(value: object) -> str | None:
    return None if _is_number(value) and value > 0 else "bytes a second, more than 0"  # type: ignore[operator]


def _share(value: object) -> str | None:
    return None if _is_number(value) and 0 <= value <= 1 else "a number from 0 to 1"  # type: ignore[operator]


def _count(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return None if good else "a whole number, 0 or more"


def _status(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599
    return None if good else "an HTTP status from 400 to 599"


_CHECKS: Mapping[str, Callable[[object], str | None]] = {
    "model": _text,
    "wire": _wire,
    "probability": _share,
    "status": _status,
    "error_type": _text,
    "error_code": _text,
    "retry_after": _header_text,
    "latency_s": _seconds,
    "first_token_s": _seconds,
    "cut_at": _count,
    "clean_end_at": _count,
    "stall_at": _count,
    "stall_s": _seconds,
    "malformed_at": _count,
    "error_at": _count,
    "trickle_bytes_per_s": _rate,
    "reset": _flag,
    "no_response": _flag,
    "pings_only": _flag,
    "quality": _share,
    "after_s": _seconds,
    "for_s": _span,
    "every_s": _span,
    "times": _count,
    "name": _text,
}
"""For each field a check that says what it expected, or None when the value is good."""

_NULLABLE = frozenset(field.name for field in dataclasses.fields(Fault) if field.default is None)
