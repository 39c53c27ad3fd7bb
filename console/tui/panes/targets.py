"""Targets in rows: breakers, what their attempts ended with, who holds them. For pane 4, the targets screen and the page of
one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.tui import words
from console.tui.cells import Cells, Row, clipped, row, width_of, wrapped
from console.tui.order import ERROR_CRIT, ERROR_WARN, FEW_CALLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from console.ops.views import BreakerView, StatusView, TargetView
    from console.tui.cells import Role

_STATES: Final = {"half_open": "half-open", "forced_open": "forced open", "forced_closed": "forced closed"}
_SHUT: Final = frozenset({"open", "forced_open"})
_SICK: Final = frozenset({"open", "half_open", "forced_open"})
_LABEL: Final = 12
_MEASURED: Final = (("calls 5m", 9), ("errors", 8), ("p95", 8))


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


def error_role(target: TargetView) -> Role:
    rate, few = target.error_rate, target.calls_5m < FEW_CALLS
    if rate is None or few:
        return ""
    return "crit" if rate > ERROR_CRIT else "warn" if rate > ERROR_WARN else ""


def is_unused(target: TargetView) -> bool:
    """Whether nobody names it and nothing is sent to it: what its breakers held last troubles nobody. The view has no calls of
    the last minute, so that five must have passed."""
    return not (target.features or target.calls_5m or target.forced or target.unknown_in)


def is_wrong(target: TargetView) -> bool:
    """Whether somebody should look at it first."""
    return state_of_breakers(target)[0] in "▲■" or error_role(target) == "crit"


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
    glyph, role = state_of_breakers(target)
    if error_role(target) and glyph == "●":
        glyph, role = "▲", error_role(target)
    own_role: Role = "dim" if is_unused(target) else "" if role in {"ok", "dim"} else role
    cells = names(Cells().cell(glyph, 2, role), target.target, name_width, own_role)
    breakers = breaker_words(target)
    cells.put(breakers if name_width else breakers.partition(",")[0], own_role)
    trouble = trouble_words(target, now_us)
    if trouble:
        cells.put(" · ", "dim").put(trouble, "warn" if role == "warn" else "dim" if own_role == "dim" else "")
    left = width - width_of(cells.row())
    if not trouble or left > 24:
        known = (f"{words.count(target.calls_5m)} calls", words.rate(target.error_rate), words.latency(target.p95_ms))
        cells.put(" · ", "dim").put("  ".join(known), error_role(target) or "dim")
    return clipped(cells.row(), width)


def names(cells: Cells, raw: str, width: int, role: Role) -> Cells:
    """A name in a column of `width` cells, or as long as it is when there are no columns (0)."""
    return cells.cell(raw, width, role).cell("", 1) if width else cells.put(line(raw, 40), role).put(" ")


def table(view: StatusView, targets: Sequence[TargetView], width: int) -> list[Row]:
    """Head and one row a target, for the targets screen."""
    name = min(max([10, *(len(line(target.target)) for target in targets)]), 24)
    state = min(max([16, *(len(breaker_words(target)) for target in targets)]), 34 if width >= 110 else 20)
    head = Cells().cell("", 2).cell("target", name, "dim").cell("", 1).cell("breakers", state, "dim")
    for title, size in _MEASURED:
        head.cell(title, size, "dim", "right")
    head.cell("", 2).put("what is wrong", "dim")
    return [head.row(), *(_table_row(target, view.at, name, state, width) for target in targets)]


def _table_row(target: TargetView, now_us: int, name: int, state: int, width: int) -> Row:
    glyph, role = state_of_breakers(target)
    text_role: Role = "dim" if is_unused(target) else "" if role in {"ok", "dim"} else role
    cells = Cells().cell(glyph, 2, role).cell(target.target, name, text_role).cell("", 1)
    cells.cell(breaker_words(target), state, text_role)
    measured = (words.count(target.calls_5m), words.rate(target.error_rate), words.latency(target.p95_ms))
    for text, (title, size) in zip(measured, _MEASURED, strict=True):
        cells.cell(text, size, error_role(target) if title == "errors" else "", "right")
    return clipped(
        cells.cell("", 2).put(trouble_words(target, now_us), text_role if text_role in {"", "dim"} else "warn").row(), width
    )


def detail(target: TargetView, now_us: int, width: int) -> list[Row]:
    """All that is known about one target: every process's breaker, results by kind, features."""
    results = ", ".join(f"{line(result, 40)} {calls:,}" for result, calls in target.results) or "no attempt in five minutes"
    origin = "" if target.is_configured else "  (only named, not in the configuration)"
    pairs: list[tuple[str, str]] = [
        ("breakers", breaker_words(target) + (f", since {_since(target.since, now_us)}" if target.since else "")),
        ("", trouble_words(target, now_us)),
        ("results", results),
        ("measured", f"{target.calls_5m:,} in five minutes, errors {words.rate(target.error_rate)}, "
                     f"p95 {words.latency(target.p95_ms)}"),
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
    return [*rows, *_process_rows(target, now_us, width)]


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
