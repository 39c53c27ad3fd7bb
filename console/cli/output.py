"""What commands print: safe text for people, JSON for scripts, one message for every error."""

from __future__ import annotations

import json
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import click

from console.core.redaction import redact
from console.core.text import block, line
from console.errors import ConsoleError


def say(text: object, *, err: bool = False) -> None:
    """One or more lines for people; text from outside in it cannot reach the terminal as anything but text."""
    click.echo(block(text), err=err, color=False)


def say_whole(text: str) -> None:
    """A text that is asked for as a whole, such as a prompt; made safe as everything else."""
    click.echo(block(text, lines=100_000, limit=1_000_000), color=False)


def say_json(document: object) -> None:
    """One JSON document; ASCII only, so that no terminal can be told anything by it."""
    click.echo(json.dumps(document, ensure_ascii=True, indent=2 if sys.stdout.isatty() else None, allow_nan=False))


def complain(error: Exception, *, as_json: bool) -> int:
    """Says what went wrong, once, and returns the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return int(error.exit_code)
    if isinstance(error, click.Abort):
        return 130
    if isinstance(error, BrokenPipeError):
        return 0
    if isinstance(error, click.ClickException):
        _complain(error.format_message(), "Usage", as_json=as_json, hint=_usage_hint(error))
        return error.exit_code
    if isinstance(error, ConsoleError):
        _complain(str(error), type(error).__name__, as_json=as_json)
        return 1
    where = traceback.extract_tb(error.__traceback__)[-1]
    _complain(
        f"a defect in the console: {type(error).__name__}: {redact(str(error))} ({where.name}, line {where.lineno})",
        "Defect",
        as_json=as_json,
    )
    return 1


def _usage_hint(error: click.ClickException) -> str | None:
    ctx = getattr(error, "ctx", None)
    return f"see `{ctx.command_path} --help`" if ctx is not None else None


def _complain(message: str, kind: str, *, as_json: bool, hint: str | None = None) -> None:
    if as_json:
        say_json({"error": {"kind": kind, "message": message}})
    say(f"console: {message}" + (f"\n{hint}" if hint else ""), err=True)


def when(at_us: int | None) -> str | None:
    """UTC microseconds as ISO 8601."""
    return None if at_us is None else datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds")


def clock(at_us: int) -> str:
    """Date and time for people, in UTC and marked so."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def number(value: float | None, pattern: str = "{:g}", scale: float = 1) -> str:
    """A number, or a dash for what is not known."""
    return "–" if value is None else pattern.format(value * scale)


def table(rows: list[list[str]], head: list[str]) -> str:
    """Left-aligned columns; every cell made safe and cut."""
    cells = [[str(line(cell, 60)) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def jsonable(value: Any) -> Any:
    """Frozen views as plain JSON values: dataclasses and tuples become dictionaries and lists."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: jsonable(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value
