"""`console db info` and `console db backup`."""

from __future__ import annotations

from pathlib import Path

import click

from console.cli.options import common, settings_of
from console.cli.output import jsonable, number, say, say_json, table
from console.ops.files import back_up_file, file_views


@click.group()
def db() -> None:
    """The databases."""


@db.command()
@common
@click.pass_context
def info(ctx: click.Context, config: str | None, data: str | None, as_json: bool) -> None:
    """Where the databases are, their schema, size and state. Exits 1 when one of them cannot be used."""
    places = settings_of(ctx, config, data).locations
    views = file_views(places)
    if as_json:
        say_json({
            "data": str(places.data), "files": [jsonable(view) for view in views],
            "kill_directories": [str(directory) for directory in places.kill_directories],
        })  # fmt: skip
    else:
        rows = [[view.kind, view.state, number(view.schema, "{:d}"), number(view.size_bytes, "{:,d}"),
                 view.journal_mode or "–", view.path] for view in views]  # fmt: skip
        glass = "\n".join(f"break the glass: touch {directory}/FEATURE (or all)" for directory in places.kill_directories)
        say(table(rows, ["file", "state", "schema", "bytes", "journal", "path"]) + f"\n{glass}")
    if any(view.state not in ("ok", "missing") for view in views):
        ctx.exit(1)


@db.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--of", "kind", type=click.Choice(["control", "incident", "telemetry"]), default="control", show_default=True,
              help="Which database.")  # fmt: skip
@common
@click.pass_context
def backup(ctx: click.Context, file: str, kind: str, config: str | None, data: str | None, as_json: bool) -> None:
    """Copy a database to FILE while it is in use; the copy is of one moment, and readable by you alone."""
    copied = back_up_file(settings_of(ctx, config, data).locations, kind, Path(file).absolute())
    if as_json:
        say_json({"of": kind, "file": str(copied.path), "size_bytes": copied.size_bytes})
    else:
        say(f"{kind}: {copied.size_bytes:,d} bytes in {copied.path}")
