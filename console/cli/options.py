"""Options that many commands share, and the desk behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.core.durations import parse_duration_s
from console.ops.desk import Desk
from console.store.configuration import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.store.configuration import Settings


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config, --data and --json, after the command as well as before it."""
    function = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)
    function = click.option("--data", metavar="DIR", help="The data directory.")(function)
    return click.option("--config", metavar="FILE", help="The configuration file.")(function)


def settings_of(ctx: click.Context, config: str | None, data: str | None) -> Settings:
    """The settings that the options name; the command's own win over the global ones. Raises ConfigError."""
    given = ctx.find_root().obj or {}
    return load_settings(config or given.get("config"), data or given.get("data"))


def desk_of(ctx: click.Context, config: str | None, data: str | None) -> Desk:
    """The desk of these settings."""
    given = ctx.find_root().obj or {}
    return Desk(settings_of(ctx, config, data), read_only=bool(given.get("read_only")))


class Duration(click.ParamType[int]):
    """A duration such as 30m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class VersionNumber(click.ParamType[int]):
    """A prompt's version: 3 or v3."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        digits = str(value).removeprefix("v")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 7 and int(digits)):
            self.fail(f"{value!r} is not a version: write a number, such as 3 or v3", param, ctx)
        return int(digits)
