"""`console target`: the places where calls can go, and holding one's breaker open or closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.cli import completing
from console.cli.acting import act, expiring, reasoned, until_us
from console.cli.group import Group
from console.cli.options import common, desk_of
from console.cli.output import clock, number, say, say_json, table, when
from console.errors import ActError
from console.ops.targets import trial_words
from console.ops.views import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.ops.views import FailureView, TargetView


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


@target.command()
@click.argument("name", metavar="TARGET", shell_complete=completing.targets)
@reasoned
@common
@click.pass_context
def probe(ctx: click.Context, name: str, reason: str | None, config: str | None, data: str | None,
          as_json: bool) -> None:  # fmt: skip
    """Ask TARGET now: where its breaker is open, the next call is a probe instead of waiting for its time.

    One call for each process; the chain carries it on should it fail. There is nothing to take back.
    """
    act(desk_of(ctx, config, data), Order("probe", targets=(name,)), reason, as_json=as_json)


@target.command()
@click.argument("name", metavar="TARGET", shell_complete=completing.targets)
@common
@click.pass_context
def show(ctx: click.Context, name: str, config: str | None, data: str | None, as_json: bool) -> None:
    """All that is known about TARGET: its breaker in every process, how it does, and its last ten failures."""
    status = desk_of(ctx, config, data).status()
    view = next((one for one in status.targets if one.target == name), None)
    if view is None:
        raise ActError(f"no target {name}: `console target list` names those that are known")
    if as_json:
        say_json(target_json(view))
    else:
        tried = [] if view.trial_failed is None else [f"{view.target}: {trial_words(view.trial_failed, status.at)}"]
        say("\n".join([*target_lines((view,)), *tried, "", *failure_lines(view.failures)]))


def failure_json(view: FailureView) -> dict[str, Any]:
    """A failed attempt."""
    return {
        "at": when(view.at), "feature": view.feature, "target": view.target, "model": view.model, "provider": view.provider,
        "status": view.status, "error": view.error, "latency_ms": view.latency_ms, "request_id": view.request_id,
    }  # fmt: skip


def failure_lines(views: tuple[FailureView, ...]) -> list[str]:
    """Failed attempts for people, newest first."""
    if not views:
        return ["no failed attempt is recorded"]
    rows = [
        [clock(one.at), one.feature, one.target, "–" if one.status is None else str(one.status), one.error,
         f"{one.latency_ms:.0f} ms", one.request_id or "–"]
        for one in views
    ]  # fmt: skip
    return [table(rows, ["failed at", "feature", "target", "status", "kind", "after", "request id"])]


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
        "first_token_p95_ms": view.first_token_p95_ms,
        "headroom": view.headroom,
        "headroom_of": view.headroom_of,
        "usd_per_million_tokens": None if view.price is None else {"input": view.price[0], "output": view.price[1]},
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
        "failures": [failure_json(one) for one in view.failures],
        "trial_failed": None if view.trial_failed is None else {
            "at": when(view.trial_failed.at), "error": view.trial_failed.error,
        },
    }  # fmt: skip


def target_lines(views: tuple[TargetView, ...]) -> list[str]:
    """The targets for people."""
    rows = [
        [view.target, view.model or "–", _breakers(view), str(view.calls_5m), number(view.error_rate, "{:.1f} %", 100),
         number(view.p95_ms, "{:.0f} ms"), number(view.first_token_p95_ms, "{:.0f} ms"), number(view.headroom, "{:.0f} %", 100),
         _price(view), " ".join(f"{result} {count}" for result, count in view.results[:4]) or "–",
         ", ".join(view.features) or "–"]
        for view in views
    ]  # fmt: skip
    head = ["target", "model", "breakers", "attempts 5m", "errors", "p95", "first p95", "headroom", "$/M in, out", "results",
            "features"]  # fmt: skip
    lines = [table(rows, head)]
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


def _price(view: TargetView) -> str:
    return "–" if view.price is None else f"{view.price[0]:g}, {view.price[1]:g}"


def _breakers(view: TargetView) -> str:
    return "–" if view.breakers is None else ", ".join(f"{state} {count}" for state, count in view.breakers)
