"""`console audit` and `console audit verify`."""

from __future__ import annotations

import click

from console.cli.options import common, desk_of
from console.cli.output import clock, say, say_json, table, when
from console.core.audit import verify_chain, verify_control
from console.ops.acts import subject_of
from console.store.sqlite.control import read_audit, read_control


@click.group(invoke_without_command=True)
@click.option("--last", type=click.IntRange(min=1), default=50, show_default=True, help="How many acts.")
@common
@click.pass_context
def audit(ctx: click.Context, last: int, config: str | None, data: str | None, as_json: bool) -> None:
    """Every act, oldest first: when, who, what, why."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = {**(ctx.find_root().obj or {}), "config": config, "data": data}
        return
    control = desk_of(ctx, config, data).settings.locations.control
    rows = read_audit(control, last=last) if control.exists() else []
    if as_json:
        say_json([
            {"id": row.id, "position": row.position, "at": when(row.at), "actor": row.actor, "claimed": row.claimed,
             "act": row.act, "subject": subject_of(row.key), "before": row.before, "after": row.after,
             "version": row.version, "reason": row.reason, "expires_at": when(row.expires_at), "undoes": row.undoes}
            for row in rows
        ])  # fmt: skip
    elif rows:
        say(table(
            [[clock(row.at), row.actor, row.act, subject_of(row.key), row.reason or "", row.id] for row in rows],
            ["at", "by", "act", "what", "why", "id"],
        ))  # fmt: skip
    else:
        say(f"No act has been done yet ({control}).")


@audit.command()
@common
@click.pass_context
def verify(ctx: click.Context, config: str | None, data: str | None, as_json: bool) -> None:
    """Check the hash chain; exits 1 and names the first bad row when it is broken."""
    outer = ctx.parent.obj if ctx.parent is not None else {}
    control = desk_of(ctx, config or outer.get("config"), data or outer.get("data")).settings.locations.control
    rows = read_audit(control) if control.exists() else []
    broken = verify_chain(rows)
    changed = verify_control(rows, read_control(control, busy_s=1.0)) if control.exists() else None
    if as_json:
        say_json({
            "rows": len(rows), "is_whole": broken is None and changed is None, "head": rows[-1].hash if rows else None,
            "first_bad": None if broken is None else broken.position, "why": changed if broken is None else broken.why,
        })  # fmt: skip
    elif broken is not None:
        say(f"BROKEN at row {broken.position}: {broken.why}")
    elif changed is not None:
        say(f"CHANGED past the audit: {changed}")
    else:
        say(f"whole: {len(rows)} acts" + (f", head {rows[-1].hash}" if rows else ""))
    if broken is not None or changed is not None:
        ctx.exit(1)
