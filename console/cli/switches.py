"""`console kill`, `console restore`, `console undo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.cli.options import Duration, common, desk_of
from console.cli.output import jsonable, number, say, say_json, when
from console.core.rollups import US
from console.core.switches import ALL, Scope
from console.ops.views import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.ops.desk import Desk
    from console.ops.views import Acknowledgement, Applied, Preview


def _names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completion from the names of the last day's calls."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from console.store.sqlite import reads  # noqa: PLC0415 -- only a shell that completes needs it

        try:
            desk = desk_of(ctx, ctx.params.get("config"), ctx.params.get("data"))
            with reads.reading_telemetry(desk.settings.locations.telemetry) as connection:
                return [name for name in reads.seen_names(connection, 0)[kind] if name.startswith(incomplete)]
        except Exception:  # noqa: BLE001 -- completion that fails completes nothing
            return []

    return complete


def _scoped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ways to name a scope."""
    function = click.option("--customer", metavar="NAME", shell_complete=_names("customer"), help="One customer.")(function)
    function = click.option("--model", metavar="NAME", shell_complete=_names("model"), help="One model.")(function)
    function = click.option("--all", "everything", is_flag=True, help="All AI features.")(function)
    return click.argument("feature", required=False, shell_complete=_names("feature"))(function)


def scope_of(feature: str | None, everything: bool, model: str | None, customer: str | None) -> Scope:
    """The one scope that was named. Raises UsageError for none and for several."""
    named = [scope for scope in (
        Scope("feature", feature) if feature is not None else None,
        ALL if everything else None,
        Scope("model", model) if model is not None else None,
        Scope("customer", customer) if customer is not None else None,
    ) if scope is not None]  # fmt: skip
    if len(named) != 1:
        raise click.UsageError("name exactly one: FEATURE, --all, --model NAME or --customer NAME")
    return named[0]


@click.command()
@_scoped
@click.option("--reason", metavar="TEXT", help="Why; kept in the audit and shown to whoever looks.")
@click.option("--for", "for_s", type=Duration(), metavar="30m", help="Ends by itself after this time.")
@common
@click.pass_context
def kill(ctx: click.Context, feature: str | None, everything: bool, model: str | None, customer: str | None,
         reason: str | None, for_s: int | None, config: str | None, data: str | None, as_json: bool) -> None:  # fmt: skip
    """Stop FEATURE, or with an option a model, a customer, or all AI features.

    No message and no batch that is asked for after this command has returned reaches the API, from any process that it
    reports as following. Stopped calls get the feature's defined text, or the error CallBlocked.
    """
    order = Order("kill", scope_of(feature, everything, model, customer), for_us=None if for_s is None else for_s * US)
    _act(desk_of(ctx, config, data), order, reason, as_json=as_json)


@click.command()
@_scoped
@click.option("--reason", metavar="TEXT", help="Why; kept in the audit.")
@common
@click.pass_context
def restore(ctx: click.Context, feature: str | None, everything: bool, model: str | None, customer: str | None,
            reason: str | None, config: str | None, data: str | None, as_json: bool) -> None:  # fmt: skip
    """Lift the kill switch of FEATURE, a model, a customer, or the one on all AI features."""
    _act(desk_of(ctx, config, data), Order("restore", scope_of(feature, everything, model, customer)), reason, as_json=as_json)


@click.command()
@click.argument("change", required=False)
@click.option("--reason", metavar="TEXT", help="Why; kept in the audit.")
@common
@click.pass_context
def undo(ctx: click.Context, change: str | None, reason: str | None, config: str | None, data: str | None,
         as_json: bool) -> None:  # fmt: skip
    """Take back the last act, or the one with the id CHANGE (`console audit` lists them)."""
    _act(desk_of(ctx, config, data), Order("undo", change_id=change), reason, as_json=as_json)


def _act(desk: Desk, order: Order, reason: str | None, *, as_json: bool) -> None:
    shown, applied = desk.act(order, reason=reason)
    seen = desk.followed(applied)
    if as_json:
        say_json(act_json(shown, applied, seen))
    else:
        say("\n".join(act_lines(shown, applied, seen)))


def act_json(shown: Preview, applied: Applied, seen: Acknowledgement) -> dict[str, Any]:
    """What an act with --json prints."""
    return {
        "act": applied.act,
        "subject": applied.subject,
        "preview": {
            "title": shown.title,
            "before": shown.before,
            "after": shown.after,
            "is_already_so": shown.is_already_so,
            "calls_5m": shown.calls_5m,
            "customers_5m": shown.customers_5m,
            "share_of_traffic": shown.share_of_traffic,
            "last_time": shown.last_time,
            "warnings": list(shown.warnings),
        },
        "control_version": applied.version,
        "id": applied.id,
        "at": when(applied.at),
        "actor": applied.actor,
        "reason": applied.reason,
        "expires_at": when(applied.expires_at),
        "write_ms": round(applied.write_ms, 3),
        "processes": {
            "live": seen.live,
            "following": seen.following,
            "waited_ms": round(seen.waited_ms, 1),
            "laggards": [jsonable(view) for view in seen.laggards],
            "silent": [jsonable(view) for view in seen.silent],
            "problem": seen.problem,
        },
    }


def act_lines(shown: Preview, applied: Applied, seen: Acknowledgement) -> list[str]:
    """What an act prints for people."""
    done = f"{shown.title}: {shown.before} → {shown.after}"
    if shown.is_already_so:
        done += " (it was so already)"
    lines = [done, f"{seen.following} of {seen.live} processes run with it after {seen.waited_ms:.0f} ms"]
    if seen.problem is not None:
        lines[-1] = f"the act is written; which processes follow cannot be told: {seen.problem}"
    elif not seen.live:
        lines[-1] = "no application process is seen to run here now; those that start will obey"
    lines += [
        f"silent, cannot tell: {view.service} pid {view.pid} on {view.host}, last heard {view.heartbeat_age_s:.0f} s ago"
        for view in seen.silent
    ]
    lines += [
        f"not yet: {view.service} pid {view.pid} on {view.host}, heartbeat {view.heartbeat_age_s:.0f} s ago"
        for view in seen.laggards
    ]
    if shown.calls_5m is not None:
        share = number(shown.share_of_traffic, "{:.1f} %", 100)
        lines.append(f"last five minutes: {shown.calls_5m} calls, {shown.customers_5m} customers, {share} of the traffic")
    lines += [f"warning: {warning}" for warning in shown.warnings]
    if applied.reason is None:
        lines.append("no reason given (--reason)")
    lines.append("take it back with: console undo" if applied.act != "undo" else "the audit keeps both acts")
    return lines
