"""What every command that acts has in common: its options, doing it, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.cli.options import Duration
from console.cli.output import jsonable, number, say, say_json, when
from console.core.rollups import US

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.ops.desk import Desk
    from console.ops.views import Acknowledgement, Applied, Order, Preview

DIFF_LINES = 60


def reasoned(function: Callable[..., Any]) -> Callable[..., Any]:
    """--reason."""
    return click.option("--reason", metavar="TEXT", help="Why; kept in the audit and shown to whoever looks.")(function)


def expiring(function: Callable[..., Any]) -> Callable[..., Any]:
    """--for."""
    return click.option("--for", "for_s", type=Duration(), metavar="30m", help="Ends by itself after this time.")(function)


def until_us(for_s: int | None) -> int | None:
    """What an order takes for --for."""
    return None if for_s is None else for_s * US


def act(desk: Desk, order: Order, reason: str | None, *, as_json: bool) -> None:
    """Does it, waits for the processes, and says what has happened."""
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
            "diff": shown.diff,
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
        "state": seen.state,
        "moves": {"counted": seen.counted, "expected": seen.expected, "per_min_before": seen.calls_per_min_before},
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
        customers = number(shown.customers_5m, "{:d}")
        share = number(shown.share_of_traffic, "{:.1f} %", 100)
        lines.append(f"last five minutes: {shown.calls_5m} calls, {customers} customers, {share} of the traffic")
    if seen.calls_per_min_before is not None:
        lines.append(f"should go {seen.expected}: {seen.counted}, {seen.calls_per_min_before:.0f} a minute before")
    lines += [f"warning: {warning}" for warning in shown.warnings]
    lines += _diff_lines(shown.diff or "")
    if applied.reason is None:
        lines.append("no reason given (--reason)")
    if seen.state is not None:
        lines.append(f"now: {seen.state}")
    lines.append(_back_words(applied))
    return lines


def _back_words(applied: Applied) -> str:
    if applied.act == "undo":
        return "the audit keeps both acts"
    if applied.is_already_so:
        return "nothing to take back: it was so already"
    return "take it back with: console undo" if applied.act != "probe" else "nothing to take back: it asks once"


def _diff_lines(diff: str) -> list[str]:
    lines = diff.splitlines()
    more = [f"… {len(lines) - DIFF_LINES} more lines of the difference"] if len(lines) > DIFF_LINES else []
    return lines[:DIFF_LINES] + more
