"""`console status`: the overview as text or JSON, once or every second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from console.cli.options import common, desk_of
from console.cli.output import clock, number, say, say_json, table, when
from console.core.durations import ago

if TYPE_CHECKING:
    from console.core.switches import Switch
    from console.ops.views import FeatureView, StatusView


@click.command()
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C; with --json one document a line.")
@common
@click.pass_context
def status(ctx: click.Context, watch: bool, config: str | None, data: str | None, as_json: bool) -> None:
    """Processes, features, targets, switches and changes, now.

    Exits 1 when control.db or telemetry.db cannot be read; what the numbers say is no error.
    """
    desk = desk_of(ctx, config, data)
    while True:
        view = desk.status()
        if as_json:
            say_json(status_json(view))
        elif watch:
            say(status_line(view))
        else:
            say("\n".join(status_lines(view)))
        if not watch:
            break
        time.sleep(1)
    if view.telemetry_problem or (view.control.problem or "").startswith("control.db:"):
        ctx.exit(1)


def status_json(view: StatusView) -> dict[str, Any]:
    """What `console status --json` prints: what is not known is null."""
    return {
        "environment": view.environment,
        "host": view.host,
        "at": when(view.at),
        "data_age_s": view.data_age_s,
        "telemetry_problem": view.telemetry_problem,
        "control": {
            "version": view.control.version,
            "problem": view.control.problem,
            "is_writable": view.control.is_writable,
            "following": view.control.following,
            "live": view.control.live,
        },
        "switches": [switch_json(switch) for switch in view.switches],
        "processes": [
            {
                "pid": process.pid,
                "host": process.host,
                "service": process.service,
                "state": process.state,
                "control_version": process.control_version,
                "control_source": process.control_source,
                "seconds_since_heartbeat": round(process.heartbeat_age_s, 3),
                "queue_depth": process.queue_depth,
                "dropped": process.dropped,
                "note": process.note,
            }
            for process in view.processes
        ],
        "features": [feature_json(feature) for feature in view.features],
        "targets": [
            {
                "target": target.target,
                "model": target.model,
                "provider": target.provider,
                "calls_5m": target.calls_5m,
                "breakers": None if target.breakers is None else dict(target.breakers),
                "error_rate": target.error_rate,
                "p95_ms": target.p95_ms,
            }
            for target in view.targets
        ],
        "changes": [
            {
                "id": change.id,
                "at": when(change.at),
                "actor": change.actor,
                "act": change.act,
                "subject": change.subject,
                "reason": change.reason,
                "version": change.version,
                "is_undone": change.is_undone,
            }
            for change in view.changes
        ],
    }


def switch_json(switch: Switch) -> dict[str, Any]:
    """An engaged switch."""
    return {
        "scope": str(switch.scope),
        "reason": switch.reason,
        "actor": switch.actor,
        "at": when(switch.at),
        "expires_at": when(switch.expires_at),
        "source": switch.source,
    }


def feature_json(feature: FeatureView) -> dict[str, Any]:
    """A feature's row."""
    return {
        "feature": feature.feature,
        "calls_5m": feature.calls_5m,
        "calls_per_min": feature.calls_per_min,
        "failed_5m": feature.failed_5m,
        "blocked_5m": feature.blocked_5m,
        "error_rate": feature.error_rate,
        "p50_ms": feature.p50_ms,
        "p95_ms": feature.p95_ms,
        "p99_ms": feature.p99_ms,
        "input_tokens": feature.input_tokens,
        "output_tokens": feature.output_tokens,
        "cost_today_usd": feature.cost_today_usd,
        "unpriced_models": list(feature.unpriced_models),
        "served_by": dict(feature.served_by),
        "target": feature.target,
        "prompt": None if feature.prompt is None else {"name": feature.prompt.name, "version": feature.prompt.version},
        "quality": feature.quality,
        "killed": None if feature.killed is None else switch_json(feature.killed),
    }


def status_line(view: StatusView) -> str:
    """One plain line for a log or a terminal that can do nothing else."""
    parts = [clock(view.at), view.environment, f"processes {view.control.following}/{view.control.live} follow"]
    for feature in view.features:
        state = "OFF" if feature.killed else number(feature.error_rate, "{:.1f}% err", 100)
        parts.append(f"{feature.feature} {feature.calls_per_min:.0f}/min {number(feature.p95_ms, 'p95 {:.0f}ms')} {state}")
    parts += [f"PROBLEM {problem}" for problem in (view.control.problem, view.telemetry_problem) if problem]
    return " | ".join(parts)


def status_lines(view: StatusView) -> list[str]:
    """The overview for people, without a screen."""
    age = "nothing recorded yet" if view.data_age_s is None else f"data {ago(view.data_age_s)}"
    version = view.control.version or "none"
    lines = [
        f"{view.environment} · {view.host} · {view.control.live} processes, control {version}"
        f" ({view.control.following}/{view.control.live} follow) · {age}"
    ]
    lines += [f"PROBLEM {problem}" for problem in (view.control.problem, view.telemetry_problem) if problem]
    lines += [f"OFF {switch.scope}: {switch.reason or 'no reason given'} ({switch.actor or switch.source})"
              for switch in view.switches]  # fmt: skip
    if view.features:
        lines += ["", table([_feature_row(feature) for feature in view.features], _FEATURE_HEAD)]
    else:
        lines += ["", "No calls yet: give your application's client `middleware=[console.middleware]`, or run `console demo`."]
    if view.targets:
        rows = [
            [t.target, t.provider, str(t.calls_5m), number(t.error_rate, "{:.1f} %", 100), number(t.p95_ms, "{:.0f} ms")]
            for t in view.targets
        ]
        lines += ["", table(rows, ["target", "provider", "calls 5m", "errors", "p95"])]
    if view.processes:
        lines += ["", table([
            [p.service, str(p.pid), p.host, p.state, p.control_source, f"{p.heartbeat_age_s:.0f} s", str(p.dropped),
             p.note or ""]
            for p in view.processes
        ], ["service", "pid", "host", "state", "control", "heartbeat", "dropped", "note"])]  # fmt: skip
    if view.changes:
        rows = [[clock(c.at), c.actor, c.act, c.subject, c.reason or "", "undone" if c.is_undone else ""] for c in view.changes]
        lines += ["", table(rows, ["changed", "by", "act", "what", "why", ""])]
    return lines


_FEATURE_HEAD = ["feature", "calls/min", "errors", "p50", "p95", "p99", "today", "served by", "target", "state"]


def _feature_row(feature: FeatureView) -> list[str]:
    served = " ".join(f"{name} {calls}" for name, calls in feature.served_by)
    cost = number(feature.cost_today_usd, "${:.2f}") + (" + no price" if feature.unpriced_models else "")
    return [
        feature.feature,
        number(feature.calls_per_min, "{:.0f}"),
        number(feature.error_rate, "{:.1f} %", 100),
        number(feature.p50_ms, "{:.0f} ms"),
        number(feature.p95_ms, "{:.0f} ms"),
        number(feature.p99_ms, "{:.0f} ms"),
        cost,
        served or "–",
        feature.target or "–",
        "OFF" if feature.killed else "on",
    ]
