"""All that is known about one row, for the page that `enter` opens: what the columns left out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from console.core.text import block, line
from console.tui import words
from console.tui.cells import Row, row, wrapped
from console.tui.order import state_of
from console.tui.panes import failover, targets
from console.tui.panes.failures import failure_rows
from console.tui.panes.features import how_served, killed_words, served_words
from console.tui.things import feature_named, target_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from console.ops.views import ChangeView, FeatureView, StatusView, TimelineView
    from console.tui.things import Thing

_LABEL = 16


def page_of(view: StatusView, thing: Thing | None) -> tuple[str, Callable[[int], list[Row]]] | None:
    """(title, rows for a width) of a feature or a target; None for anything else."""
    if thing is None:
        return None
    feature = feature_named(view, thing.name) if thing.kind == "feature" else None
    if feature is not None:
        return f"Feature {feature.feature}", partial(_feature, feature, view.at)
    target = target_named(view, thing.name) if thing.kind == "target" else None
    return (f"Target {target.target}", partial(targets.detail, target, view.at)) if target is not None else None


def _pairs(pairs: Sequence[tuple[str, object]], width: int) -> list[Row]:
    """Label and value, the value wrapped under itself."""
    rows = []
    for label, value in pairs:
        parts = wrapped(line(value, 2000), max(width - _LABEL, 10)) or [words.NONE]
        rows += [row((f"{label if number == 0 else '':{_LABEL}}", "dim"), part) for number, part in enumerate(parts)]
    return rows


def _feature(feature: FeatureView, now_us: int, width: int) -> list[Row]:
    killed = feature.killed
    pairs: list[tuple[str, object]] = [
        ("state", state_of(feature)),
        ("calls", f"{words.per_min(feature.calls_per_min)} a minute, {feature.calls_5m:,} in five minutes"),
        ("failed", f"{feature.failed_5m:,} ({words.rate(feature.error_rate)})"),
        ("blocked", f"{feature.blocked_5m:,} by kill switches"),
        ("p50 p95 p99", "  ".join(map(words.latency, (feature.p50_ms, feature.p95_ms, feature.p99_ms)))),
        ("served by", served_words(feature)),
        ("", ", ".join(f"{how_served(name)} {calls:,}" for name, calls in feature.served_by)),
        ("target", feature.target or words.NONE),
        ("chain", words.chain(feature.chain) if feature.chain else "the application decides"),
        *_elsewhere(feature, now_us),
        ("prompt", f"{feature.prompt.name} {feature.prompt.version}" if feature.prompt else words.NONE),
        ("attempts", f"{feature.attempts_per_call:.2f} for each call" if feature.attempts_per_call is not None else words.NONE),
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
    failed = [row(""), row((f"last {len(feature.failures) or ''} failures".replace("  ", " "), "bold"))]
    return [*_pairs(pairs, width), *failed, *failure_rows(feature.failures, now_us, width, where="target")]


def _elsewhere(feature: FeatureView, now_us: int) -> list[tuple[str, object]]:
    """Why it is not where its configured chain begins."""
    pairs: list[tuple[str, object]] = []
    if feature.route is not None:
        pairs += [("route", words.chain(feature.route.targets)), ("", failover.route_words(feature, now_us))]
    fallback = feature.fallback
    if fallback is not None:
        since = f"since {words.clock(fallback.since)} ({words.ago(fallback.since, now_us)})" if fallback.since else ""
        pairs.append(("fallback", f"{line(fallback.target, 60)} instead of {line(fallback.first, 60)} {since}".rstrip()))
        pairs.append(("", fallback.reason))
    return pairs


def change(change: ChangeView, now_us: int, width: int) -> list[Row]:
    """One act, whole: the reason with its lines."""
    pairs: list[tuple[str, object]] = [
        ("act", f"{change.act} {change.subject}" + (" (undone)" if change.is_undone else "")),
        ("from", line(change.before or words.NONE)),
        ("to", line(change.after or words.NONE)),
        ("ends", words.clock(change.expires_at) if change.expires_at is not None else "when it is taken back"),
        ("by", change.actor),
        ("at", f"{words.clock(change.at)}, {words.ago(change.at, now_us)} ago"),
        ("version", change.version),
        ("id", change.id),
    ]
    reason = block(change.reason, lines=50) if change.reason else words.NONE
    pairs += [("reason" if number == 0 else "", part) for number, part in enumerate(reason.split("\n"))]
    return _pairs(pairs, width)


def entry(entry: TimelineView, now_us: int, width: int) -> list[Row]:
    """One line of the timeline that is no act, whole."""
    pairs: list[tuple[str, object]] = [
        ("what", entry.kind),
        ("at", f"{words.clock(entry.at)}, {words.ago(entry.at, now_us)} ago"),
        ("who", entry.actor or words.NONE),
        ("text", entry.text),
        ("reason", entry.reason or words.NONE),
    ]
    return _pairs(pairs, width)
