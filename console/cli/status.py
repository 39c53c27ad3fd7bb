"""`console status`: the overview as text or JSON, once or every second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from console.cli.options import common, desk_of
from console.cli.output import clock, number, say, say_json, table, when
from console.cli.targets import failure_json, target_json, target_lines
from console.core.durations import ago

if TYPE_CHECKING:
    from console.core.switches import Switch
    from console.ops.views import BudgetView, ChangeView, ExceededView, FeatureView, StatusView


PAGE_WAIT_S = 1.0
"""How long a provider's status page is waited for, and only when something fails: an operator must not wait for it."""


@click.command()
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C; with --json one document a line.")
@common
@click.pass_context
def status(ctx: click.Context, watch: bool, config: str | None, data: str | None, as_json: bool) -> None:
    """Processes, features, targets, prompts, switches and changes, now.

    Exits 1 when control.db or telemetry.db cannot be read; what the numbers say is no error.
    """
    desk = desk_of(ctx, config, data)
    if watch:
        desk.watch_status_page()
    while True:
        view = desk.status()
        if view.verdict.is_trouble and not watch and desk.ask_status_page(PAGE_WAIT_S):
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
        "verdict": {"side": view.verdict.side, "said": view.verdict.said, "evidence": list(view.verdict.evidence)},
        "status_page": None if view.page is None else {
            "state": view.page.state, "at": when(view.page.at), "indicator": view.page.indicator,
            "description": view.page.description, "incidents": list(view.page.incidents),
            "components": [{"name": name, "status": status} for name, status in view.page.components],
            "problem": view.page.problem or None,
        },
        "budget_today_usd": view.budget_today_usd,
        "budgets": [
            {"scope": one.scope, "what": one.what, "limit": one.limit, "used": one.used} for one in view.budgets
        ],
        "exceeded": [
            {"scope": one.scope, "what": one.what, "limit": one.limit, "used": one.used, "since": when(one.since),
             "is_enforced": one.is_enforced}
            for one in view.exceeded
        ],
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
        "targets": [target_json(target) for target in view.targets],
        "prompt_alarms": list(view.prompt_alarms),
        "changes": [
            {
                "id": change.id,
                "at": when(change.at),
                "actor": change.actor,
                "act": change.act,
                "subject": change.subject,
                "reason": change.reason,
                "version": change.version,
                "before": change.before,
                "after": change.after,
                "expires_at": when(change.expires_at),
                "is_undone": change.is_undone,
            }
            for change in view.changes
        ],
    }  # fmt: skip


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
        "budget_today_usd": feature.budget_today_usd,
        "unpriced_models": list(feature.unpriced_models),
        "served_by": dict(feature.served_by),
        "target": feature.target,
        "prompt": None if feature.prompt is None else {"name": feature.prompt.name, "version": feature.prompt.version},
        "chain": list(feature.chain),
        "route": None if feature.route is None else {
            "scope": str(feature.route.scope), "targets": list(feature.route.targets), "reason": feature.route.reason,
            "actor": feature.route.actor, "at": when(feature.route.at), "expires_at": when(feature.route.expires_at),
        },
        "fallback": None if feature.fallback is None else {
            "target": feature.fallback.target, "first": feature.fallback.first, "reason": feature.fallback.reason,
            "since": when(feature.fallback.since), "shares": dict(feature.fallback.shares),
        },
        "attempts_per_call": feature.attempts_per_call,
        "failures": [failure_json(failure) for failure in feature.failures],
        "quality": feature.quality,
        "killed": None if feature.killed is None else switch_json(feature.killed),
    }  # fmt: skip


def status_line(view: StatusView) -> str:
    """One plain line for a log or a terminal that can do nothing else."""
    parts = [clock(view.at), view.environment, f"processes {view.control.following}/{view.control.live} follow"]
    for feature in view.features:
        state = "OFF" if feature.killed else number(feature.error_rate, "{:.1f}% err", 100)
        state += f" served by {feature.fallback.served}" if feature.fallback else ""
        parts.append(f"{feature.feature} {feature.calls_per_min:.0f}/min {number(feature.p95_ms, 'p95 {:.0f}ms')} {state}")
    parts += [f"PROBLEM {problem}" for problem in (view.control.problem, view.telemetry_problem) if problem]
    parts += [f"VERDICT {view.verdict.said}"] if view.verdict.is_trouble else []
    return " | ".join(parts)


def status_lines(view: StatusView) -> list[str]:
    """The overview for people, without a screen."""
    age = "nothing recorded yet" if view.data_age_s is None else f"data {ago(view.data_age_s)}"
    version = view.control.version or "none"
    lines = [
        f"{view.environment} · {view.host} · {view.control.live} processes, control {version}"
        f" ({view.control.following}/{view.control.live} follow) · {age}"
    ]
    lines.append(f"verdict: {view.verdict.said}")
    lines += [f"  {said}" for said in view.verdict.evidence] if view.verdict.is_trouble else []
    lines += [f"PROBLEM {problem}" for problem in (view.control.problem, view.telemetry_problem) if problem]
    lines += [f"ALARM {alarm}" for alarm in view.prompt_alarms]
    lines += [f"EXCEEDED {limit_words(one)}{_since(one.since)}" for one in view.exceeded]
    lines += [f"OFF {switch.scope}: {switch.reason or 'no reason given'} ({switch.actor or switch.source})"
              for switch in view.switches]  # fmt: skip
    if view.features:
        lines += [
            "",
            table([_feature_row(feature) for feature in view.features], _FEATURE_HEAD),
            *_serving_lines(view.features),
        ]
    else:
        lines += ["", "No calls yet: give your application's client `middleware=[console.middleware]`, or run `console demo`."]
    lines += [f"budget: {limit_words(one)}" for one in view.budgets]
    if view.targets:
        lines += ["", *target_lines(view.targets)]
    if view.processes:
        lines += ["", table([
            [p.service, str(p.pid), p.host, p.state, p.control_source, f"{p.heartbeat_age_s:.0f} s", str(p.dropped),
             p.note or ""]
            for p in view.processes
        ], ["service", "pid", "host", "state", "control", "heartbeat", "dropped", "note"])]  # fmt: skip
    if view.changes:
        rows = [
            [clock(c.at), c.actor, c.act, c.subject, _moved(c), c.reason or "", "undone" if c.is_undone else ""]
            for c in view.changes
        ]
        lines += ["", table(rows, ["changed", "by", "act", "what", "from → to", "why", ""])]
    return lines


def limit_words(one: ExceededView | BudgetView) -> str:
    """ "feature:summarize $81.20 of $80.00 a day", "customer:acme 700 of 600 requests a minute"."""
    limit, used = one.limit or 0.0, one.used or 0.0
    kind, _, span = one.what.rpartition("_per_")
    if kind == "budget_usd":
        return f"{one.scope} ${used:,.2f} of ${limit:,.2f} a {span}"
    return f"{one.scope} {used:,.0f} of {limit:,.0f} {kind or one.what}" + (f" a {span}" if kind else "")


def _since(at: int | None) -> str:
    return "" if at is None else f" since {clock(at)}"


def _moved(change: ChangeView) -> str:
    return "" if change.before is None or change.after is None else f"{change.before} → {change.after}"


def _serving_lines(features: tuple[FeatureView, ...]) -> list[str]:
    """Where features do not go by their configured chain, or are not served by its first target."""
    lines = []
    for feature in features:
        if feature.route is not None:
            until = "" if feature.route.expires_at is None else f" until {clock(feature.route.expires_at)}"
            why = feature.route.reason or "no reason given"
            lines.append(f"{feature.feature}: switched to {', '.join(feature.chain)} by {feature.route.actor}{until}: {why}")
        if feature.fallback is not None:
            since = "" if feature.fallback.since is None else f", since {clock(feature.fallback.since)}"
            lines.append(
                f"{feature.feature}: served by {feature.fallback.served}, a fallback{since}: {feature.fallback.reason}"
            )
    return lines


_FEATURE_HEAD = [
    "feature",
    "calls/min",
    "errors",
    "p50",
    "p95",
    "p99",
    "today",
    "prompt",
    "served by",
    "chain",
    "target",
    "state",
]


def _feature_row(feature: FeatureView) -> list[str]:
    served = " ".join(f"{name} {calls}" for name, calls in feature.served_by)
    cost = number(feature.cost_today_usd, "${:.2f}") + (" + no price" if feature.unpriced_models else "")
    cost += "" if feature.budget_today_usd is None else f" of ${feature.budget_today_usd:g}"
    return [
        feature.feature,
        number(feature.calls_per_min, "{:.0f}"),
        number(feature.error_rate, "{:.1f} %", 100),
        number(feature.p50_ms, "{:.0f} ms"),
        number(feature.p95_ms, "{:.0f} ms"),
        number(feature.p99_ms, "{:.0f} ms"),
        cost,
        "–" if feature.prompt is None else f"{feature.prompt.name} v{feature.prompt.version.removeprefix('v')}",
        served or "–",
        ", ".join(feature.chain) or "–",
        feature.target or "–",
        "OFF" if feature.killed else "on",
    ]
