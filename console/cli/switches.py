"""`console kill`, `console restore`, `console undo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.cli.acting import act, expiring, reasoned, until_us
from console.cli.completing import seen
from console.cli.options import common, desk_of
from console.core.switches import ALL, Scope
from console.ops.views import Order

if TYPE_CHECKING:
    from collections.abc import Callable


def _scoped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ways to name a scope."""
    function = click.option("--customer", metavar="NAME", shell_complete=seen("customer"), help="One customer.")(function)
    function = click.option("--model", metavar="NAME", shell_complete=seen("model"), help="One model.")(function)
    function = click.option("--all", "everything", is_flag=True, help="All AI features.")(function)
    return click.argument("feature", required=False, shell_complete=seen("feature"))(function)


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
@reasoned
@expiring
@common
@click.pass_context
def kill(ctx: click.Context, feature: str | None, everything: bool, model: str | None, customer: str | None,
         reason: str | None, for_s: int | None, config: str | None, data: str | None, as_json: bool) -> None:  # fmt: skip
    """Stop FEATURE, or with an option a model, a customer, or all AI features.

    No message and no batch that is asked for after this command has returned reaches the API, from any process that it
    reports as following. Stopped calls get the feature's defined text, or the error CallBlocked.
    """
    order = Order("kill", scope_of(feature, everything, model, customer), for_us=until_us(for_s))
    act(desk_of(ctx, config, data), order, reason, as_json=as_json)


@click.command()
@_scoped
@reasoned
@common
@click.pass_context
def restore(ctx: click.Context, feature: str | None, everything: bool, model: str | None, customer: str | None,
            reason: str | None, config: str | None, data: str | None, as_json: bool) -> None:  # fmt: skip
    """Lift the kill switch of FEATURE, a model, a customer, or the one on all AI features."""
    act(desk_of(ctx, config, data), Order("restore", scope_of(feature, everything, model, customer)), reason, as_json=as_json)


@click.command()
@click.argument("change", required=False)
@reasoned
@common
@click.pass_context
def undo(ctx: click.Context, change: str | None, reason: str | None, config: str | None, data: str | None,
         as_json: bool) -> None:  # fmt: skip
    """Take back the last act of any kind, or the one with the id CHANGE (`console audit` lists them).

    What it had changed gets exactly the value, and the end, that it had before.
    """
    act(desk_of(ctx, config, data), Order("undo", change_id=change), reason, as_json=as_json)
