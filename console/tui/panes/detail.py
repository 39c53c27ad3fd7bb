"""All that is known about one row, for the page that `enter` opens: what the columns left out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from console.core.text import block, line
from console.tui import words
from console.tui.cells import Row, row, wrapped
from console.tui.order import state_of
from console.tui.panes.features import killed_words, served_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from console.ops.views import ChangeView, FeatureView, StatusView, TargetView

_LABEL = 16


def rows_for(view: StatusView, pane: str, feature: str | None, index: int) -> tuple[str, Callable[[int], list[Row]]] | None:
    """(title, rows for a width) for the row under the cursor; None for a pane without rows to open."""
    if pane == "features":
        found = next((each for each in view.features if each.feature == feature), None)
        return None if found is None else (f"Feature {found.feature}", partial(_feature, found))
    if pane == "failover" and view.targets:
        target = view.targets[min(index, len(view.targets) - 1)]
        return f"Target {target.target}", partial(_target, target)
    if pane == "changes" and view.changes:
        change = view.changes[min(index, len(view.changes) - 1)]
        return "Change", partial(_change, change, view.at)
    return None


def _pairs(pairs: Sequence[tuple[str, object]], width: int) -> list[Row]:
    """Label and value, the value wrapped under itself."""
    rows = []
    for label, value in pairs:
        parts = wrapped(line(value, 2000), max(width - _LABEL, 10)) or [words.NONE]
        rows += [row((f"{label if number == 0 else '':{_LABEL}}", "dim"), part) for number, part in enumerate(parts)]
    return rows


def _feature(feature: FeatureView, width: int) -> list[Row]:
    killed = feature.killed
    pairs: list[tuple[str, object]] = [
        ("state", state_of(feature)),
        ("calls", f"{words.per_min(feature.calls_per_min)} a minute, {feature.calls_5m:,} in five minutes"),
        ("failed", f"{feature.failed_5m:,} ({words.rate(feature.error_rate)})"),
        ("blocked", f"{feature.blocked_5m:,} by kill switches"),
        ("p50 p95 p99", "  ".join(map(words.latency, (feature.p50_ms, feature.p95_ms, feature.p99_ms)))),
        ("served by", served_words(feature)),
        ("", ", ".join(f"{name} {calls:,}" for name, calls in feature.served_by)),
        ("target", feature.target or words.NONE),
        ("prompt", f"{feature.prompt.name} {feature.prompt.version}" if feature.prompt else words.NONE),
        ("tokens", f"{feature.input_tokens:,} in, {feature.output_tokens:,} out"),
        ("cost today", words.money(feature.cost_today_usd)),
        ("quality", f"{feature.quality:.2f}" if feature.quality is not None else "– (no judge in this version)"),
    ]
    if feature.unpriced_models:
        pairs.append(("", f"without {', '.join(feature.unpriced_models)}: no price is known"))
    if killed is not None:
        pairs += [
            ("killed", killed_words(killed)),
            ("since", words.clock(killed.at)),
            ("reason", killed.reason or words.NONE),
        ]
    return _pairs(pairs, width)


def _target(target: TargetView, width: int) -> list[Row]:
    breakers = ", ".join(f"{state} in {number}" for state, number in target.breakers or ()) or "– (none in this version)"
    pairs: list[tuple[str, object]] = [
        ("model", target.model),
        ("provider", target.provider),
        ("calls", f"{target.calls_5m:,} in five minutes"),
        ("errors", words.rate(target.error_rate)),
        ("p95", words.latency(target.p95_ms)),
        ("breakers", breakers),
    ]
    return _pairs(pairs, width)


def _change(change: ChangeView, now_us: int, width: int) -> list[Row]:
    pairs: list[tuple[str, object]] = [
        ("act", f"{change.act} {change.subject}" + (" (undone)" if change.is_undone else "")),
        ("by", change.actor),
        ("at", f"{words.clock(change.at)}, {words.ago(change.at, now_us)} ago"),
        ("version", change.version),
        ("id", change.id),
    ]
    reason = block(change.reason, lines=50) if change.reason else words.NONE
    pairs += [("reason" if number == 0 else "", part) for number, part in enumerate(reason.split("\n"))]
    return _pairs(pairs, width)
