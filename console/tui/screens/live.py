"""What every screen that shows live data has in common: header, banner, panes with cursors, message and footer; one poll a
second in the reading lane while it is in sight; every key of the acts table, the acts among them the same everywhere.

A screen says what it reads (`_reader`), what its rows are (`_keys`, `_draw_pane`) and what the row under the cursor stands for
(`_thing`, `_change`). Nothing here asks the desk in the event loop.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import Binding
from textual.containers import Container
from textual.screen import ModalScreen, Screen

from console.core.acts import ACTS, BY_NAME, PLACES, Act, Place
from console.core.switches import ALL
from console.core.text import line
from console.errors import ConsoleError
from console.ops.views import Order
from console.tui import things, words
from console.tui.acting import LASTING_NOTHING, can_undo
from console.tui.cells import clipped, plain, row
from console.tui.cursor import Cursor
from console.tui.panes import footer, header
from console.tui.screens.confirm import ConfirmScreen, Outcome
from console.tui.screens.page import PageScreen, help_rows
from console.tui.screens.palette import Choice, PaletteScreen
from console.tui.widgets.entry import Entry
from console.tui.widgets.lines import LineView

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from console.ops.views import ChangeView, PromptStatus, StatusView, TimelineView
    from console.tui.acting import Acting
    from console.tui.app import ConsoleApp
    from console.tui.cells import Role, Row
    from console.tui.desk import DeskLike
    from console.tui.lanes import Lane
    from console.tui.things import Thing

POLL_S: Final = 1.0
UNFOCUSED_POLL_S: Final = 5.0
"""A terminal that says it is not focused is looked at less, never not at all."""
SILENT_S: Final = 3.0
SETTLE_CURSOR_S: Final = 0.15
"""What belongs to the row under the cursor is asked for when the cursor has rested so long."""
UNDO_OFFER_S: Final = 30.0
MESSAGE_S: Final = 8.0
LONG_MESSAGE_S: Final = 20.0
SMALLEST: Final = (60, 15)
_FAR: Final = 1_000_000
_PLACE_WORDS: Final[dict[Place, str]] = {
    "overview": "overview (esc)",
    "prompts": "prompts (v)",
    "timeline": "timeline (t)",
    "targets": "targets (s)",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a screen works with."""

    desk: DeskLike
    reading: Lane
    acts: Acting
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """What one poll has brought."""

    view: StatusView
    prompts: tuple[PromptStatus, ...] = ()
    timeline: tuple[TimelineView, ...] = field(default=())


class LiveScreen(Screen[None], inherit_bindings=False):
    """See the module."""

    PLACE: ClassVar[Place]
    PANES: ClassVar[tuple[str, ...]]
    """In the order of their numbers; the first is the one that is filtered."""
    TITLES: ClassVar[tuple[str, ...]]
    LAYOUT: ClassVar[tuple[str, ...]]
    """The panes in the order in which they lie on the screen."""
    HEADS: ClassVar[frozenset[str]] = frozenset()
    """Panes whose first row stays."""
    LISTS: ClassVar[frozenset[str]] = frozenset()
    """Panes with a cursor; the others scroll."""
    CHANGES: ClassVar[str] = ""
    """The list of changes, if there is one: while it has the focus, `u` means its row."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(",".join(act.keys), f"act('{act.name}')", act.title, show=False) for act in ACTS if act.keys
    ]

    def __init__(self, parts: Parts, about: Thing | None = None) -> None:
        super().__init__()
        self._views = {name: LineView(id=name) for name in ("header", "banner", "message", "footer", "too-small")}
        for name, title in zip(self.PANES, self.TITLES, strict=True):
            is_list = name in self.LISTS
            head, kept = int(name in self.HEADS), "▷" if is_list and name == self.PANES[0] else ""
            self._views[name] = LineView(title, head=head, has_cursor=is_list, kept_mark=kept, id=name, classes="pane")
        self._parts = parts
        self._about = about
        self._picture: Picture | None = None
        self._shown: Picture | None = None
        self._trouble = ""
        self._silent_s = 0.0
        self._active = 0
        self._cursors = {name: Cursor() for name in self.LISTS}
        self._held_at: int | None = None
        self._filter = Entry()
        self._is_filtering = False
        self._wake = asyncio.Event()
        self._in_sight = asyncio.Event()
        self._message_until = 0.0
        self._undo_id: str | None = None
        self._undo_said = ""
        self._undo_until = 0.0

    # -- what a screen says about itself -------------------------------------------------------------------------------

    def _reader(self) -> Callable[[], Picture]:
        """What to call in the reading lane."""
        raise NotImplementedError

    def _keys(self, name: str) -> Sequence[Hashable]:
        """What the rows of a list are, in order."""
        raise NotImplementedError

    def _draw_pane(self, name: str, picture: Picture) -> None:
        raise NotImplementedError

    def _thing(self) -> Thing | None:
        """What the row under the cursor stands for."""
        return None

    def _change(self) -> ChangeView | None:
        """The change under the cursor, in a list of changes."""
        return None

    def _page(self) -> tuple[str, Callable[[int], list[Row]]] | None:
        """Title and rows of the page that `enter` opens; None: it zooms."""
        return None

    def _moved(self) -> None:
        """The cursor stands on another thing."""

    def _settle(self, picture: Picture) -> None:
        """A new picture came, before it is drawn."""

    # -- composition ---------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield self._views["header"]
        yield self._views["banner"]
        with Container(classes="body"):
            for name in self.LAYOUT:
                yield self._views[name]
        for name in ("message", "footer", "too-small"):
            yield self._views[name]

    def on_mount(self) -> None:
        self._lines(self.PANES[0]).activate(is_active=True)
        self._draw()
        self.watch(self.app, "app_focus", self._wake.set, init=False)
        self.run_worker(self._poll(), name="poll", exclusive=True)

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-tiny")
        self.set_class(height >= 32, "-tall")
        self.set_class(height < 22, "-short")
        self.call_after_refresh(self._draw)

    def on_screen_resume(self) -> None:
        self._in_sight.set()
        self._wake.set()

    def _lines(self, name: str) -> LineView:
        return self._views[name]

    @property
    def _pane(self) -> str:
        """The active pane's name."""
        return self.PANES[self._active]

    # -- polling -------------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Ask, show, sleep, for ever; nothing while another screen covers this one. A desk that is silent or fails is said;
        the last picture stays."""
        while True:
            while not self._is_in_sight():
                self._in_sight.clear()
                await self._in_sight.wait()
            started = time.monotonic()
            asking = asyncio.ensure_future(self._parts.reading.run(self._reader()))
            while not (await asyncio.wait({asking}, timeout=SILENT_S))[0]:
                self._silent_s = time.monotonic() - started
                self._draw_header()
            error = asking.exception()
            if error is None:
                self._take(asking.result())
            else:
                self._fall_behind(error)
            rest = POLL_S if self.app.app_focus else UNFOCUSED_POLL_S
            await self._sleep(max(rest - (time.monotonic() - started), 0.05))

    def _is_in_sight(self) -> bool:
        """Whether nothing but dialogs lies over this screen."""
        for screen in reversed(self.app.screen_stack):
            if screen is self:
                return True
            if not isinstance(screen, ModalScreen):
                return False
        return True  # not on the stack yet

    def _fall_behind(self, error: BaseException) -> None:
        """The desk could not look: keep the last picture, say why, and mark it as old."""
        if not isinstance(error, Exception):
            raise error
        said = line(error, 120) if isinstance(error, ConsoleError) else type(error).__name__
        self._trouble = f"cannot look: {said}; what stands here is old"
        self._draw()
        self.add_class("-stale")
        self._own_app().raise_curtain()

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
        await asyncio.sleep(SETTLE_CURSOR_S)

    def _take(self, picture: Picture) -> None:
        if self._picture is None:
            self.call_after_refresh(self._own_app().raise_curtain)
        self._picture, self._trouble, self._silent_s = picture, "", 0.0
        if self._held_at is None:
            self._shown = picture
        self._settle(self._shown or picture)
        self._draw()

    # -- drawing -------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        if not self.is_attached:
            return
        width, height = self.app.size
        if self.has_class("-tiny"):
            said = f"needs {SMALLEST[0]}x{SMALLEST[1]}, this is {width}x{height}; acts are off until then"
            self._lines("too-small").show([row((said, "bold"))])
            return
        self._draw_header()
        self._draw_message()
        limit = 2 if height < 32 else 6
        self._draw_banner(header.banner(self._view, limit, trouble=self._trouble))
        self._lines("footer").show([footer.footer(width, self.PLACE, is_read_only=self._why_not() is not None)])
        picture = self._shown
        if picture is None:
            return
        self.set_class(header.is_stale(picture.view), "-stale")
        for name in self.PANES:
            if self._lines(name).content_size.width:
                self._draw_pane(name, picture)

    def _draw_header(self) -> None:
        held = words.clock(self._held_at) if self._held_at is not None else ""
        said = header.header(
            self._view, self.app.size.width, held=held, is_read_only=self._parts.is_read_only, silent_s=self._silent_s
        )
        self._lines("header").show([said])

    def _draw_banner(self, rows: list[Row]) -> None:
        view = self._lines("banner")
        changes_height = len(rows) != len(view.rows)
        view.show(rows)
        if changes_height:
            view.refresh(layout=True)

    def _draw_message(self) -> None:
        if self._is_filtering:
            shown = self._filter.row(
                self.app.size.width - 1,
                label=" filter ",
                hint=" part of a name; enter keeps, esc clears",
                is_active=True,
            )
            self._lines("message").show([shown])
        elif self._message_until and time.monotonic() > self._message_until:
            self._message_until = 0.0
            self._lines("message").show([])
            self._draw_offer()

    def _offered(self) -> str | None:
        """The act that was just done, while the offer to undo it stands."""
        if self._undo_id is not None and time.monotonic() > self._undo_until:
            self._undo_id = None
        return self._undo_id

    def _draw_offer(self) -> None:
        """What was done, and how it is undone from the pane that has the focus."""
        if self._offered() is None:
            return
        how = " · u undoes it"
        if self._pane == self.CHANGES:
            is_first = self.PANES[0] == self.CHANGES
            how = " · u undoes the row" if is_first else " · u in this pane undoes the row; 1 then u undoes it"
        said = plain(clipped(row(self._undo_said), max(self.app.size.width - len(how) - 2, 1)))
        self.say(said + how, seconds=self._undo_until - time.monotonic())

    def _show_list(self, name: str, rows: list[Row]) -> None:
        """Rows of a list pane, the cursor on its thing."""
        self._lines(name).show(rows, self._cursors[name].settle(self._keys(name)))

    def say(self, raw: object, role: Role = "", *, seconds: float = MESSAGE_S) -> None:
        """One line above the footer, for a while."""
        self._message_until = time.monotonic() + seconds
        self._lines("message").show([row((f" {line(raw, 300)}", role))])

    @property
    def _view(self) -> StatusView | None:
        """The newest status, also while the picture is held."""
        return None if self._picture is None else self._picture.view

    def _matches(self, raw: object) -> bool:
        """Whether the filter lets a text through."""
        wanted = self._filter.text.casefold()
        return not wanted or wanted in line(raw).casefold()

    # -- keys ----------------------------------------------------------------------------------------------------------

    def action_act(self, name: str) -> None:
        """Every key and every command comes through here."""
        act = BY_NAME[name]
        why = self._does_not_apply(act)
        if why is None and act.risk != "none":
            why = self._refusal()
        if why is not None:
            self.say(why, "warn")
            return
        getattr(self, f"_do_{name}")()

    def _does_not_apply(self, act: Act) -> str | None:
        """Why this key does nothing on this screen, or None."""
        if act.missing:
            return f"{act.shown} {act.footer or act.title}: {act.missing}"
        if self.PLACE in act.where:
            return None
        places = [_PLACE_WORDS[place] for place in PLACES if place in act.where]
        return f"{act.shown} works on: {', '.join(places)}; not here"

    def on_key(self, event: events.Key) -> None:
        if not self._is_filtering:
            return
        event.stop()
        event.prevent_default()
        if event.key in {"enter", "tab"}:
            self._is_filtering = False
            self._lines("message").show([])
        elif event.key == "escape":
            self._clear_filter()
        else:
            self._filter.press(event.key, event.character)
        self._draw()

    def on_paste(self, event: events.Paste) -> None:
        if self._is_filtering:
            self._filter.insert(event.text)
            self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (self._is_filtering and action == "act")

    def _why_not(self) -> str | None:
        """Why acts are refused here, or None."""
        if self._parts.is_read_only:
            return "read-only: this console was started with --read-only, acts are off"
        view = self._view
        if view is not None and not view.control.is_writable and view.control.problem is None:
            return "no permission to write the control file: this user may look, not act"
        return None

    def _refusal(self) -> str | None:
        app = self._own_app()
        if app.bursts.is_burst:
            return "ignored: keys came faster than fingers (a paste?); press it again"
        if self.has_class("-tiny"):
            return "acts are off while the terminal is too small to show them"
        return self._why_not()

    def _own_app(self) -> ConsoleApp:
        app: ConsoleApp = self.app  # type: ignore[assignment]
        return app

    # -- acts ----------------------------------------------------------------------------------------------------------

    def _give(self, found: Order | str, opener: str) -> None:
        """Open the dialog of an order, or say why there is none."""
        if isinstance(found, str):
            self.say(found, "warn", seconds=LONG_MESSAGE_S)
        else:
            self.order(found, opener)

    def _do_kill(self) -> None:
        if (view := self._view) is not None:
            self._give(things.kill_order(view, self._thing()), "K")

    def _do_model(self) -> None:
        if (view := self._view) is not None:
            self._give(things.switch_order(view, self._thing()), "M")

    def _do_rollback(self) -> None:
        if (view := self._view) is not None:
            self._give(things.rollback_order(view, self._thing()), "B")

    def _do_kill_all(self) -> None:
        self.order(Order("kill", ALL), "enter")

    def _do_restore_all(self) -> None:
        self.order(Order("restore", ALL), "enter")

    def _do_undo(self) -> None:
        """The change under the cursor in a list of changes; elsewhere the act that was just done, else the last one."""
        change_id, change = self._offered(), self._change()
        if change is not None:
            if change.is_undone or change.act in LASTING_NOTHING:
                self.say("this change is undone, or nothing that could be undone: K, M or B on its row instead", "warn")
                return
            change_id = change.id
        self.order(Order("undo", change_id=change_id), "u")

    def order(self, order: Order, opener: str | None) -> None:
        """Open the dialog that shows what `order` would do and asks."""
        self.app.push_screen(ConfirmScreen(order, self._parts.acts, view=self._view, opener=opener), self._after_act)

    def _after_act(self, outcome: Outcome | None) -> None:
        self._wake.set()
        if outcome is None:
            return
        if outcome.next_order is not None:
            self.order(outcome.next_order, "u")
        elif outcome.applied is not None:
            self._undo_id = outcome.applied.id if can_undo(outcome.applied) else None
            self._undo_said, self._undo_until = outcome.said, time.monotonic() + UNDO_OFFER_S
            self.say(outcome.said, seconds=UNDO_OFFER_S)
            self._draw_offer()
        elif outcome.said:
            self._undo_id = None
            self.say(outcome.said, "warn")

    # -- moving --------------------------------------------------------------------------------------------------------

    def _move(self, by: int) -> None:
        name, picture = self._pane, self._shown
        cursor = self._cursors.get(name)
        if cursor is None:
            self._lines(name).scroll(by)
        elif picture is not None:
            if cursor.move(by, self._keys(name)):
                self._moved()
            self._draw_pane(name, picture)

    def _do_down(self) -> None:
        self._move(1)

    def _do_up(self) -> None:
        self._move(-1)

    def _do_page_down(self) -> None:
        self._move(self._lines(self._pane).page)

    def _do_page_up(self) -> None:
        self._move(-self._lines(self._pane).page)

    def _do_first(self) -> None:
        self._move(-_FAR)

    def _do_last(self) -> None:
        self._move(_FAR)

    def _go(self, number: int) -> None:
        if number >= len(self.PANES):
            self.say(f"this screen has {words.plural(len(self.PANES), 'pane')}", "warn")
            return
        self._lines(self._pane).activate(is_active=False)
        self._active = number
        pane = self._lines(self.PANES[number])
        pane.activate(is_active=True)
        if not pane.display or not pane.region:
            self.add_class("-zoomed")
        self._draw_offer()
        self.call_after_refresh(self._draw)

    def _do_pane_1(self) -> None:
        self._go(0)

    def _do_pane_2(self) -> None:
        self._go(1)

    def _do_pane_3(self) -> None:
        self._go(2)

    def _do_pane_4(self) -> None:
        self._go(3)

    def _do_pane_5(self) -> None:
        self._go(4)

    def _do_next_pane(self) -> None:
        self._go((self._active + 1) % len(self.PANES))

    def _do_previous_pane(self) -> None:
        self._go((self._active - 1) % len(self.PANES))

    # -- the picture ---------------------------------------------------------------------------------------------------

    def _do_zoom(self) -> None:
        self.toggle_class("-zoomed")
        self.call_after_refresh(self._draw)

    def _do_hold(self) -> None:
        if self._held_at is None and self._picture is not None:
            self._held_at = self._picture.view.at
            self.say("held: the panes stand still, the header goes on; space again goes on")
        else:
            self._held_at = None
            self._lines("message").show([])
            if self._picture is not None:
                self._take(self._picture)
        self._draw_header()

    def _do_filter(self) -> None:
        self._go(0)
        self._is_filtering = True
        self._draw_message()

    def _clear_filter(self) -> None:
        self._is_filtering, self._filter = False, Entry()
        self._lines("message").show([])

    def _do_back(self) -> None:
        """One step back: the filter, then the zoom, then the message, then the screen below."""
        if self._filter.text:
            self._clear_filter()
            self._draw()
        elif self.has_class("-zoomed"):
            self._do_zoom()
        elif self._lines("message").rows:
            self._undo_id = None
            self._lines("message").show([])
        elif self.PLACE != "overview" and self.app.screen is self:
            self.app.pop_screen()

    def _do_copy(self) -> None:
        pane = self._lines(self._pane)
        index = (pane.cursor or 0) + pane.head
        text = line(" ".join(plain(pane.rows[index]).split()) if index < len(pane.rows) else "", 400)
        if not text:
            self.say("nothing to copy here", "warn")
            return
        self._own_app().copy_text(text)
        self.say(f"copied: {text}")

    def _do_theme(self) -> None:
        self._own_app().flip_theme()

    def _do_suspend(self) -> None:
        self.app.action_suspend_process()

    def _do_quit(self) -> None:
        self._own_app().leave(0)

    # -- other screens and pages ---------------------------------------------------------------------------------------

    def _visit(self, place: Place) -> None:
        if place == self.PLACE:
            self.say("this is that screen; esc goes back", "warn")
        elif self.app.screen is self:
            self._own_app().visit(place, self._thing())

    def _do_versions(self) -> None:
        self._visit("prompts")

    def _do_targets(self) -> None:
        self._visit("targets")

    def _do_timeline(self) -> None:
        self._visit("timeline")

    def _do_help(self) -> None:
        self.app.push_screen(PageScreen("Help", partial(help_rows, place=self.PLACE, why_not=self._why_not())))

    def _do_processes(self) -> None:
        if self._view is not None:
            self.app.push_screen(PageScreen("Processes", partial(header.process_rows, self._view)))

    def _do_open(self) -> None:
        if self._shown is None:
            return
        found = self._page()
        if found is not None:
            self.app.push_screen(PageScreen(*found))
        elif BY_NAME["zoom"].works_on(self.PLACE):
            self._do_zoom()

    def _do_commands(self) -> None:
        known = self._picture.prompts if self._picture is not None else ()
        look = None if known else partial(self._parts.reading.run, self._parts.desk.prompts)
        self.app.push_screen(PaletteScreen(self._view, self.PLACE, known, look), self._after_palette)

    def _after_palette(self, choice: Choice | None) -> None:
        if choice is None:
            return
        if choice.act is not None:
            self.action_act(choice.act)
        elif choice.order is not None:
            why = self._refusal()
            if why is not None:
                self.say(why, "warn")
            else:
                self.order(choice.order, "enter")
