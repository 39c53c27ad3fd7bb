"""What all acts have in common: the form of one kind of act, and the scene that a preview looks at.

An act writes one control row. Each kind of key is one `Kind`, in a module of its own (`switches`, `routes`, `breakers`,
`pointers`); `acts` is the only place that knows them all. An order becomes a `Plan` (what would be written), a plan becomes a
`Preview` (what that would do), and undo is a plan with the value that the key had before.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from console.core.durations import age, ago
from console.core.rollups import US
from console.core.switches import ALL, Scope
from console.errors import ActError, ConfigError, StoreError
from console.ops.control import read_all
from console.ops.heartbeats import Live, heard
from console.ops.views import Order, Preview
from console.store.configuration import load_prices
from console.store.sqlite import reads
from console.store.sqlite.control import PromptRow, read_audit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from console.core.audit import AuditRow
    from console.core.targets import Routing
    from console.ops.control import Reading
    from console.ops.measures import Measure
    from console.ops.prompts import PromptReader
    from console.store.configuration import Settings

WINDOW_S: Final = 300
MAX_NAME: Final = 200
LOOKED_BACK: Final = 2_000
"""Audit rows in which the last time of an act is looked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an act would write. `order` is complete: what the operator left open is decided in it."""

    order: Order
    key: str
    value: str
    expires_at: int | None = None
    registers: tuple[PromptRow, ...] = ()

    def left_us(self, now_us: int) -> int | None:
        """How long it holds from now on; None: until it is taken back."""
        return None if self.expires_at is None else self.expires_at - now_us


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of control key, and the acts that write it."""

    acts: frozenset[str]
    nothing: str
    """The value that says what no row says."""
    subject_of: Callable[[str], str | None]
    """The subject of a key, or None when it is not of this kind."""
    said: Callable[[str, str, Routing], str]
    """What the value of a key says, for people. Raises ValueError for a value that is not of this kind."""
    plan: Callable[[Scene, Order], Plan]
    """What an order would write. Raises ActError, PromptError."""
    show: Callable[[Scene, Plan], Preview]
    """What a plan would do."""
    order_of: Callable[[str, str], Order]
    """The order that would write this value to this key: what an undo amounts to."""
    measure: Callable[[str, str, Scene], Measure]
    """The number that this value of this key should move."""
    state: Callable[[str, Sequence[Live]], str | None] = lambda key, live: None
    """What the live processes tell of what the key is about; None: they tell nothing of it."""
    has_undo: bool = True
    """False for what leaves nothing behind that could be taken back."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What telemetry.db tells to a preview."""

    names: dict[str, list[str]]
    """feature, model, customer -> names of the last day's calls."""
    live: tuple[Live, ...]
    sums: list[reads.SeriesSums]
    """The last five minutes."""
    is_readable: bool = True


class Scene:
    """What one preview looks at: each part is read once, when it is first asked for. An act never needs telemetry."""

    def __init__(self, settings: Settings, prompts: PromptReader, now_us: int) -> None:
        self.settings = settings
        self.prompts = prompts
        self.now_us = now_us
        self.trouble: list[str] = []
        """Warnings about what could not be read."""

    @cached_property
    def reading(self) -> Reading:
        reading = read_all(self.settings.locations)
        if reading.problem is not None:
            self.trouble.append(reading.problem)
        return reading

    @cached_property
    def audit(self) -> list[AuditRow]:
        """Every act, oldest first. Raises StoreError."""
        control = self.settings.locations.control
        return read_audit(control) if control.exists() else []

    @cached_property
    def traffic(self) -> Traffic:
        now_s = self.now_us // US
        try:
            with reads.reading_telemetry(self.settings.locations.telemetry) as connection:
                return Traffic(
                    names=reads.seen_names(connection, (now_s - 86400) // 3600 * 3600),
                    live=heard(connection, self.now_us)[1],
                    sums=reads.series_sums(connection, 10, window_start(now_s)),
                )
        except reads.NothingRecorded:
            pass
        except StoreError as error:
            self.trouble.append(f"telemetry cannot say whom this touches: {error}")
            return Traffic({}, (), [], is_readable=False)
        return Traffic({}, (), [])

    def ever_seen(self) -> frozenset[str]:
        """The features of all calls that are still recorded."""
        try:
            with reads.reading_telemetry(self.settings.locations.telemetry) as connection:
                return frozenset(reads.seen_names(connection, 0).get("feature", []))
        except StoreError:
            return frozenset()

    @cached_property
    def priced_models(self) -> frozenset[str]:
        """The models with a price; none when the price file cannot be read, which the status says."""
        try:
            return frozenset(load_prices(self.settings.prices_file).by_model)
        except ConfigError:
            return frozenset()

    def touched(self, kind: str, name: str) -> reads.Touched | None:
        """Whom it touches; None when nothing was recorded, or telemetry cannot be read."""
        try:
            with reads.reading_telemetry(self.settings.locations.telemetry) as connection:
                return reads.touched(connection, window_start(self.now_us // US), kind, name)
        except StoreError:
            return None  # said once, by `traffic`

    def last_time(self, key: str, act: str, done: str) -> str | None:
        """When an act was done last to a key: "last killed 9 days ago by op1"."""
        try:
            rows = read_audit(self.settings.locations.control, last=LOOKED_BACK)
        except StoreError:
            return None
        rows = [row for row in rows if row.key == key and row.act == act]
        return f"last {done} {ago((self.now_us - rows[-1].at) / US)} by {rows[-1].actor}" if rows else None

    def features(self) -> list[str]:
        """The features that are known, from the configuration and the last day's calls."""
        configured = set(self.settings.routing.features) - {"default"}
        return sorted({*configured, *self.traffic.names.get("feature", [])})


def window_start(now_s: int) -> int:
    """Where the last five minutes begin, in steps of ten seconds."""
    return (now_s - WINDOW_S + 9) // 10 * 10


def new_plan(scene: Scene, order: Order, key: str, value: str, registers: tuple[PromptRow, ...] = ()) -> Plan:
    """The plan of an order that an operator gives now."""
    return Plan(order, key, value, None if order.for_us is None else scene.now_us + order.for_us, registers)


def shown(scene: Scene, plan: Plan, kind: str, name: str, /, **said: Any) -> Preview:
    """A preview with whom it touches, and with what could not be read among the warnings. What is counted: the calls of a
    `kind` (all, feature, model, customer, target, prompt) with this name."""
    _ = scene.traffic
    touched = scene.touched(kind, name)
    preview = Preview(
        order=plan.order,
        calls_5m=None if touched is None else touched.calls,
        customers_5m=None if touched is None else touched.customers,
        share_of_traffic=None if touched is None or not touched.all_calls else touched.calls / touched.all_calls,
        version=scene.reading.version_of(plan.key),
        **said,
    )
    return replace(preview, warnings=(*preview.warnings, *scene.trouble))


def check_name(kind: str, name: str) -> None:
    """Raises ActError for what cannot be a name."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise ActError(f"{name[:40]!r} cannot be the name of a {kind}: 1 to {MAX_NAME} printable characters")


def scope_name(scope: Scope) -> str:
    """A scope for people: "support-reply", "model claude-haiku-5-5", "all AI features"."""
    if scope == ALL:
        return "all AI features"
    return scope.name if scope.kind == "feature" else f"{scope.kind} {scope.name}"


def meant(name: str, names: Iterable[str]) -> str:
    """ "; did you mean haiku?", or nothing when no name is near."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def for_a_while(text: str, left_us: int | None, then: str) -> str:
    """ "killed for 30 m, then running again by itself"."""
    return text if left_us is None else f"{text} for {age(max(left_us, 0) / US)}, then {then} again by itself"


def unknown_scope(scope: Scope, names: list[str]) -> list[str]:
    """A warning when no call has a scope's name."""
    if scope == ALL or not names or scope.name in names:
        return []
    return [f"no call of the last day has the {scope.kind} {scope.name}{meant(scope.name, names)}"]


def listed(names: Iterable[str], limit: int = 10) -> str:
    """ "a, b, c and 4 more"."""
    found = list(names)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more
