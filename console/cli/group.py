"""A group of commands that says what was meant when a name is mistyped."""

from __future__ import annotations

import difflib

import click


class Group(click.Group):
    """`No such command 'opn'` becomes one message with the nearest name and all names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click. Raises UsageError when no command is named."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            ctx.fail(f"name what to do: {', '.join(self.list_commands(ctx))}")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """See click. Raises UsageError."""
        name = args[0] if args else ""
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            names = self.list_commands(ctx)
            close = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            ctx.fail(f"No such command {name!r}.{hint} (commands: {', '.join(names)})")
        return super().resolve_command(ctx, args)
