"""`console health`: every target asked at once, by a child process that may load the SDK."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from console.cli.options import common, settings_of
from console.cli.output import number, say, say_json, table
from console.core.text import line
from console.ops.health import look

if TYPE_CHECKING:
    from console.core.health import Health

MARKS = {"healthy": "ok", "degraded": "DEGRADED", "down": "DOWN", "unknown": "UNKNOWN", "off": "off"}


@click.command()
@click.option(
    "--timeout", "timeout_s", type=click.IntRange(1, 60), default=10, show_default=True, metavar="SECONDS",
    help="How long a target may take to answer.",
)  # fmt: skip
@common
@click.pass_context
def health(ctx: click.Context, timeout_s: int, config: str | None, data: str | None, as_json: bool) -> None:
    """Ask every target to count the tokens of one word, all at once: that costs nothing.

    With the credentials of THIS host's environment, which need not be the applications'. Without a configuration the direct API
    is asked, for the model that the applications use. Exits 0 when healthy, 1 when degraded, down or unknown: a target that
    could not be asked for want of credentials is unknown. What a kill switch stops is off, which is no failure. Bedrock's
    InvokeModel has no free probe; a target there is told as not probed and does not count against the rest.
    """
    settings_of(ctx, config, data)
    given = ctx.find_root().obj or {}
    progress = Progress(is_shown=sys.stderr.isatty() and not as_json)
    try:
        found = look(config or given.get("config"), data or given.get("data"), float(timeout_s), progress.told)
    finally:
        progress.end()
    if as_json:
        say_json(found.to_json())
    else:
        say("\n".join(health_lines(found)))
    ctx.exit(0 if found.is_healthy else 1)


class Progress:
    """One line on a terminal that goes away again."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._asking = self._answered = 0
        self._say("loading the SDK …")

    def told(self, heard: dict[str, Any]) -> None:
        """What the child has said."""
        if isinstance(names := heard.get("asking"), list):
            self._asking = len(names)
        self._answered += "answered" in heard
        self._say(f"{self._answered} of {self._asking} targets have answered …")

    def end(self) -> None:
        """Takes the line away."""
        self._say("")

    def _say(self, text: str) -> None:
        if self._is_shown:
            click.echo(f"\r\x1b[K{line(text)}" if text else "\r\x1b[K", nl=False, err=True)


def health_lines(found: Health) -> list[str]:
    """The health for people."""
    rows = [
        [one.target, one.model, one.provider, MARKS[one.verdict], number(one.latency_ms, "{:.0f} ms"), one.request_id or "–"]
        for one in found.targets
    ]
    lines = [f"{found.verdict.upper()}: {found.reason}"]
    if rows:
        lines += ["", table(rows, ["target", "model", "provider", "verdict", "latency", "request id"])]
    if any(one.verdict != "healthy" for one in found.targets):
        lines.append("")
    lines += [f"{one.target}: {one.reason}" for one in found.targets if one.verdict != "healthy"]
    by_hint: dict[str, list[str]] = {}
    for one in found.targets:
        if one.hint is not None:
            by_hint.setdefault(one.hint, []).append(one.target)
    lines += [f"  {', '.join(targets)}: {hint}" for hint, targets in by_hint.items()]
    wrong = [one for one in found.features if one.verdict != "healthy"]
    if wrong:
        lines += ["", *(f"feature {one.feature}: {one.verdict}: {one.reason}" for one in wrong)]
    return lines
