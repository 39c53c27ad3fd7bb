"""The first line, and the lines under it that say what is wrong. Nothing that is wrong is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.tui import words
from console.tui.cells import Cells, Row, row, width_of, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.core.switches import Switch
    from console.ops.views import ProcessView, StatusView
    from console.tui.cells import Role

STALE_S: Final = 15.0
"""Three heartbeats missed."""
_PROCESS_WIDTHS: Final = (12, 12, -7, 5, 7, 6, -5, -5, -7)
_TIMELIKE: Final = 10**15
"""Control versions from here on are microseconds since 1970."""


def is_stale(view: StatusView) -> bool:
    return view.data_age_s is not None and view.data_age_s > STALE_S


def header(view: StatusView | None, width: int, *, held: str = "", is_read_only: bool = False, silent_s: float = 0.0) -> Row:
    """Environment, host, processes, control, age of the data; at the right what is unusual.

    `held` is since when the picture is held; `silent_s` for how long the desk has not answered, 0 when it does.
    """
    if view is None:
        waited = f" reading… {words.duration(silent_s)}" if silent_s else " reading…"
        return Cells().cell(waited, width, "dim").row()
    cells = Cells().put(f" {_environment(view)} ", _environment_role(view))
    cells.put(f" {line(view.host, 24 if width >= 100 else 12)}")
    live = sum(process.state == "live" for process in view.processes)
    cells.put(f" · {words.plural(live, 'process', 'processes')}" if width >= 100 else f" · {live} proc")
    control_text, control_role = _control(view, width)
    cells.put(" · ").put(control_text, control_role).put(" · ").put(
        words.freshness(view.data_age_s), "warn" if is_stale(view) else ""
    )
    right: list[tuple[str, Role]] = []
    if is_stale(view):
        right.append(("STALE", "crit"))
    if silent_s:
        right.append((f"NO ANSWER {words.duration(silent_s)}", "crit"))
    if held:
        right.append((f"HELD {held}", "warn"))
    if is_read_only:
        right.append(("READ-ONLY", "warn"))
    return _joined(cells.row(), right, width)


def _joined(left: Row, right: list[tuple[str, Role]], width: int) -> Row:
    """`left`, space, `right` in exactly `width` cells; the right part stays whole."""
    tail = Cells()
    for text, role in right:
        tail.put(" ").put(text, role)
    ending = tail.put(" ").row()
    room = max(width - width_of(ending), 0)
    cells = Cells()
    for text, role in left:
        part = text[:room]
        cells.put(part, role)
        room -= len(part)
    return (*cells.put(" " * room).row(), *ending)


def _environment(view: StatusView) -> str:
    name = line(view.environment, 12)
    return name.upper() if _is_production(view) else name


def _is_production(view: StatusView) -> bool:
    return view.environment.strip().lower() in {"production", "prod", "live"}


def _environment_role(view: StatusView) -> Role:
    return "production" if _is_production(view) else "bold"


def version_words(version: int | None) -> str:
    """A control version as the time at which it was made, where it is one."""
    if version is None:
        return words.NONE
    return words.clock(version) if version >= _TIMELIKE else str(version)


def _control(view: StatusView, width: int) -> tuple[str, Role]:
    control = view.control
    if control.problem is not None:
        return "control UNREADABLE", "crit"
    version = f" {version_words(control.version)}" if width >= 100 and control.version is not None else ""
    if control.version is None:
        return "control unused", ""
    if control.live and control.following >= control.live:
        return f"control{version} ✓{control.following}/{control.live}", ""
    return f"control{version} {control.following}/{control.live}", "warn" if control.live else ""


def banner(view: StatusView | None, limit: int, *, trouble: str = "") -> list[Row]:
    """What is wrong, worst first, at most `limit` lines; a line for what did not fit."""
    lines = [row((f" ▲ {trouble}", "crit"))] if trouble else []
    if view is not None:
        lines += [*_switch_lines(view), *_file_lines(view), *_prompt_lines(view), *_process_lines(view)]
    if len(lines) > limit:
        hidden = len(lines) - limit + 1
        lines = [*lines[: limit - 1], row((f" ▲ and {hidden} more: press : and type processes", "warn"))]
    return lines


def _switch_lines(view: StatusView) -> list[Row]:
    """Switches that no feature's row shows: wide ones and break-glass files."""
    return [
        row((f" ■ {switch_words(switch)}", "off"))
        for switch in view.switches
        if switch.scope.is_wide or switch.source != "control"
    ]


def switch_words(switch: Switch) -> str:
    what = "ALL CALLS STOPPED" if switch.scope.kind == "all" else f"STOPPED {line(str(switch.scope), 60)}"
    if switch.source != "control":
        return f"{what} by the break-glass file {line(switch.source, 80)}: remove it to end that"
    until = f", until {words.clock(switch.expires_at)}" if switch.expires_at is not None else ""
    why = f": {line(switch.reason, 80)}" if switch.reason else ""
    return f"{what} by {line(switch.actor or '?', 30)} {words.clock(switch.at)}{until}{why}"


def _file_lines(view: StatusView) -> list[Row]:
    lines: list[Row] = []
    if view.control.problem is not None:
        lines.append(row((f" ▲ CONTROL {line(view.control.problem, 160)}", "crit")))
    elif not view.control.is_writable:
        lines.append(row((" ▲ CONTROL no permission to write: this console can look, not act", "warn")))
    if view.telemetry_problem is not None:
        lines.append(row((f" ▲ TELEMETRY {line(view.telemetry_problem, 160)}; acts work without it", "warn")))
    return lines


def _prompt_lines(view: StatusView) -> list[Row]:
    return [row((f" ▲ PROMPT {line(alarm, 160)}", "crit")) for alarm in view.prompt_alarms]


def _process_lines(view: StatusView) -> list[Row]:
    lines: list[Row] = []
    live = [process for process in view.processes if process.state == "live"]
    late = (
        [process for process in live if process.control_version != view.control.version]
        if view.control.following < view.control.live
        else []
    )
    if late:
        lines.append(row((f" ▲ {words.plural(len(late), 'process does', 'processes do')} not follow: {_names(late)}", "crit")))
    own = [process for process in live if process.control_source != "live"]
    if own and view.control.version is not None:
        said = f"{words.plural(len(own), 'process', 'processes')} cannot read the control file"
        lines.append(row((f" ▲ {said}: {_names(own, with_source=True)}", "warn")))
    gone = [process for process in view.processes if process.state == "stale"]
    if gone:
        lines.append(row((f" ▲ {words.plural(len(gone), 'process', 'processes')} silent: {_names(gone)}", "warn")))
    dropped = sum(process.dropped for process in view.processes)
    if dropped:
        lines.append(row((f" ▲ {words.plural(dropped, 'record')} dropped: numbers are too low", "warn")))
    return lines + [row((f" ▲ {_name(process)}: {line(process.note, 120)}", "warn")) for process in live if process.note]


def _name(process: ProcessView) -> str:
    return f"{line(process.service, 24)} {line(process.host, 24)} pid {process.pid}"


def _names(processes: list[ProcessView], *, with_source: bool = False) -> str:
    shown = [_name(process) + (f" ({line(process.control_source, 12)})" if with_source else "") for process in processes[:3]]
    return ", ".join(shown) + (f" and {len(processes) - 3} more" if len(processes) > 3 else "")


def _columns(values: Sequence[object], role: Role) -> Row:
    """One process in 77 cells, which is what 80 columns leave."""
    cells = Cells()
    for value, width in zip(values, _PROCESS_WIDTHS, strict=True):
        cells.cell(value, abs(width), role, "right" if width < 0 else "left").cell("", 1)
    return cells.row()


def process_rows(view: StatusView, width: int) -> list[Row]:
    """Every process, switch and alarm, for the page that lists them: the banner has no space for more than a few."""
    rows = [_columns(["service", "host", "pid", "state", "control", "source", "beat", "queue", "dropped"], "dim")]
    for process in view.processes:
        is_late = process.state == "live" and process.control_version != view.control.version
        grave: Role = "warn" if process.state == "stale" else ""
        role: Role = "crit" if is_late else "dim" if process.state == "ended" else grave
        control, beat = version_words(process.control_version), words.duration(process.heartbeat_age_s)
        known = (process.service, process.host, process.pid, process.state, control, process.control_source, beat)
        rows.append(_columns([*known, process.queue_depth, words.count(process.dropped)], role))
        if process.note:
            rows += [row((f"    {part}", "warn")) for part in wrapped(line(process.note), width - 4)]
    if not view.processes:
        rows.append(row(("no process was ever seen", "dim")))
    for switch in view.switches:
        rows += [row((part, "off")) for part in wrapped(f"■ {switch_words(switch)}", width)]
    for alarm in view.prompt_alarms:
        rows += [row((part, "crit")) for part in wrapped(f"▲ PROMPT {line(alarm, 300)}", width)]
    return rows
