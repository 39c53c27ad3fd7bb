"""`console target`: the places where calls can go, and holding one's breaker open or closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.cli import completing
from console.cli.acting import act, expiring, reasoned, until_us
from console.cli.group import Group
from console.cli.options import common, desk_of
from console.cli.output import clock, number, say, say_json, table, when
from console.ops.views import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.ops.views import TargetView


@click.group(cls=Group)
def target() -> None:
    """The targets: a model at a provider, one place a call can go. Their breakers and an operator's hand on them."""


@target.command(name="list")
@common
@click.pass_context
def list_(ctx: click.Context, config: str | None, data: str | None, as_json: bool) -> None:
    """Every target: its breakers, what its attempts of five minutes ended with, and whose chain names it."""
    view = desk_of(ctx, config, data).status()
    if as_json:
        say_json([target_json(one) for one in view.targets])
    elif view.targets:
        say("\n".join(target_lines(view.targets)))
    else:
        say("No target is configured, and no call has been recorded: `targets:` in the configuration defines them.")


def _forcing(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the three acts take."""
    taking = reasoned(expiring(common(function)))
    return click.argument("name", metavar="TARGET", shell_complete=completing.targets)(taking)


@target.command(name="open")
@_forcing
@click.pass_context
def open_(ctx: click.Context, name: str, reason: str | None, for_s: int | None, config: str | None, data: str | None,
          as_json: bool) -> None:  # fmt: skip
    """Hold the breaker of TARGET open: NOTHING is sent there any more, from any process.

    Open is the breaker's word, as of a switch in a circuit: no current flows. Calls go to the next target of their chain;
    a feature without another one gets its defined text, or an error. `console target auto TARGET` lets it go.
    """
    order = Order("force_open", for_us=until_us(for_s), targets=(name,))
    act(desk_of(ctx, config, data), order, reason, as_json=as_json)


@target.command()
@_forcing
@click.pass_context
def close(ctx: click.Context, name: str, reason: str | None, for_s: int | None, config: str | None, data: str | None,
          as_json: bool) -> None:  # fmt: skip
    """Hold the breaker of TARGET closed: calls are sent there whatever fails.

    For a breaker that is wrong about its target. Each call still goes on to the next target when this one fails it.
    """
    order = Order("force_closed", for_us=until_us(for_s), targets=(name,))
    act(desk_of(ctx, config, data), order, reason, as_json=as_json)


@target.command()
@_forcing
@click.pass_context
def auto(ctx: click.Context, name: str, reason: str | None, for_s: int | None, config: str | None, data: str | None,
         as_json: bool) -> None:  # fmt: skip
    """Let the breaker of TARGET decide for itself again."""
    order = Order("force_auto", for_us=until_us(for_s), targets=(name,))
    act(desk_of(ctx, config, data), order, reason, as_json=as_json)


def target_json(view: TargetView) -> dict[str, Any]:
    """A target."""
    return {
        "target": view.target,
        "model": view.model,
        "provider": view.provider,
        "is_configured": view.is_configured,
        "calls_5m": view.calls_5m,
        "breakers": None if view.breakers is None else dict(view.breakers),
        "error_rate": view.error_rate,
        "p95_ms": view.p95_ms,
        "results": dict(view.results),
        "reason": view.reason,
        "since": when(view.since),
        "probe_at": when(view.probe_at),
        "forced": None if view.forced is None else {
            "state": view.forced.state, "reason": view.forced.reason, "actor": view.forced.actor,
            "at": when(view.forced.at), "expires_at": when(view.forced.expires_at),
        },
        "features": list(view.features),
        "unknown_in": view.unknown_in,
        "by_process": [
            {"pid": one.pid, "host": one.host, "service": one.service, "state": one.state, "reason": one.reason,
             "since": when(one.since), "probe_at": when(one.probe_at)}
            for one in view.by_process
        ],
    }  # fmt: skip


def target_lines(views: tuple[TargetView, ...]) -> list[str]:
    """The targets for people."""
    rows = [
        [view.target, view.model or "–", _breakers(view), str(view.calls_5m), number(view.error_rate, "{:.1f} %", 100),
         number(view.p95_ms, "{:.0f} ms"), " ".join(f"{result} {count}" for result, count in view.results[:4]) or "–",
         ", ".join(view.features) or "–"]
        for view in views
    ]  # fmt: skip
    lines = [table(rows, ["target", "model", "breakers", "attempts 5m", "errors", "p95", "results", "features"])]
    for view in views:
        if view.forced is not None:
            until = "" if view.forced.expires_at is None else f" until {clock(view.forced.expires_at)}"
            why = view.forced.reason or "no reason given"
            lines.append(f"{view.target}: {view.forced.state} by {view.forced.actor}{until}: {why}")
        elif view.reason is not None or view.since is not None:
            since = "" if view.since is None else f" since {clock(view.since)}"
            probe = "" if view.probe_at is None else f", next probe {clock(view.probe_at)}"
            lines.append(f"{view.target}: not closed{since}: {view.reason or 'no reason told'}{probe}")
        if view.unknown_in:
            lines.append(f"{view.target}: {view.unknown_in} live processes do not know it and ignore it")
    return lines


def _breakers(view: TargetView) -> str:
    return "–" if view.breakers is None else ", ".join(f"{state} {count}" for state, count in view.breakers)
