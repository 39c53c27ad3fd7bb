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
    from collections.abc import Awaitable, Callable, Sequence

    from textual import events
    from textual.app import ComposeResult

    from console.core.acts import Place, Risk
    from console.ops.views import ActName, PromptStatus, StatusView

_HINT: Final = " kill model NAME for 30m · switch FEATURE TARGET · rollback PROMPT · …"
_FORCE: Final[dict[str, ActName]] = {"open": "force_open", "close": "force_closed", "auto": "force_auto"}
_MOST_PAIRS: Final = 400
"""Features times targets that are offered; more can be written out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was taken: an act of the table, or an order."""

    words: str
    title: str
    act: str | None = None
    order: Order | None = None
    risk: Risk = "narrow"


_RISKS: Final[tuple[Risk, ...]] = ("none", "narrow", "wide")


class PaletteScreen(ModalScreen["Choice | None"], inherit_bindings=False):
    """Dismissed with a choice, or None."""

    def __init__(
        self,
        view: StatusView | None,
        place: Place = "overview",
        prompts: Sequence[PromptStatus] = (),
        look: Callable[[], Awaitable[Sequence[PromptStatus]]] | None = None,
    ) -> None:
        """`look` finds the prompts when they are not known yet."""
        super().__init__()
        self._look = look
        self._pane = LineView("Commands", head=1, has_cursor=True, kept_mark="▶", id="palette")
        self._is_over = False
        self._known = choices(view, place, prompts)
        self._entry = Entry()
        self._at = 0
        self._found: list[Choice] = []

    def compose(self) -> ComposeResult:
        yield self._pane

    def on_mount(self) -> None:
        self._draw()
        if self._look is not None:
            self.run_worker(self._complete(self._look), name="prompts", exclusive=True)

    async def _complete(self, look: Callable[[], Awaitable[Sequence[PromptStatus]]]) -> None:
        """Offer the prompts as soon as they are known; without them the rest is there."""
        try:
            found = await look()
        except Exception:  # noqa: BLE001 - completion is a help, never a condition
            return
        taken = self._found[self._at] if self._at < len(self._found) else None
        self._known = _harmless_first([*self._known, *prompt_choices(found)])
        if taken is not None and self._at:
            again = matching(self._known, self._entry.text)
            self._at = again.index(taken) if taken in again else 0
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


def choices(view: StatusView | None, place: Place = "overview", prompts: Sequence[PromptStatus] = ()) -> list[Choice]:
    """The table's commands that work here, and every order on what is seen (kills, routes, breakers, prompt versions): what
    only looks or goes somewhere, then what is narrow, then what is wide."""
    found = [Choice(act.command, act.title, act=act.name, risk=act.risk) for act in ACTS if act.command and act.works_on(place)]
    if view is None:
        return _harmless_first(found)
    engaged = {switch.scope for switch in view.switches if switch.source == "control"} - {ALL}
    seen = [Scope("feature", feature.feature) for feature in view.features]
    seen += [Scope("model", model) for model in sorted({target.model for target in view.targets})]
    found += [_kill("restore", scope) for scope in sorted(engaged)]
    found += [_kill("kill", scope) for scope in seen if scope not in engaged]
    return _harmless_first([*found, *_route_choices(view), *_target_choices(view), *prompt_choices(prompts)])


def _harmless_first(found: list[Choice]) -> list[Choice]:
    return sorted(found, key=lambda choice: _RISKS.index(choice.risk))


def _risk(*, is_wide: bool) -> Risk:
    return "wide" if is_wide else "narrow"


def _route_choices(view: StatusView) -> list[Choice]:
    routed = {feature.route.scope for feature in view.features if feature.route is not None}
    names = [target.target for target in view.targets]
    scopes = [ALL, *(Scope("feature", feature.feature) for feature in view.features)]
    pairs = [_switch(scope, (name,)) for scope in scopes for name in names]
    return [*(_auto(scope) for scope in sorted(routed)), *pairs[:_MOST_PAIRS]]


def _target_choices(view: StatusView) -> list[Choice]:
    forced = [_force(word, target.target) for word in _FORCE for target in view.targets]
    return [*forced, *(_probe(target.target) for target in view.targets)]


def prompt_choices(prompts: Sequence[PromptStatus]) -> list[Choice]:
    """Back to the version before, or one of them."""
    back = [_prompt("rollback", prompt.name, None) for prompt in prompts]
    return back + [_prompt("use", prompt.name, version.version) for prompt in prompts for version in prompt.versions]


def _kill(act: ActName, scope: Scope, for_s: int | None = None) -> Choice:
    words = f"{act} {scope.kind} {line(scope.name)}".rstrip()
    order = Order(act, scope, for_us=_us(for_s))
    return Choice(words, _asks(scope.is_wide, for_s), order=order, risk=_risk(is_wide=scope.is_wide))


def _switch(scope: Scope, targets: tuple[str, ...], for_s: int | None = None) -> Choice:
    words = f"switch {_route_word(scope)} {','.join(line(target) for target in targets)}"
    order = Order("switch", scope, for_us=_us(for_s), targets=targets)
    return Choice(words, _asks(scope == ALL, for_s), order=order, risk=_risk(is_wide=scope == ALL))


def _auto(scope: Scope) -> Choice:
    return Choice(
        f"auto {_route_word(scope)}",
        "back to its chain; asks first",
        order=Order("auto", scope),
        risk=_risk(is_wide=scope == ALL),
    )


def _force(word: str, target: str, for_s: int | None = None) -> Choice:
    order = Order(_FORCE[word], for_us=_us(for_s), targets=(target,))
    return Choice(f"{word} target {line(target)}", _asks(word != "auto", for_s), order=order, risk="wide")


def _probe(target: str) -> Choice:
    order = Order("probe", targets=(target,))
    return Choice(f"probe target {line(target)}", "asks it now; asks first", order=order)


def _prompt(act: ActName, name: str, version: int | None) -> Choice:
    number = "" if version is None else f" {version}"
    return Choice(
        f"{act} {line(name)}{number}", "shows what changes; asks first", order=Order(act, prompt=name, version=version)
    )


def _route_word(scope: Scope) -> str:
    return "all" if scope == ALL else str(line(scope.name))


def _asks(is_wide: bool, for_s: int | None) -> str:
    ending = f", ends by itself after {for_s:,} s" if for_s else ""
    return ("asks for its name" if is_wide else "asks first") + ending


def _us(for_s: int | None) -> int | None:
    return for_s * 1_000_000 if for_s else None


def matching(known: list[Choice], typed: str) -> list[Choice]:
    """What was written out comes first, then the known ones that hold every typed word."""
    written = parse(typed)
    parts = typed.casefold().split()
    held = [choice for choice in known if all(part in choice.words.casefold() for part in parts)]
    held.sort(key=lambda choice: not choice.words.casefold().startswith(typed.casefold().strip()))
    if written is None:
        return held
    same = [choice for choice in held if choice.order == written.order]
    if same or written.order in {Order("kill", ALL), Order("restore", ALL)}:
        return [*same, *(choice for choice in held if choice not in same)]
    is_kill = written.order is not None and written.order.act in {"kill", "restore"}
    return [written, *held] if is_kill else [*held, written]  # a part of a known name is completed, not taken for a name


def parse(typed: str) -> Choice | None:
    """An order written out; None when it is not one.

    kill|restore KIND NAME [for 30m] · switch FEATURE|all TARGET[,TARGET] [for 30m] · auto FEATURE|all
    open|close|auto target NAME [for 30m] · probe target NAME · use PROMPT VERSION · rollback PROMPT [VERSION]
    """
    verb, _, rest = typed.strip().partition(" ")
    rest = rest.strip()
    if verb in {"kill", "restore"}:
        return _parse_kill("kill" if verb == "kill" else "restore", rest)
    kind, _, name = rest.partition(" ")
    if verb in _FORCE and kind == "target" and name.strip():
        name, for_s = _duration(name.strip())
        return _force(verb, name, for_s if verb != "auto" else None) if name else None
    if verb == "probe" and kind == "target" and name.strip():
        return _probe(name.strip())
    if verb == "auto" and rest:
        return _auto(_route_scope(rest))
    if verb == "switch":
        rest, for_s = _duration(rest)
        name, _, last = rest.rpartition(" ")
        targets = tuple(part for part in last.split(",") if part)
        return _switch(_route_scope(name.strip()), targets, for_s) if name.strip() and targets else None
    return _parse_prompt(verb, rest)


def _parse_kill(act: ActName, rest: str) -> Choice | None:
    kind_word, _, name = rest.partition(" ")
    kind = next((known for known in SCOPE_KINDS if known == kind_word), None)
    if kind is None:
        return None
    name, for_s = _duration(name.strip())
    if (kind == "all") != (name == ""):
        return None
    return _kill(act, Scope(kind, name), for_s if act == "kill" else None)


def _parse_prompt(verb: str, rest: str) -> Choice | None:
    name, _, last = rest.rpartition(" ")
    number = last.removeprefix("v")
    is_version = number.isascii() and number.isdecimal() and 0 < len(number) < 8 and name.strip() != ""
    if verb == "use" and is_version:
        return _prompt("use", name.strip(), int(number))
    if verb == "rollback" and rest:
        return _prompt("rollback", name.strip() if is_version else rest, int(number) if is_version else None)
    return None


def _route_scope(name: str) -> Scope:
    return ALL if name == "all" else Scope("feature", name)


def _duration(name: str) -> tuple[str, int | None]:
    """Split "NAME for 30m"; what is no duration belongs to the name, and the dialog shows it."""
    before, separator, after = f" {name}".rpartition(" for ")
    if not separator:
        return name, None
    try:
        return before.strip(), parse_duration_s(after)
    except ValueError:
        return name, None
