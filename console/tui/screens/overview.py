"""The overview: five panes, one poll a second, every key of the acts table.

One worker asks the desk in the reading lane and hands each pane its rows; equal rows repaint nothing. The cursor of
pane 1 holds on to a feature, not to a row.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import Binding
from textual.containers import Container
from textual.screen import Screen

from console.core.acts import ACTS, BY_NAME
from console.core.switches import ALL, Scope
from console.core.text import line
from console.errors import ConsoleError
from console.ops.views import Order
from console.tui import words
from console.tui.cells import plain, row
from console.tui.order import Ranking
from console.tui.panes import detail, features, footer, header, latency, others
from console.tui.screens.confirm import ConfirmScreen, Outcome
from console.tui.screens.page import PageScreen, help_rows
from console.tui.screens.palette import Choice, PaletteScreen
from console.tui.widgets.entry import Entry
from console.tui.widgets.lines import LineView

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from console.ops.views import FeatureView, StatusView
    from console.tui.acting import Acting
    from console.tui.app import ConsoleApp
    from console.tui.cells import Role, Row
    from console.tui.desk import DeskLike
    from console.tui.lanes import Lane

POLL_S: Final = 1.0
UNFOCUSED_POLL_S: Final = 5.0
"""A terminal that says it is not focused is looked at less, never not at all."""
SILENT_S: Final = 3.0
SETTLE_CURSOR_S: Final = 0.15
"""The trends of another feature are asked for when the cursor has rested so long."""
UNDO_OFFER_S: Final = 30.0
MESSAGE_S: Final = 8.0
SMALLEST: Final = (60, 15)

_MARK_US: Final = 10_000_000
"""The plots are drawn again when their data changed, or after so long, when a mark may have moved."""

PANES: Final = ("features", "quality", "latency", "failover", "changes")
TITLES: Final = ("1 Features", "2 Quality", "3 Latency and errors", "4 Failover", "5 What changed")


def _pane(name: str, title: str) -> LineView:
    head, has_cursor = name in {"features", "failover"}, name in {"features", "failover", "changes"}
    keeps_cursor = name == "features"
    return LineView(title, head=int(head), has_cursor=has_cursor, keeps_cursor=keeps_cursor, id=name, classes="pane")


class OverviewScreen(Screen[None], inherit_bindings=False):
    """The first screen and the last: everything else is one step away from it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(",".join(act.keys), f"act('{act.name}')", act.title, show=False) for act in ACTS if act.keys
    ]

    def __init__(self, desk: DeskLike, *, reading: Lane, acts: Acting, is_read_only: bool) -> None:
        super().__init__()
        self._views = {name: LineView(id=name) for name in ("header", "banner", "message", "footer", "too-small")}
        self._views |= {name: _pane(name, title) for name, title in zip(PANES, TITLES, strict=True)}
        self._desk = desk
        self._reading = reading
        self._acts = acts
        self._is_read_only = is_read_only
        self._view: StatusView | None = None
        self._shown: StatusView | None = None
        self._trouble = ""
        self._silent_s = 0.0
        self._ranking = Ranking()
        self._ordered: list[FeatureView] = []
        self._active = 0
        self._selected: str | None = None
        self._row_of: dict[str, int] = dict.fromkeys(PANES, 0)
        self._held_at: int | None = None
        self._filter = Entry()
        self._is_filtering = False
        self._wake = asyncio.Event()
        self._asked_for: str | None = None
        self._message_until = 0.0
        self._undo_id: str | None = None
        self._latency_key: object = None

    # -- composition ---------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield self._views["header"]
        yield self._views["banner"]
        with Container(classes="body"):
            for name in ("features", "failover", "quality", "latency", "changes"):
                yield self._views[name]
        for name in ("message", "footer", "too-small"):
            yield self._views[name]

    def on_mount(self) -> None:
        self._lines("features").activate(is_active=True)
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
        self._wake.set()

    def _lines(self, name: str) -> LineView:
        return self._views[name]

    # -- polling -------------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Ask, show, sleep, for ever. A desk that is silent or fails is said; the last picture stays."""
        while True:
            started = time.monotonic()
            self._asked_for = self._selected or None
            asking = asyncio.ensure_future(self._reading.run(self._desk.status, trends=True, feature=self._asked_for))
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

    def _take(self, view: StatusView) -> None:
        if self._view is None:
            self.call_after_refresh(self._own_app().raise_curtain)
        self._view, self._trouble, self._silent_s = view, "", 0.0
        if self._held_at is None:
            self._shown = view
        self._ordered = self._ranking.order((self._shown or view).features, time.monotonic())
        if self._selected is None and self._ordered:
            self._selected = self._ordered[0].feature
            self._wake.set()
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
        self._lines("footer").show([footer.footer(width, is_read_only=self._why_not() is not None)])
        view = self._shown
        if view is None:
            return
        self.set_class(header.is_stale(view), "-stale")
        self._draw_features(view)
        for name in PANES[1:]:
            self._draw_pane(name, view)

    def _draw_header(self) -> None:
        held = words.clock(self._held_at) if self._held_at is not None else ""
        said = header.header(
            self._view, self.app.size.width, held=held, is_read_only=self._is_read_only, silent_s=self._silent_s
        )
        self._lines("header").show([said])

    def _draw_banner(self, rows: list[Row]) -> None:
        view = self._lines("banner")
        changes_height = len(rows) != len(view.rows)
        view.show(rows)
        if changes_height:
            view.refresh(layout=True)

    def _draw_features(self, view: StatusView) -> None:
        pane = self._lines("features")
        is_empty = not view.processes and not view.features
        self.set_class(is_empty, "-empty")
        if is_empty:
            pane.show([row(("", "dim")), *features.nothing_yet(view)])
            return
        names = self._names()
        shown = [feature for feature in self._ordered if feature.feature in names]
        width = pane.row_width
        rows = features.pane(view, shown, width, is_filtered=bool(self._filter.text))
        if self._selected not in names:
            self._selected = names[min(self._row_of["features"], len(names) - 1)] if names else None
        if self._selected in names:
            self._row_of["features"] = names.index(self._selected)
        pane.show(rows, self._row_of["features"] if names else None)
        pane.entitle(TITLES[0] + (f" matching {self._filter.text}: {len(names)}" if self._filter.text else ""))

    def _draw_pane(self, name: str, view: StatusView) -> None:
        pane = self._lines(name)
        width, height = pane.row_width, pane.content_size.height
        if not pane.content_size.width:
            return
        if name == "latency":
            pane.entitle(f"{TITLES[2]} · {self._asked_for or 'all features'}")
            key = (view.trends, view.changes, view.at // _MARK_US, width, height)
            if key != self._latency_key:
                self._latency_key = key
                pane.show(latency.pane(view, width, height))
        elif name == "quality":
            pane.show(others.quality(view, width))
        elif name == "failover":
            pane.show(others.failover(view, width), self._row_of[name] if view.targets else None)
        else:
            pane.show(others.changes(view, width), self._row_of[name] if view.changes else None)

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
            self._message_until, self._undo_id = 0.0, None
            self._lines("message").show([])

    def say(self, raw: object, role: Role = "", *, seconds: float = MESSAGE_S) -> None:
        """One line above the footer, for a while."""
        self._message_until = time.monotonic() + seconds
        self._lines("message").show([row((f" {line(raw, 300)}", role))])

    # -- keys ----------------------------------------------------------------------------------------------------------

    def action_act(self, name: str) -> None:
        """Every key and every command comes through here."""
        act = BY_NAME[name]
        if act.missing:
            self.say(f"{act.shown} {act.footer or act.title}: {act.missing}", "warn")
            return
        if act.risk != "none" and (why := self._refusal()) is not None:
            self.say(why, "warn")
            return
        getattr(self, f"_do_{name}")()

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
        if self._is_read_only:
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

    def _do_kill(self) -> None:
        """Kill or restore what the cursor is on."""
        view = self._view
        if view is None or self._active != 0:
            self.say("K works on a feature: press 1, move there, then K (: kills models and customers)", "warn")
            return
        name = self._selected
        if name is None:
            self.say("no feature is under the cursor", "warn")
            return
        scope = ALL if name == features.ALL_ROW else Scope("feature", name)
        own = features.engaged(view, scope)
        if own is not None and own.source != "control":
            self.say(
                f"stopped by the break-glass file {line(own.source, 80)}: remove that file on its host",
                "warn",
                seconds=20,
            )
            return
        killed = next((feature.killed for feature in view.features if feature.feature == name), None)
        if own is None and killed is not None and killed.scope != scope:
            what = line(str(killed.scope).replace(":", " ", 1), 60)
            self.say(f"stopped by {what}, it has no switch of its own; type : restore {what}", "warn", seconds=20)
            return
        self.order(Order("restore" if own is not None else "kill", scope), "K")

    def _do_kill_all(self) -> None:
        self.order(Order("kill", ALL), "enter")

    def _do_restore_all(self) -> None:
        self.order(Order("restore", ALL), "enter")

    def _do_undo(self) -> None:
        """The act that was just done, else the change under the cursor of pane 5, else the last one."""
        view, change_id = self._shown, self._undo_id
        if change_id is None and self._active == PANES.index("changes") and view is not None and view.changes:
            change = view.changes[min(self._row_of["changes"], len(view.changes) - 1)]
            if change.is_undone or change.act == "undo":
                self.say("this change is undone or an undo itself: kill or restore instead", "warn")
                return
            change_id = change.id
        self.order(Order("undo", change_id=change_id), "u")

    def order(self, order: Order, opener: str | None) -> None:
        """Open the dialog that shows what `order` would do and asks."""
        self.app.push_screen(ConfirmScreen(order, self._acts, opener=opener), self._after_act)

    def _after_act(self, outcome: Outcome | None) -> None:
        self._wake.set()
        if outcome is None:
            return
        if outcome.next_order is not None:
            self.order(outcome.next_order, "u")
        elif outcome.applied is not None:
            can_undo = outcome.applied.act != "undo"
            self._undo_id = outcome.applied.id if can_undo else None
            self.say(outcome.said + (" · u undoes it" if can_undo else ""), seconds=UNDO_OFFER_S)
        elif outcome.said:
            self.say(outcome.said, "warn")

    # -- moving --------------------------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        """What pane 1 lists, in order; the empty name is the row of all features."""
        wanted = self._filter.text.casefold()
        if wanted:
            return [feature.feature for feature in self._ordered if wanted in line(feature.feature).casefold()]
        return [features.ALL_ROW, *(feature.feature for feature in self._ordered)]

    def _move(self, by: int) -> None:
        name = PANES[self._active]
        pane, view = self._lines(name), self._shown
        if view is None:
            return
        if name in {"quality", "latency"}:
            pane.scroll(by)
            return
        count = len(self._names()) if name == "features" else len(view.targets if name == "failover" else view.changes)
        self._row_of[name] = min(max(self._row_of[name] + by, 0), max(count - 1, 0))
        if name == "features":
            names = self._names()
            before, self._selected = self._selected, names[self._row_of[name]] if names else None
            if before != self._selected:
                self._wake.set()
            self._draw_features(view)
        else:
            self._draw_pane(name, view)

    def _do_down(self) -> None:
        self._move(1)

    def _do_up(self) -> None:
        self._move(-1)

    def _do_page_down(self) -> None:
        self._move(self._lines(PANES[self._active]).page)

    def _do_page_up(self) -> None:
        self._move(-self._lines(PANES[self._active]).page)

    def _do_first(self) -> None:
        self._move(-1_000_000)

    def _do_last(self) -> None:
        self._move(1_000_000)

    def _go(self, number: int) -> None:
        self._lines(PANES[self._active]).activate(is_active=False)
        self._active = number
        pane = self._lines(PANES[number])
        pane.activate(is_active=True)
        if not pane.display or not pane.region:
            self.add_class("-zoomed")
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
        self._go((self._active + 1) % len(PANES))

    def _do_previous_pane(self) -> None:
        self._go((self._active - 1) % len(PANES))

    # -- the picture ---------------------------------------------------------------------------------------------------

    def _do_zoom(self) -> None:
        self.toggle_class("-zoomed")
        self.call_after_refresh(self._draw)

    def _do_hold(self) -> None:
        if self._held_at is None and self._view is not None:
            self._held_at = self._view.at
            self.say("held: the panes stand still, the header goes on; space again goes on")
        else:
            self._held_at = None
            self._lines("message").show([])
            if self._view is not None:
                self._take(self._view)
        self._draw_header()

    def _do_filter(self) -> None:
        self._go(0)
        self._is_filtering = True
        self._draw_message()

    def _clear_filter(self) -> None:
        self._is_filtering, self._filter = False, Entry()
        self._lines("message").show([])

    def _do_back(self) -> None:
        """One step back: the filter, then the zoom, then the message."""
        if self._filter.text:
            self._clear_filter()
            self._draw()
        elif self.has_class("-zoomed"):
            self._do_zoom()
        else:
            self._lines("message").show([])

    def _do_copy(self) -> None:
        pane = self._lines(PANES[self._active])
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

    # -- other pages ---------------------------------------------------------------------------------------------------

    def _do_help(self) -> None:
        self.app.push_screen(PageScreen("Help", partial(help_rows, why_not=self._why_not())))

    def _do_processes(self) -> None:
        if self._view is not None:
            self.app.push_screen(PageScreen("Processes", partial(header.process_rows, self._view)))

    def _do_open(self) -> None:
        view, name = self._shown, PANES[self._active]
        if view is None:
            return
        if name == "features" and self._selected == features.ALL_ROW:
            self._do_processes()
            return
        found = detail.rows_for(view, name, self._selected, self._row_of[name])
        if found is None:
            self._do_zoom()
        else:
            title, make = found
            self.app.push_screen(PageScreen(title, make))

    def _do_commands(self) -> None:
        self.app.push_screen(PaletteScreen(self._view), self._after_palette)

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
