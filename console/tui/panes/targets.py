"""Targets in rows: breakers, what their attempts ended with, who holds them. For pane 4, the targets screen and the page of
one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.ops.targets import trial_words
from console.tui import words
from console.tui.cells import Cells, Row, clipped, row, width_of, wrapped
from console.tui.order import ERROR_CRIT, ERROR_WARN, FEW_CALLS
from console.tui.panes.failures import failure_rows, last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from console.ops.views import BreakerView, StatusView, TargetView
    from console.tui.cells import Align, Role

_STATES: Final = {"half_open": "half-open", "forced_open": "forced open", "forced_closed": "forced closed"}
_SHUT: Final = frozenset({"open", "forced_open"})
_SICK: Final = frozenset({"open", "half_open", "forced_open"})
_LABEL: Final = 12
_ROOM_WARN: Final = 0.2
_ROOM_CRIT: Final = 0.05
"""Of a rate limit is left: from here on a burst meets a 429."""


def error_role(target: TargetView) -> Role:
    rate, few = target.error_rate, target.calls_5m < FEW_CALLS
    if rate is None or few:
        return ""
    return "crit" if rate > ERROR_CRIT else "warn" if rate > ERROR_WARN else ""


def room_role(target: TargetView) -> Role:
    """How near a target is to its rate limit."""
    room = target.headroom
    return "" if room is None or room > _ROOM_WARN else "crit" if room <= _ROOM_CRIT else "warn"


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    size: int
    text: Callable[[TargetView, int], str]
    priority: int
    """Which leave first when space is short: the highest."""
    role: Callable[[TargetView], Role] = lambda target: ""
    align: Align = "right"


_COLUMNS: Final = (
    _Column("errors", 8, lambda target, now_us: words.rate(target.error_rate), 0, error_role),
    _Column("p95", 8, lambda target, now_us: words.latency(target.p95_ms), 1),
    _Column("first", 8, lambda target, now_us: words.latency(target.first_token_p95_ms), 3),
    _Column("headroom", 9, lambda target, now_us: words.headroom(target.headroom), 2, room_role),
    _Column("$/M in, out", 13, lambda target, now_us: words.price(target.price), 4),
    _Column("calls 5m", 10, lambda target, now_us: words.count(target.calls_5m), 7),
    _Column("  provider", 12, lambda target, now_us: f"  {target.provider}", 5, align="left"),
    _Column("model", 20, lambda target, now_us: target.model, 6, align="left"),
    _Column("last failure", 30, lambda target, now_us: last_words(target.failures, now_us), 8, align="left"),
)
"""What is measured of a target, side by side, in the order in which it stands."""


def state_words(state: object) -> str:
    return line(_STATES.get(str(state), state), 20)


def breaker_words(target: TargetView) -> str:
    """The worst state with the processes that have it: "open 2/12"; further bad ones behind it."""
    if target.breakers is None:
        return "breaker not told"
    total = sum(number for _, number in target.breakers)
    worst = [(state, number) for state, number in target.breakers if state != "closed"] or list(target.breakers)
    return ", ".join(f"{state_words(state)} {number:,}/{total:,}" for state, number in worst) or "breaker not told"


def state_of_breakers(target: TargetView) -> tuple[str, Role]:
    """(glyph, role) of its worst breaker."""
    states = {state for state, _ in target.breakers or ()}
    if is_unused(target):
        return "○", "dim"
    if target.forced is not None and target.forced.state == "forced_open":
        return "■", "off"
    if states & _SHUT:
        return ("■", "off") if "forced_open" in states else ("▲", "crit")
    if states & _SICK or target.unknown_in:
        return "▲", "warn"
    return ("●", "ok") if target.breakers else ("○", "dim")


def glyph_of(target: TargetView) -> tuple[str, Role]:
    """(glyph, role) of a target wherever it stands: of its breakers, or of errors that are an alarm. A rate that is raised is
    coloured, and no more."""
    glyph, role = state_of_breakers(target)
    return ("▲", "crit") if glyph == "●" and error_role(target) == "crit" else (glyph, role)


def is_unused(target: TargetView) -> bool:
    """Whether nobody names it and nothing is sent to it: what its breakers held last troubles nobody. The view has no calls of
    the last minute, so that five must have passed."""
    return not (target.features or target.calls_5m or target.forced or target.unknown_in)


def is_wrong(target: TargetView) -> bool:
    """Whether somebody should look at it first."""
    return glyph_of(target)[0] in "▲■"


def worst_first(targets: Iterable[TargetView]) -> list[TargetView]:
    return sorted(targets, key=lambda target: (not is_wrong(target), error_role(target) == "", target.target))


def trouble_words(target: TargetView, now_us: int) -> str:
    """Who holds it, when it is tried next, and why it is not closed."""
    if is_unused(target):
        return "not used"
    parts = []
    if target.forced is not None:
        until = f" until {words.clock(target.forced.expires_at)}" if target.forced.expires_at is not None else ""
        is_seen = any(state == target.forced.state for state, _ in target.breakers or ())
        what = "" if is_seen else f"{state_words(target.forced.state)} "
        parts.append(f"{what}by {line(target.forced.actor or '?', 30)}{until}")
    if target.unknown_in:
        parts.append(f"unknown in {words.plural(target.unknown_in, 'process', 'processes')}")
    if target.probe_at is not None:
        parts.append(f"probe {words.until(target.probe_at, now_us)}")
    why = target.reason or (target.forced.reason if target.forced is not None else None)
    if why:
        parts.append(line(why))
    return " · ".join(parts)


def short_row(target: TargetView, now_us: int, width: int, name_width: int) -> Row:
    """One line of pane 4: what is wrong, else what was measured."""
    glyph, role = glyph_of(target)
    own_role: Role = "dim" if is_unused(target) else "" if role in {"ok", "dim"} else role
    cells = names(Cells().cell(glyph, 2, role), target.target, name_width, own_role)
    breakers = breaker_words(target)
    cells.put(breakers if name_width else breakers.partition(",")[0], own_role)
    trouble = trouble_words(target, now_us)
    if trouble:
        cells.put(" · ", "dim").put(trouble, "warn" if role == "warn" else "dim" if own_role == "dim" else "")
    left = width - width_of(cells.row())
    if not trouble or left > 24:
        _put_measured(cells, target, left)
    return clipped(cells.row(), width)


def _put_measured(cells: Cells, target: TargetView, room: int) -> None:
    """What fits of it: a number that is cut is another number."""
    known: list[tuple[str, Role]] = [
        (f"{words.rate(target.error_rate)} errors", error_role(target) or "dim"),
        (words.latency(target.p95_ms), "dim"),
    ]
    if target.headroom is not None:
        known.append((f"headroom {words.headroom(target.headroom)}", room_role(target) or "dim"))
    known.append((f"{words.count(target.calls_5m)} calls", "dim"))
    for number, (text, role) in enumerate(known):
        gap = "  " if number else " · "
        room -= len(gap) + len(text)
        if room < 0:
            return
        cells.put(gap, "dim").put(text, role)


def names(cells: Cells, raw: str, width: int, role: Role) -> Cells:
    """A name in a column of `width` cells, or as long as it is when there are no columns (0)."""
    return cells.cell(raw, width, role).cell("", 1) if width else cells.put(line(raw, 40), role).put(" ")


def columns_for(room: int) -> list[_Column]:
    """The columns that there is space for, the most important ones, in their order."""
    chosen: list[_Column] = []
    for column in sorted(_COLUMNS, key=lambda column: column.priority):
        if column.size > room:
            break
        chosen.append(column)
        room -= column.size
    return [column for column in _COLUMNS if column in chosen]


def table(view: StatusView, targets: Sequence[TargetView], width: int) -> list[Row]:
    """Head and one row a target, side by side, for the targets screen."""
    name = min(max([10, *(len(line(target.target)) for target in targets)]), 24)
    state = min(max([16, *(len(breaker_words(target)) for target in targets)]), 34 if width >= 130 else 16)
    troubles = (len(trouble_words(target, view.at)) for target in targets)
    wanted = min(max([0, *troubles]), 13 if width < 110 else 30)
    columns = columns_for(width - (3 + name + state + 2) - max(wanted, 13))
    head = Cells().cell("", 2).cell("target", name, "dim").cell("", 1).cell("breakers", state, "dim")
    for column in columns:
        head.cell(column.title, column.size, "dim", column.align)
    head.cell("", 2).put("what is wrong", "dim")
    return [clipped(head.row(), width), *(_table_row(target, view.at, name, state, columns, width) for target in targets)]


def _table_row(target: TargetView, now_us: int, name: int, state: int, columns: Sequence[_Column], width: int) -> Row:
    glyph, role = glyph_of(target)
    text_role: Role = "dim" if is_unused(target) else "" if role in {"ok", "dim"} else role
    cells = Cells().cell(glyph, 2, role).cell(target.target, name, text_role).cell("", 1)
    breakers = breaker_words(target)
    cells.cell(breakers if len(breakers) <= state else breakers.partition(",")[0], state, text_role)
    put_columns(cells, target, now_us, columns)
    return clipped(
        cells.cell("", 2).put(trouble_words(target, now_us), text_role if text_role in {"", "dim"} else "warn").row(), width
    )


_STATE: Final = 17
"""Cells of "forced open 12/12", the longest that matters."""


def compared_head(name: int, width: int) -> Row:
    """The titles over `compared_row`s."""
    head = Cells().cell("", 2 + name + 1).cell("breakers", _STATE, "dim")
    for column in columns_for(width - (3 + name + _STATE)):
        head.cell(column.title, column.size, "dim", column.align)
    return clipped(head.row(), width)


def compared_row(target: TargetView, now_us: int, name: int, width: int) -> Row:
    """One target beside the others that could serve as well."""
    glyph, role = glyph_of(target)
    text_role: Role = "dim" if is_unused(target) else "" if role in {"ok", "dim"} else role
    cells = Cells().cell(glyph, 2, role).cell(target.target, name, "bold").cell("", 1)
    cells.cell(breaker_words(target).partition(",")[0], _STATE, text_role)
    return clipped(put_columns(cells, target, now_us, columns_for(width - (3 + name + _STATE))).row(), width)


def put_columns(cells: Cells, target: TargetView, now_us: int, columns: Sequence[_Column]) -> Cells:
    """What is measured of a target, in columns."""
    for column in columns:
        text = line(column.text(target, now_us), 60)
        if column.align == "left":
            cells.cell(text, column.size - 1, column.role(target)).cell("", 1)
        else:
            cells.cell(text, column.size, column.role(target), "right")
    return cells


def detail(target: TargetView, now_us: int, width: int) -> list[Row]:
    """All that is known about one target: every process's breaker, results by kind, features."""
    results = ", ".join(f"{line(result, 40)} {calls:,}" for result, calls in target.results) or "no attempt in five minutes"
    origin = "" if target.is_configured else "  (only named, not in the configuration)"
    pairs: list[tuple[str, str]] = [
        ("breakers", breaker_words(target) + (f", since {_since(target.since, now_us)}" if target.since else "")),
        ("", trouble_words(target, now_us)),
        ("tried", "" if target.trial_failed is None else trial_words(target.trial_failed, now_us)),
        ("results", results),
        ("measured", f"{target.calls_5m:,} in 5m, errors {words.rate(target.error_rate)}, p95 {words.latency(target.p95_ms)}, "
                     f"first token {words.latency(target.first_token_p95_ms)}"),
        ("rate limit", f"{_room_words(target)} · {words.price(target.price)} per M tokens in, out"),
        ("features", ", ".join(line(name, 60) for name in target.features) or "no chain or route names it"),
        ("model", f"{line(target.model, 80)} at {line(target.provider, 40)}{origin}"),
    ]  # fmt: skip
    if target.forced is not None:
        pairs.append(("held", _held(target, now_us)))
    rows: list[Row] = []
    for label, value in pairs:
        if value:
            parts = wrapped(line(value, 2000), max(width - _LABEL, 10))
            rows += [row((f"{label if number == 0 else '':{_LABEL}}", "dim"), part) for number, part in enumerate(parts)]
    failed = failure_rows(target.failures, now_us, width, where="feature")
    return [*rows, *failed, *_process_rows(target, now_us, width)]


def _room_words(target: TargetView) -> str:
    if target.headroom is None:
        return "what is left is not known"
    return f"{words.headroom(target.headroom)} left of {line(target.headroom_of or '?', 40).replace('-', ' ')}"


def _held(target: TargetView, now_us: int) -> str:
    forced = target.forced
    if forced is None:
        return ""
    said = f"{state_words(forced.state)} by {line(forced.actor or '?', 40)} since {_since(forced.at, now_us)}"
    return said + (f": {line(forced.reason)}" if forced.reason else "")


def _since(at_us: int | None, now_us: int) -> str:
    return f"{words.clock(at_us)} ({words.ago(at_us, now_us)})"


def _process_rows(target: TargetView, now_us: int, width: int) -> list[Row]:
    if not target.by_process:
        return [row(("no live process has told of a breaker for it", "dim"))]
    head = Cells()
    for title, size in (("process", 12), ("host", 14), ("pid", 8), ("breaker", 14), ("since", 8), ("probe", 9)):
        head.cell(title, size, "dim")
    shown = sorted(target.by_process, key=lambda each: (each.state not in _SICK, each.service, each.host, each.pid))
    return [head.put("why", "dim").row(), *(_process_row(each, now_us, width) for each in shown)]


def _process_row(each: BreakerView, now_us: int, width: int) -> Row:
    role: Role = "crit" if each.state in _SHUT else "warn" if each.state in _SICK else ""
    cells = Cells().cell(each.service, 11).cell("", 1).cell(each.host, 13).cell("", 1).cell(each.pid, 8)
    cells.cell(state_words(each.state), 14, role).cell(words.ago(each.since, now_us), 8)
    probe = words.until(each.probe_at, now_us) if each.probe_at is not None else ""
    return clipped(cells.cell(probe, 9).put(each.reason or "", "dim").row(), width)
