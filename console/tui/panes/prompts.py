"""The prompts screen in rows: prompts, the versions of one, and all that is known about one version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import line
from console.tui import words
from console.tui.cells import Cells, Row, clipped, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.ops.views import PromptStatus, VersionView
    from console.tui.cells import Align, Role

_GLYPHS: Final = {"current": "●", "available": "○", "draft": "○", "withdrawn": "■"}
_LABEL: Final = 12
_WITH_ABOUT_FROM: Final = 88
NOTHING: Final = (
    "No prompts here. A file prompts/NAME/v1.md beside console.yaml makes one; the application asks for it with "
    "console.prompt(NAME)."
)


def worst_first(prompts: Sequence[PromptStatus]) -> list[PromptStatus]:
    return sorted(prompts, key=lambda prompt: (not prompt.alarms, prompt.name))


def current_words(prompt: PromptStatus) -> str:
    """ "v3", or with shares "v3 90 %, v2 10 %"."""
    shares = {version.version: version.share for version in prompt.versions}
    if len(prompt.current) == 1:
        return f"v{prompt.current[0]}"
    return ", ".join(f"v{number} {(shares.get(number) or 0) * 100:.0f} %" for number in prompt.current) or "none"


def prompt_rows(prompts: Sequence[PromptStatus], width: int) -> list[Row]:
    """Head and one row a prompt."""
    name = min(max([10, *(len(line(prompt.name)) for prompt in prompts)]), max(width // 3, 10))
    now = min(max([8, *(len(current_words(prompt)) for prompt in prompts)]), 22)
    head = (
        Cells().cell("", 2).cell("prompt", name, "dim").cell("", 1).cell("current", now + 1, "dim").put("features", "dim").row()
    )
    return [head, *(clipped(_prompt_row(prompt, name, now), width) for prompt in prompts)]


def _prompt_row(prompt: PromptStatus, name: int, now: int) -> Row:
    role: Role = "crit" if prompt.alarms else ""
    cells = Cells().cell("▲" if prompt.alarms else "●", 2, role or "ok").cell(prompt.name, name, role).cell("", 1)
    cells.cell(current_words(prompt), now, "bold").cell("", 1)
    if prompt.alarms:
        cells.put(f"{words.plural(len(prompt.alarms), 'alarm')}  ", "crit")
    return cells.put(", ".join(line(feature, 60) for feature in prompt.features) or "no calls", "dim").row()


def version_rows(prompt: PromptStatus, now_us: int, width: int) -> list[Row]:
    """Head and one row a version, newest first."""
    head = Cells().cell("", 2)
    for title, size, align in _COLUMNS:
        head.cell(title, size, "dim", align).cell("", 1)
    head.put("about" if width >= _WITH_ABOUT_FROM else "", "dim")
    return [head.row(), *(_version_row(version, now_us, width) for version in prompt.versions)]


_COLUMNS: Final[tuple[tuple[str, int, Align], ...]] = (
    ("version", 7, "left"),
    ("state", 9, "left"),
    ("share", 6, "right"),
    ("calls 5m", 8, "right"),
    ("file", 7, "left"),
    ("made current", 18, "left"),
)


def _version_row(version: VersionView, now_us: int, width: int) -> Row:
    is_wrong = version.file != "ok" or version.problem is not None
    is_current = version.state == "current"
    role: Role = "crit" if is_wrong and is_current else "warn" if is_wrong else "dim" if version.state == "withdrawn" else ""
    glyph = "▲" if is_wrong else _GLYPHS.get(version.state, "○")
    made = (
        f"{words.ago(version.current_since, now_us)} ago {line(version.current_by or '', 30)}" if version.current_since else ""
    )
    texts = (
        f"v{version.version}",
        version.state,
        words.NONE if version.share is None else f"{version.share * 100:.0f} %",
        words.count(version.calls_5m),
        "broken" if version.problem is not None and version.file == "ok" else version.file,
        made,
    )
    cells = Cells().cell(glyph, 2, role or ("ok" if is_current else "dim"))
    for text, (title, size, align) in zip(texts, _COLUMNS, strict=True):
        own: Role = role or ("bold" if is_current and title in {"version", "state"} else "")
        cells.cell(text, size, own, align).cell("", 1)
    return clipped(cells.put(version.description or "" if width >= _WITH_ABOUT_FROM else "", "dim").row(), width)


def version_detail(prompt: PromptStatus, version: VersionView | None, now_us: int, width: int) -> list[Row]:
    """Alarms first, then who chose what is current, then the version."""
    rows: list[Row] = []
    for alarm in prompt.alarms:
        rows += [row((part, "crit")) for part in wrapped(f"▲ {line(alarm, 400)}", width)]
    pairs: list[tuple[str, str]] = [("current", chosen_words(prompt, now_us))]
    if version is not None:
        wrong = {"ok": "", "edited": "edited since it was registered: the registered text is served"}
        wrong["lost"] = "the file is lost: the registered text is served"
        pairs += [
            ("problem", line(version.problem or "", 400)),
            ("file", wrong.get(version.file, "")),
            ("about", line(version.description or "", 400)),
            ("notes", line(version.notes or "", 1000)),
            ("variables", ", ".join(line(name, 60) for name in version.variables) or "none"),
            ("owner", line(version.owner or words.NONE)),
            ("hash", f"{line(version.hash or words.NONE, 64)}{'' if version.is_registered else ' (not registered yet)'}"),
        ]
    for label, value in pairs:
        if value:
            label_role: Role = "crit" if label == "problem" else "dim"
            parts = wrapped(value, max(width - _LABEL, 10))
            rows += [row((f"{label if number == 0 else '':{_LABEL}}", label_role), part) for number, part in enumerate(parts)]
    return rows


def chosen_words(prompt: PromptStatus, now_us: int) -> str:
    """Who made the present version current, when, and why."""
    now = current_words(prompt)
    if prompt.chosen_at is None and prompt.chosen_by is None:
        return f"{now}: nobody chose it, it is the highest version that is no draft"
    when = f" at {words.clock(prompt.chosen_at)} ({words.ago(prompt.chosen_at, now_us)} ago)" if prompt.chosen_at else ""
    return f"{now} by {line(prompt.chosen_by or '?', 40)}{when}" + (f": {line(prompt.reason)}" if prompt.reason else "")
