"""`console completion`: the shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL: `eval "$(console completion bash)"`."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 -- the choice is closed
    click.echo(kind(ctx.find_root().command, {}, "console", "_CONSOLE_COMPLETE").source())
