"""Every act by name: type a part, enter takes it. Acts still ask in their own dialog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from textual.screen import ModalScreen

from console.core.acts import ACTS
from console.core.durations import parse_duration_s
from console.core.switches import ALL, SCOPE_KINDS, Scope
from console.core.text import line
from console.ops.views import Order
from console.tui.cells import row
from console.tui.widgets.entry import Entry
from console.tui.widgets.lines import LineView

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

    from console.ops.views import ActName, StatusView

_VERBS: Final[tuple[ActName, ...]] = ("kill", "restore")
_HINT: Final = " such as: kill model NAME for 30m · kill customer NAME · restore all"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was taken: an act of the table, or an order."""

    words: str
    title: str
    act: str | None = None
    order: Order | None = None


class PaletteScreen(ModalScreen["Choice | None"], inherit_bindings=False):
    """Dismissed with a choice, or None."""

    def __init__(self, view: StatusView | None) -> None:
        super().__init__()
        self._pane = LineView("Commands", head=1, has_cursor=True, keeps_cursor=True, id="palette")
        self._is_over = False
        self._known = choices(view)
        self._entry = Entry()
        self._at = 0
        self._found: list[Choice] = []

    def compose(self) -> ComposeResult:
        yield self._pane

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        steps = {"down": 1, "up": -1, "ctrl+n": 1, "ctrl+p": -1, "tab": 1, "shift+tab": -1, "pagedown": 8, "pageup": -8}
        if event.key == "escape":
            self._close(None)
        elif event.key == "enter":
            if self._found:
                self._close(self._found[self._at])
        elif event.key in steps:
            self._at = min(max(self._at + steps[event.key], 0), max(len(self._found) - 1, 0))
            self._draw()
        elif self._entry.press(event.key, event.character):
            self._at = 0
            self._draw()

    def _close(self, choice: Choice | None) -> None:
        """Once, however many keys are still in the queue."""
        if not self._is_over:
            self._is_over = True
            self.dismiss(choice)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._entry.insert(event.text)
        self._at = 0
        self._draw()

    def _draw(self) -> None:
        typed = self._entry.text
        self._found = matching(self._known, typed)
        self._at = min(self._at, max(len(self._found) - 1, 0))
        if not self.is_attached:
            return
        pane = self._pane
        head = self._entry.row(max(pane.row_width, 10), label=": ", hint=_HINT, is_active=True)
        rows = [row((f"{choice.words}  ", "bold"), (choice.title, "dim")) for choice in self._found]
        pane.show([head, *(rows or [row(("nothing matches; esc goes back", "dim"))])], self._at if rows else None)


def choices(view: StatusView | None) -> list[Choice]:
    """The table's commands, then kill and restore for each feature and model that is seen, and each engaged switch."""
    found = [Choice(act.command, act.title, act=act.name) for act in ACTS if act.command and act.is_available]
    if view is None:
        return found
    engaged = {switch.scope for switch in view.switches if switch.source == "control"} - {ALL}
    seen = [Scope("feature", feature.feature) for feature in view.features]
    seen += [Scope("model", model) for model in sorted({target.model for target in view.targets})]
    found += [_choice("restore", scope) for scope in sorted(engaged)]
    return found + [_choice("kill", scope) for scope in seen if scope not in engaged]


def _choice(act: ActName, scope: Scope, for_s: int | None = None) -> Choice:
    words = f"{act} {scope.kind} {line(scope.name)}".rstrip()
    wide = "asks for its name" if scope.is_wide else "asks first"
    ending = f", ends by itself after {for_s:,} s" if for_s else ""
    return Choice(words, f"{wide}{ending}", order=Order(act, scope, for_us=for_s * 1_000_000 if for_s else None))


def matching(known: list[Choice], typed: str) -> list[Choice]:
    """What was written out comes first, then the known ones that hold every typed word."""
    written = parse(typed)
    parts = typed.casefold().split()
    held = [choice for choice in known if all(part in choice.words.casefold() for part in parts)]
    held.sort(key=lambda choice: not choice.words.casefold().startswith(typed.casefold().strip()))
    if written is None or any(choice.order == written.order for choice in held):
        return held
    is_all = written.order is not None and written.order.scope == ALL and written.order.for_us is None
    return held if is_all else [written, *held]


def parse(typed: str) -> Choice | None:
    """An order written out: "kill|restore KIND NAME [for 30m]"; None when it is not one."""
    verb, _, rest = typed.strip().partition(" ")
    act = next((known for known in _VERBS if known == verb), None)
    kind_word, _, name = rest.strip().partition(" ")
    kind = next((known for known in SCOPE_KINDS if known == kind_word), None)
    if act is None or kind is None:
        return None
    name, for_s = _duration(name.strip())
    if (kind == "all") != (name == ""):
        return None
    return _choice(act, Scope(kind, name), for_s if act == "kill" else None)


def _duration(name: str) -> tuple[str, int | None]:
    """Split "NAME for 30m"; what is no duration belongs to the name, and the dialog shows it."""
    before, separator, after = f" {name}".rpartition(" for ")
    if not separator:
        return name, None
    try:
        return before.strip(), parse_duration_s(after)
    except ValueError:
        return name, None
