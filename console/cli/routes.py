"""`console switch`: where a feature's calls go."""

from __future__ import annotations

import click

from console.cli import completing
from console.cli.acting import act, expiring, reasoned, until_us
from console.cli.options import common, desk_of
from console.core.switches import ALL, Scope
from console.ops.views import Order


@click.command()
@click.argument("names", nargs=-1, metavar="[FEATURE] [TARGET]...", shell_complete=completing.route)
@click.option("--all", "everything", is_flag=True, help="All features that have no route of their own; then name targets only.")
@click.option(
    "--auto", "is_auto", is_flag=True, help="Take the route back: the configured chain, or what the application says."
)
@reasoned
@expiring
@common
@click.pass_context
def switch(ctx: click.Context, names: tuple[str, ...], everything: bool, is_auto: bool, reason: str | None,
           for_s: int | None, config: str | None, data: str | None, as_json: bool) -> None:  # fmt: skip
    """Send the calls of FEATURE, or with --all of every feature, to these targets, in this order and to no others.

    \b
        console switch summarize haiku            haiku only: no fallback
        console switch summarize haiku sonnet     haiku, and sonnet when it fails
        console switch summarize --auto           back to the configured chain
        console switch --all haiku --for 30m      every feature, for half an hour

    A target is one of the configuration, or a model by its id (claude-...). `console target list` shows them.
    """
    desk = desk_of(ctx, config, data)
    targets = names if everything else names[1:]
    if not everything and not names:
        raise click.UsageError("name a FEATURE, or --all, and then the targets in order (or --auto)", ctx)
    scope = ALL if everything else Scope("feature", names[0])
    what = "all features" if everything else names[0]
    if is_auto and targets:
        hint = "--all takes no FEATURE" if everything else "one or the other"
        raise click.UsageError(f"--auto takes the route of {what} back, and {', '.join(targets)} would make one: {hint}", ctx)
    if not is_auto and not targets:
        known = ", ".join(desk.names("target")) or "none is configured; a model by its id works"
        raise click.UsageError(f"name the targets to send {what} to, in order, or --auto (targets: {known})", ctx)
    order = Order("auto" if is_auto else "switch", scope, until_us(for_s), targets=targets)
    act(desk, order, reason, as_json=as_json)
