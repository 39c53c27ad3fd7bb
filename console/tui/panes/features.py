"""Pane 1: one row a feature, worst first, after a row for all of them. Columns leave by priority when space is
short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.core.switches import ALL
from console.ops.views import LEAST_SHARE
from console.tui import words
from console.tui.cells import Cells, Row, row
from console.tui.order import ERROR_CRIT, ERROR_WARN, State, state_of
from console.tui.things import EVERYTHING, Thing, engaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from console.core.switches import Switch
    from console.ops.views import FeatureView, StatusView
    from console.tui.cells import Align, Role

GLYPH: Final[dict[State, str]] = {"OFF": "■", "CRIT": "▲", "WARN": "▲", "OK": "●", "IDLE": "○"}
ROLE: Final[dict[State, Role]] = {"OFF": "off", "CRIT": "crit", "WARN": "warn", "OK": "", "IDLE": "dim"}


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int
    text: Callable[[FeatureView], str]
    align: Align = "right"


def _prompt(feature: FeatureView) -> str:
    return words.NONE if feature.prompt is None else f"{feature.prompt.name} {feature.prompt.version}"


def _quality(feature: FeatureView) -> str:
    return words.NONE if feature.quality is None else f"{feature.quality:.2f}"


def _today(feature: FeatureView) -> str:
    known = words.spent(feature.cost_today_usd, feature.budget_today_usd)
    return f">{known}" if feature.unpriced_models and feature.cost_today_usd is not None else known


_FIXED: Final = (
    _Column("calls/min", 9, lambda f: words.per_min(f.calls_per_min)),
    _Column("errors", 7, lambda f: words.rate(f.error_rate)),
    _Column("p95", 7, lambda f: words.latency(f.p95_ms)),
)
_OPTIONAL: Final = (
    _Column("today", 9, _today),
    _Column("prompt", 18, _prompt, "left"),
    _Column("p99", 7, lambda f: words.latency(f.p99_ms)),
    _Column("quality", 7, _quality),
    _Column("p50", 7, lambda f: words.latency(f.p50_ms)),
)
"""In the order in which they come back when there is space."""
_STATE: Final = 5
_GLYPH_CELLS: Final = 2
_NAME: Final = (14, 30)
_SERVED: Final = (20, 40)


def columns_for(width: int) -> tuple[_Column, ...]:
    """The columns that fit beside name, state and served by."""
    left = width - _GLYPH_CELLS - _NAME[0] - 1 - _STATE - 1 - _SERVED[0]
    left -= sum(column.width + 1 for column in _FIXED)
    chosen = list(_FIXED)
    for column in _OPTIONAL:
        if left < column.width + 1:
            break
        chosen.append(column)
        left -= column.width + 1
    return tuple(chosen)


def head(width: int) -> Row:
    """The titles of the columns."""
    name, served = _widths(width)
    cells = Cells().cell("", _GLYPH_CELLS).cell("feature", name, "dim").cell("", 1).cell("state", _STATE + 1, "dim")
    for column in columns_for(width):
        cells.cell(column.title, column.width, "dim", column.align).cell("", 1)
    return cells.cell("served by", served, "dim").row()


def all_row(view: StatusView, width: int) -> Row:
    """The sum of all features. K on it is the kill switch of everything."""
    name, served = _widths(width)
    features = view.features
    stop = engaged(view, ALL)
    calls = sum(feature.calls_5m for feature in features)
    failed = sum(feature.failed_5m for feature in features)
    known = [feature.cost_today_usd for feature in features if feature.cost_today_usd is not None]
    unknown = any(feature.unpriced_models or (feature.calls_5m and feature.cost_today_usd is None) for feature in features)
    off = sum(feature.killed is not None for feature in features)
    texts = {
        "calls/min": words.per_min(sum(feature.calls_per_min for feature in features)) if features else words.NONE,
        "errors": words.rate(failed / calls if calls else None),
        "today": (">" if unknown else "") + words.spent(sum(known), view.budget_today_usd) if known else words.NONE,
    }
    role: Role = "off" if stop else "bold"
    cells = Cells().cell("■" if stop else " ", _GLYPH_CELLS, role).cell("all features", name, role).cell("", 1)
    cells.cell("OFF" if stop else "", _STATE + 1, role)
    for column in columns_for(width):
        cells.cell(texts.get(column.title, ""), column.width, role, column.align).cell("", 1)
    said = killed_words(stop) if stop else words.plural(len(features), "feature") + (f", {off} off" if off else "")
    return cells.cell(said, served, role).row()


def feature_row(feature: FeatureView, width: int) -> Row:
    name, served = _widths(width)
    state = state_of(feature)
    role = ROLE[state]
    cells = Cells().cell(GLYPH[state], _GLYPH_CELLS, role if role else "ok").cell(feature.feature, name, role)
    cells.cell("", 1).cell(state if state != "IDLE" else "idle", _STATE + 1, role)
    for column in columns_for(width):
        cells.cell(column.text(feature), column.width, _cell_role(column, feature, role), column.align).cell("", 1)
    return cells.cell(served_words(feature, served), served, role).row()


def _cell_role(column: _Column, feature: FeatureView, role: Role) -> Role:
    """The number that makes the row bad is the one in colour when the row itself is well."""
    if column.title == "errors" and feature.error_rate is not None and role == "":
        return "crit" if feature.error_rate > ERROR_CRIT else "warn" if feature.error_rate > ERROR_WARN else role
    return role


def served_words(feature: FeatureView, width: int | None = None) -> str:
    """Who answers now, in brackets why it is not the first of the chain; or why nobody does. What was so in the last five
    minutes only is said where `width` has room for it."""
    if feature.killed is not None:
        blocked = f", {feature.blocked_5m:,} blocked" if feature.blocked_5m else ""
        return killed_words(feature.killed) + blocked
    target = feature.target
    if feature.fallback is not None:
        target = feature.fallback.served
    elif feature.route is not None:  # the five minutes of `target` still hold what was before the switch
        target = next(iter(feature.route.targets), target)
    target = target or (how_served(feature.served_by[0][0]) if feature.served_by else words.NONE)
    marks, past = list(_marks(feature)), ""
    if feature.fallback is None and not _is_away(feature):
        share = _shares(feature).get("fallback", 0.0)
        past = f" · {share * 100:.0f} % fallback in 5 min" if share >= LEAST_SHARE else ""
    said = brief = target
    if marks:
        shares = [f"{name} {share}".rstrip() for name, share in marks]
        said = f"{target} ({', '.join(shares)}{' of 5 min' if marks[-1][1] else ''})"
        brief = f"{target} ({', '.join(name for name, _ in marks)})"
    return next((text for text in (said + past, said) if width is None or len(text) <= width), brief)


def how_served(name: str) -> str:
    """A way of being served as people say it: by nobody is blocked."""
    return "blocked" if name == "none" else name


def _is_away(feature: FeatureView) -> bool:
    """Whether the last that is known of it, while it has no calls now, is another target than its first."""
    return feature.route is None and feature.target is not None and feature.target not in feature.chain[:1]


def _shares(feature: FeatureView) -> dict[str, float]:
    """How the calls of five minutes were served, the first of the chain aside."""
    total = sum(calls for _, calls in feature.served_by)
    return {name: calls / total for name, calls in feature.served_by if name != "primary" and calls and total}


def _marks(feature: FeatureView) -> Iterator[tuple[str, str]]:
    """("fallback", ""), ("switched", ""), ("degraded", "12%"): what differs from the first target of the configured chain."""
    if feature.route is not None:
        yield "switched", ""
    if feature.fallback is not None and feature.fallback.served == feature.fallback.target:
        yield "fallback", ""
    for name, share in _shares(feature).items():
        if share >= LEAST_SHARE and (name != "fallback" or (feature.fallback is None and _is_away(feature))):
            yield how_served(name), "" if share >= 0.995 else f"{share:.0%}"


def killed_words(switch: Switch) -> str:
    """ "killed by op1", with the scope when it is not the feature's own, and with the end when it has one."""
    if switch.source != "control":
        return "killed by a break-glass file"
    what = "" if switch.scope.kind == "feature" else f" ({switch.scope})"
    until = f" until {words.clock(switch.expires_at)}" if switch.expires_at is not None else ""
    return f"killed by {switch.actor or '?'}{what}{until}"


def pane(view: StatusView, ordered: Sequence[FeatureView], width: int, *, is_filtered: bool = False) -> list[Row]:
    """Head, the row of all (unless filtered), then the features."""
    first = [] if is_filtered else [all_row(view, width)]
    return [head(width), *first, *(feature_row(feature, width) for feature in ordered)]


def nothing_yet(view: StatusView) -> list[Row]:
    """What stands here before any process was ever seen."""
    return [
        row(("No application process has ever reported here.", "bold")),
        row(""),
        row("In the application:"),
        row(("  from console import Console", "key")),
        row(("  client = Anthropic(middleware=[Console().middleware])", "key")),
        row("with the same data directory as this console, or to look around first:"),
        row(("  console demo", "key")),
        row(""),
        row(("Kill switches can be set already: they hold for whoever starts.", "dim")),
        *([row((view.telemetry_problem, "warn"))] if view.telemetry_problem else []),
    ]


def _widths(width: int) -> tuple[int, int]:
    """Cells for name and served by: what the columns leave, the name first."""
    left = width - _GLYPH_CELLS - 1 - _STATE - 1 - sum(column.width + 1 for column in columns_for(width))
    name = min(max(left - _SERVED[0], _NAME[0]), _NAME[1])
    return name, max(left - name, 0)


def rows_of(ordered: Sequence[FeatureView], *, is_filtered: bool = False) -> list[Thing]:
    """What the rows below the head stand for."""
    first = [] if is_filtered else [EVERYTHING]
    return [*first, *(Thing("feature", feature.feature) for feature in ordered)]
