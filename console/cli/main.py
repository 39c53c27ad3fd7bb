"""The entry point: global options, the table of commands, what every error becomes. Commands are loaded when they are run."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import click

from console import __version__
from console.cli.group import Group
from console.cli.output import complain

COMMANDS: Final = {
    "audit": ("console.cli.audit", "audit", "Every act, who did it and why; `audit verify` checks the chain."),
    "completion": ("console.cli.completion", "completion", "Print the completion script for bash, zsh or fish."),
    "config": ("console.cli.config", "config", "Check the configuration."),
    "db": ("console.cli.db", "db", "The databases: what is in them, and a backup."),
    "demo": ("console.cli.demo", "demo", "A simulated API, a sample application and the console in front."),
    "health": ("console.cli.health", "health", "Ask every target whether it answers; costs nothing. Exit 1 unless healthy."),
    "init": ("console.cli.init", "init", "Make a configuration, the databases and the break-glass directory."),
    "kill": ("console.cli.switches", "kill", "Stop a feature, a model, a customer, or all AI features."),
    "open": ("console.cli.screen", "screen", "Open the console (the same as no command at all)."),
    "prompt": ("console.cli.prompts", "prompt", "Prompt versions: list, show, diff, new, use, rollback, check."),
    "restore": ("console.cli.switches", "restore", "Lift a kill switch."),
    "status": ("console.cli.status", "status", "Processes, features, targets, switches, changes; now."),
    "switch": ("console.cli.routes", "switch", "Send a feature, or all of them, to other targets; --auto goes back."),
    "target": ("console.cli.targets", "target", "Targets and their breakers: list, open (send nothing there), close, auto."),
    "undo": ("console.cli.switches", "undo", "Take back the last act, or the one with this id."),
}
"""name -> (module, attribute, one line of help): help does not load the modules."""


class LazyGroup(Group):
    """A group that imports a command's module when the command is run, so that none pays for another's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--config", metavar="FILE", help="The configuration file. [default: the first of ./console.yaml, …]")
@click.option("--data", metavar="DIR", help="The data directory. [default: as configured]")
@click.option("--read-only", is_flag=True, help="Look, but refuse every act.")
@click.version_option(__version__, prog_name="console")
@click.pass_context
def cli(ctx: click.Context, config: str | None, data: str | None, read_only: bool) -> None:
    """Incident console for applications built on Claude.

    Without a command it opens the console; without a terminal it prints one status and leaves.
    """
    ctx.obj = {"config": config, "data": data, "read_only": read_only}
    if ctx.invoked_subcommand is None:
        command = cli.get_command(ctx, "open")
        assert command is not None  # noqa: S101 -- it stands in the table
        ctx.invoke(command)


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command line and leaves with its exit code: 0 done, 1 refused or failed, 2 used wrongly."""
    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except Exception as error:  # noqa: BLE001 -- `complain` tells ours from a defect, which it reports without locals
        code = complain(error, as_json="--json" in (arguments or sys.argv[1:]))
    except KeyboardInterrupt:
        code = 130
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `console audit | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
