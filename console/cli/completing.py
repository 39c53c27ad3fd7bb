"""Completion of names: features, models, customers, targets, prompts, versions. What fails completes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.cli.options import desk_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click

    from console.ops.desk import Desk

    Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def completer(names: Callable[[click.Context, Desk], Iterable[str]]) -> Completer:
    """A completer from what lists the names."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            desk = desk_of(ctx, ctx.params.get("config"), ctx.params.get("data"))
            return [name for name in names(ctx, desk) if name.startswith(incomplete)]
        except Exception:  # noqa: BLE001 -- completion that fails completes nothing
            return []

    return complete


def seen(kind: str) -> Completer:
    """Features, models or customers."""
    return completer(lambda ctx, desk: desk.names(kind))


def _scope_then_targets(ctx: click.Context, desk: Desk) -> Iterable[str]:
    given = ctx.params.get("names") or ()
    is_target = given or ctx.params.get("everything")
    return [name for name in desk.names("target") if name not in given] if is_target else desk.names("feature")


def _versions(ctx: click.Context, desk: Desk) -> Iterable[str]:
    return [str(number) for number in desk.prompt_versions(ctx.params.get("name") or "")]


route = completer(_scope_then_targets)
targets = seen("target")
prompts = seen("prompt")
versions = completer(_versions)
