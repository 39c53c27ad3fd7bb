"""`console prompt`: versions of prompts, and which one is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.cli import completing
from console.cli.acting import act, reasoned
from console.cli.group import Group
from console.cli.options import VersionNumber, common, desk_of
from console.cli.output import clock, jsonable, number, say, say_json, say_whole, table, when
from console.core.control import text_hash
from console.ops.views import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.ops.desk import Desk
    from console.ops.views import PromptStatus, VersionView


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("name", metavar="NAME", shell_complete=completing.prompts)(function)


@click.group(cls=Group)
def prompt() -> None:
    """Prompts: files <prompts>/NAME/v<N>.md, and which version of each is served."""


@prompt.command(name="list")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=completing.prompts)
@common
@click.pass_context
def list_(ctx: click.Context, name: str | None, config: str | None, data: str | None, as_json: bool) -> None:
    """Every prompt and the version that is served; with NAME every version of it."""
    desk = desk_of(ctx, config, data)
    statuses = desk.prompts() if name is None else (_status(desk, name),)
    if as_json:
        say_json([_status_json(status) for status in statuses])
    elif name is not None:
        say("\n".join([*_version_lines(statuses[0]), *_alarm_lines(statuses)]))
    elif statuses:
        rows = [
            [one.name, _current(one), one.chosen_by or "–", "–" if one.chosen_at is None else clock(one.chosen_at),
             str(len(one.versions)), ", ".join(one.features) or "–"]
            for one in statuses
        ]  # fmt: skip
        say("\n".join([table(rows, ["prompt", "served", "by", "since", "versions", "features"]), *_alarm_lines(statuses)]))
    else:
        say(f"No prompts in {desk.settings.prompts}: `console prompt new NAME` makes one.")


@prompt.command()
@_named
@click.option("--version", "version", type=VersionNumber(), metavar="N", shell_complete=completing.versions,
              help="Which version; without it the one that is served.")  # fmt: skip
@common
@click.pass_context
def show(ctx: click.Context, name: str, version: int | None, config: str | None, data: str | None, as_json: bool) -> None:
    """The file of a version: front matter and text. Of one whose file was edited or lost since it was made current, the
    registered text: that is what is served."""
    desk = desk_of(ctx, config, data)
    status = _status(desk, name)
    wanted = version if version is not None else max(status.current or [one.version for one in status.versions])
    text, source = desk.prompt_source(name, wanted)
    known = next((one for one in status.versions if one.version == wanted), None)
    if as_json:
        view = _version_json(known) if known is not None else {"version": wanted}
        say_json({**view, "name": name, "text": text, "source": source, "hash": text_hash(text)})
        return
    if source == "registered":
        became = "is lost" if known is not None and known.file == "lost" else "was edited since"
        served = ", which is served" if wanted in status.current else ""
        say(f"the file {became}: this is the registered text{served}", err=True)
    say_whole(text.rstrip("\n"))


@prompt.command()
@_named
@click.argument("old", type=VersionNumber(), metavar="A", shell_complete=completing.versions)
@click.argument("new", type=VersionNumber(), metavar="B", shell_complete=completing.versions)
@common
@click.pass_context
def diff(ctx: click.Context, name: str, old: int, new: int, config: str | None, data: str | None, as_json: bool) -> None:
    """What changes from version A to version B, front matter included."""
    found = desk_of(ctx, config, data).prompt_diff(name, old, new)
    if as_json:
        say_json({"name": name, "old": old, "new": new, "diff": found})
    else:
        say_whole(found or f"{name} v{old} and v{new} are the same")


@prompt.command()
@_named
@common
@click.pass_context
def new(ctx: click.Context, name: str, config: str | None, data: str | None, as_json: bool) -> None:
    """Make the next version of NAME as a draft: a copy of the highest one, or a first version from a template."""
    desk = desk_of(ctx, config, data)
    version, file = desk.new_prompt(name)
    if as_json:
        say_json({"name": name, "version": version, "file": str(file)})
        return
    say(f"made {file}, a draft: nothing serves it yet\n"
        f"next: edit it, take `draft: true` out, then\n"
        f"  console prompt check\n  console prompt use {name} {version}")  # fmt: skip


@prompt.command()
@_named
@click.argument("version", type=VersionNumber(), metavar="N", shell_complete=completing.versions)
@reasoned
@common
@click.pass_context
def use(ctx: click.Context, name: str, version: int, reason: str | None, config: str | None, data: str | None,
        as_json: bool) -> None:  # fmt: skip
    """Serve version N of NAME to every call, from now on and whatever files are added later.

    Its text is registered: when the file is edited or lost afterwards, what was registered is served, and that is shown.
    """
    order = Order("use", prompt=name, version=version)
    act(desk_of(ctx, config, data), order, reason, as_json=as_json)


@prompt.command()
@_named
@click.argument("version", type=VersionNumber(), metavar="[N]", required=False, shell_complete=completing.versions)
@reasoned
@common
@click.pass_context
def rollback(ctx: click.Context, name: str, version: int | None, reason: str | None, config: str | None, data: str | None,
             as_json: bool) -> None:  # fmt: skip
    """Go back to the version of NAME that was served before the one now, or to version N.

    Goes by the registered text, also when the file was edited or lost. No conversation stays pinned to what it leaves.
    """
    order = Order("rollback", prompt=name, version=version)
    act(desk_of(ctx, config, data), order, reason, as_json=as_json)


@prompt.command()
@common
@click.pass_context
def check(ctx: click.Context, config: str | None, data: str | None, as_json: bool) -> None:
    """Check every prompt file, and that none is lost whose version is served. Exits 1 and lists every mistake as
    file:line:column."""
    desk = desk_of(ctx, config, data)
    mistakes = desk.prompt_mistakes()
    files = sum(len(desk.prompt_files(name)) for name in desk.names("prompt"))
    if as_json:
        say_json({"is_valid": not mistakes, "mistakes": mistakes, "files": files, "directory": str(desk.settings.prompts)})
    elif mistakes:
        say("\n".join(mistakes), err=True)
    else:
        say(f"valid: {files} prompt files in {desk.settings.prompts}")
    if mistakes:
        ctx.exit(1)


def _status(desk: Desk, name: str) -> PromptStatus:
    found = next((one for one in desk.prompts() if one.name == name), None)
    if found is None or not found.versions:
        raise desk.unknown_prompt(name)
    return found


def _current(status: PromptStatus) -> str:
    shares = {one.version: one.share for one in status.versions}
    return ", ".join(
        f"v{version}" + (f" {number(shares[version], '{:.0f} %', 100)}" if len(status.current) > 1 else "")
        for version in status.current
    ) or "–"  # fmt: skip


def _alarm_lines(statuses: tuple[PromptStatus, ...]) -> list[str]:
    return [f"ALARM {alarm}" for status in statuses for alarm in status.alarms]


def _version_lines(status: PromptStatus) -> list[str]:
    rows = [
        [f"v{one.version}", one.state, one.file, "yes" if one.is_registered else "no", str(one.calls_5m),
         "–" if one.current_since is None else f"{clock(one.current_since)} by {one.current_by}",
         ", ".join(one.variables) or "–", one.description or "–"]
        for one in status.versions
    ]  # fmt: skip
    head = ["version", "state", "file", "registered", "calls 5m", "made current", "variables", "description"]
    return [table(rows, head), *(one.problem for one in status.versions if one.problem is not None)]


def _status_json(status: PromptStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "current": list(status.current),
        "chosen_by": status.chosen_by,
        "chosen_at": when(status.chosen_at),
        "reason": status.reason,
        "features": list(status.features),
        "alarms": list(status.alarms),
        "versions": [_version_json(one) for one in status.versions],
    }


def _version_json(view: VersionView) -> dict[str, Any]:
    return {**jsonable(view), "current_since": when(view.current_since)}
