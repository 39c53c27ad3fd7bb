"""`console config check`."""

from __future__ import annotations

import click

from console.cli.options import common, settings_of
from console.cli.output import jsonable, say, say_json
from console.errors import ConfigError
from console.store.configuration import load_prices


@click.group()
def config() -> None:
    """The configuration."""


@config.command()
@click.argument("file", required=False)
@common
@click.pass_context
def check(ctx: click.Context, file: str | None, config: str | None, data: str | None, as_json: bool) -> None:
    """Check FILE, or the configuration that would be used. Exits 1 and lists every mistake as file:line:column."""
    try:
        settings = settings_of(ctx, file or config, data)
        load_prices(settings.prices_file)
    except ConfigError as error:
        if as_json:
            say_json({"is_valid": False, "mistakes": [jsonable(mistake) for mistake in error.mistakes]})
        else:
            say(str(error), err=True)
        ctx.exit(1)
    if as_json:
        say_json({
            "is_valid": True, "mistakes": [], "file": None if settings.file is None else str(settings.file),
            "environment": settings.environment, "data": str(settings.locations.data),
            "kill_directories": [str(directory) for directory in settings.locations.kill_directories],
        })  # fmt: skip
        return
    source = settings.file or "no configuration file: the defaults (`console init` makes one)"
    say(f"valid: {source}\nenvironment {settings.environment}, data in {settings.locations.data}")
