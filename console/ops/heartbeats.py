"""Heartbeats as an operator sees them: which processes are alive, and what each tells of its breakers, targets and prompts.

A heartbeat's state is written by the application's side: an older version may leave parts of it out, and a broken or hostile
one may write anything. Whatever is not of the agreed form is ignored, part by part, and never raises.
"""

from __future__ import annotations

import json
import platform
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from console.core.headroom import KINDS
from console.core.rollups import US
from console.ops.views import BreakerState, BreakerView, ProcessView, TrialView
from console.store.sqlite import reads

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

STALE_S: Final = 15
"""Three heartbeats."""
GONE_S: Final = 6
AHEAD_S: Final = 60
FORGOTTEN_S: Final = 600

MAX_NAME: Final = 200
MAX_TEXT: Final = 500
MAX_NAMES: Final = 100
"""Targets, prompts, versions and problems that one process may tell of."""
MAX_US: Final = 2**53
ROOM_S: Final = 60
"""What an answer told of a rate limit says nothing any more after so long: the limit is one of a minute."""
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_STATES: Final = frozenset(get_args(BreakerState))


class Told(NamedTuple):
    """One breaker as its process tells."""

    state: BreakerState
    reason: str | None
    since: int | None
    probe_at: int | None


class Room(NamedTuple):
    """What one answer has told of a rate limit. `at`: when, UTC microseconds."""

    kind: str
    limit: float
    remaining: float
    at: int


class Exceeded(NamedTuple):
    """A limit that a process has seen reached."""

    scope: str
    what: str
    limit: float | None
    used: float | None
    since: int | None
    is_enforced: bool = True
    """False when calls go on and people are told."""


class Trial(NamedTuple):
    """When a fallback was last tried (UTC microseconds), and what it failed with; None: it has answered."""

    at: int
    error: str | None


@dataclass(frozen=True, slots=True)
class State:
    """What a heartbeat tells beside its columns. `targets` None: the process does not say which it knows."""

    breakers: Mapping[str, Told] = field(default_factory=lambda: MappingProxyType({}))
    targets: frozenset[str] | None = None
    prompts: Mapping[tuple[str, int], str] = field(default_factory=lambda: MappingProxyType({}))
    """(prompt, version) -> the sha256 of what it serves."""
    problems: tuple[str, ...] = ()
    headroom: Mapping[str, tuple[Room, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """By target."""
    exceeded: tuple[Exceeded, ...] = ()
    budgets: tuple[Exceeded, ...] = ()
    """What is spent of them, reached or not."""
    trials: Mapping[str, Trial] = field(default_factory=lambda: MappingProxyType({}))
    """By target."""

    def knows(self, target: str) -> bool | None:
        """Whether the process can send to a target; None when it does not say. A Claude model's id needs no configuration."""
        if self.targets is None:
            return None
        return target in self.targets or target.startswith("claude-")


class Live(NamedTuple):
    """A process that has sent a heartbeat lately."""

    view: ProcessView
    state: State


@lru_cache(maxsize=2048)
def read_state(text: object) -> State:
    """The state of a heartbeat. Never raises: what is not of the agreed form is left out."""
    try:
        document = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return State()
    said = _mapping(document)
    targets = said.get("targets")
    return State(
        breakers=MappingProxyType({name: told for name, one in _named(said.get("breakers")) if (told := _told(one))}),
        targets=frozenset(filter(_is_name, targets[:MAX_NAMES])) if isinstance(targets, list) else None,
        prompts=MappingProxyType(_prompts(said.get("prompts"))),
        problems=tuple(_texts(said.get("prompt_problems"))),
        headroom=MappingProxyType({name: rooms for name, one in _named(said.get("headroom")) if (rooms := _rooms(one))}),
        exceeded=tuple(_exceeded(said.get("exceeded"))),
        budgets=tuple(_exceeded(said.get("budgets"))),
        trials=MappingProxyType({name: trial for name, one in _named(said.get("exercise")) if (trial := _trial(one))}),
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _named(value: object) -> Iterable[tuple[str, Any]]:
    return [item for item in list(_mapping(value).items())[:MAX_NAMES] if _is_name(item[0])]


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def _told(value: object) -> Told | None:
    said = _mapping(value)
    state = said.get("state")
    if not isinstance(state, str) or state not in _STATES:
        return None
    reason = said.get("reason")
    shown = reason[:MAX_TEXT] if isinstance(reason, str) and reason else None
    return Told(state, shown, _time(said.get("since")), _time(said.get("probe_at")))  # type: ignore[arg-type]


def _rooms(value: object) -> tuple[Room, ...]:
    """{"requests": [limit, remaining, reset], …, "at": us}."""
    said = _mapping(value)
    at = _time(said.get("at"))
    found = []
    for kind in KINDS if at is not None else ():
        numbers = said.get(kind)
        if isinstance(numbers, list) and len(numbers) >= 2:
            limit, remaining = _number(numbers[0]), _number(numbers[1])
            if at is not None and limit and remaining is not None:
                found.append(Room(kind, limit, min(remaining, limit), at))
    return tuple(found)


def _exceeded(value: object) -> Iterable[Exceeded]:
    for one in value[:MAX_NAMES] if isinstance(value, list) else []:
        said = _mapping(one)
        scope, what = said.get("scope"), said.get("what")
        if _is_name(scope) and _is_name(what):
            since = _time(said.get("since"))
            is_enforced = said.get("on_exceed") != "alert"
            yield Exceeded(str(scope), str(what), _number(said.get("limit")), _number(said.get("used")), since, is_enforced)


def _trial(value: object) -> Trial | None:
    """{"at": us, "error": null or what it failed with}."""
    said = _mapping(value)
    at, error = _time(said.get("at")), said.get("error", "")
    if at is None or not (error is None or (isinstance(error, str) and error)):
        return None
    return Trial(at, None if error is None else error[:MAX_TEXT])


def _number(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < MAX_US else None  # type: ignore[operator,arg-type]


def _time(value: object) -> int | None:
    return value if type(value) is int and 0 < value < MAX_US else None


def _prompts(value: object) -> dict[tuple[str, int], str]:
    found = {}
    for name, versions in _named(value):
        for version, digest in _named(versions):
            is_number = version.isascii() and version.isdecimal() and 0 < len(version) <= 7
            if is_number and isinstance(digest, str) and _HASH.fullmatch(digest):
                found[name, int(version)] = digest
    return found


def _texts(value: object) -> list[str]:
    texts = value[:MAX_NAMES] if isinstance(value, list) else []
    return [text[:MAX_TEXT] for text in texts if isinstance(text, str) and text.strip()]


def heard(
    connection: sqlite3.Connection, now_us: int, since_s: int = FORGOTTEN_S
) -> tuple[tuple[ProcessView, ...], tuple[Live, ...]]:
    """Every process that was heard of lately, newest start first, and those of them that live with what they tell."""
    rows = reads.processes(connection, now_us - since_s * US)
    here = platform.node()
    views = [process_view(row, now_us, here) for row in rows]
    live = [Live(view, read_state(row.state)) for view, row in zip(views, rows, strict=True) if view.state == "live"]
    return tuple(views), tuple(live)


def process_view(row: reads.ProcessRow, now_us: int, here: str) -> ProcessView:
    """One heartbeat as a view. A process of this host that has missed one and whose pid is gone has ended without a word."""
    age_s = max(0.0, (now_us - row.at) / US)
    is_ahead = row.at > now_us + AHEAD_S * US  # the clock went back since: its age is not known, so it is not taken for live
    is_gone = row.host == here and (age_s > GONE_S or is_ahead) and not Path(f"/proc/{row.pid}").exists()
    return ProcessView(
        id=row.id,
        pid=row.pid,
        host=row.host,
        service=row.service,
        state="ended" if row.ended_at is not None or is_gone else "live" if age_s <= STALE_S and not is_ahead else "stale",
        control_version=row.control_version or None,
        control_source=row.control_source,
        heartbeat_age_s=age_s,
        queue_depth=row.queue_depth,
        dropped=row.dropped,
        note=row.note,
    )


def breakers_of(live: Iterable[Live], target: str) -> tuple[BreakerView, ...]:
    """What each live process tells of its breaker of a target."""
    return tuple(
        BreakerView(
            process=one.view.id,
            pid=one.view.pid,
            host=one.view.host,
            service=one.view.service,
            state=told.state,
            reason=told.reason,
            since=told.since,
            probe_at=told.probe_at if told.state == "open" else None,
        )
        for one in live
        if (told := one.state.breakers.get(target)) is not None
    )


CLOSED: Final = frozenset({"closed", "forced_closed"})
"""States in which calls are sent as ever."""


def is_shut(breakers: Iterable[BreakerView]) -> bool:
    """Whether no process that tells of the target sends it calls as ever; False when none tells."""
    states = [breaker.state for breaker in breakers]
    return bool(states) and not any(state in CLOSED for state in states)


def headroom_of(live: Iterable[Live], target: str, now_us: int) -> Room | None:
    """The rate limit of a target of which least is left, as the live processes have heard in the last minute."""
    fresh = [
        room
        for one in live
        for room in one.state.headroom.get(target, ())
        if now_us - ROOM_S * US <= room.at <= now_us + AHEAD_S * US
    ]
    return min(fresh, key=lambda room: room.remaining / room.limit, default=None)


def failed_trial(live: Iterable[Live], target: str, now_us: int) -> TrialView | None:
    """The last trial of a target in any live process, if it has failed."""
    tried = [one.state.trials[target] for one in live if target in one.state.trials]
    last = max((trial for trial in tried if trial.at <= now_us + AHEAD_S * US), key=lambda trial: trial.at, default=None)
    return None if last is None or last.error is None else TrialView(last.at, last.error)


def unknown_in(live: Iterable[Live], target: str) -> tuple[ProcessView, ...]:
    """The live processes that say which targets they know, and not this one."""
    return tuple(one.view for one in live if one.state.knows(target) is False)
