"""The app: themes, the safe filter, signals, leaving and crashing. What is on the screen is in `screens`.

However it ends (q, ctrl+c, TERM, HUP, INT, an error of ours), the terminal is restored, an act under way is given two
seconds to finish and its outcome is printed, and nothing that was in memory is.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual import events
from textual.app import App
from textual.binding import Binding

from console.core.acts import BY_NAME
from console.core.text import SafeText, line
from console.tui import crash, theme
from console.tui.acting import Acting
from console.tui.guard import Bursts
from console.tui.lanes import Lane
from console.tui.paint import tightened
from console.tui.safe import SafeFilter, is_ascii_only, to_ascii
from console.tui.screens.live import Parts
from console.tui.screens.overview import OverviewScreen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path, PurePath

    from rich.console import RenderableType
    from textual.binding import BindingType
    from textual.filter import LineFilter
    from textual.screen import Screen

    from console.core.acts import Place
    from console.tui.desk import DeskLike
    from console.tui.screens.live import LiveScreen
    from console.tui.things import Thing

_SIGNALS: Final = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
_ACT_GRACE_S: Final = 2.0
_CURTAIN_S: Final = 0.3
"""A desk that needs longer than this for its first answer is waited for in sight."""
_EXIT_LIMIT_S: Final = 3.0
"""After this long a leaving that hangs (a terminal that is gone takes no bytes) ends the process."""


class ConsoleApp(App[int], inherit_bindings=False):
    """Composition only. `read_only` greys the acts; the desk refuses them as well."""

    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    AUTO_FOCUS = None
    CSS_PATH: ClassVar[list[str | PurePath]] = [f"styles/{name}.tcss" for name in ("console", "overview", "lists")]
    HORIZONTAL_BREAKPOINTS = [(0, "-small"), (80, "-middle"), (120, "-wide")]  # noqa: RUF012 - Textual types it so
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "leave", BY_NAME["quit"].title, priority=True, show=False)]

    def __init__(self, desk: DeskLike, read_only: bool = False) -> None:
        ascii_only = is_ascii_only()
        if os.environ.get("TERM") == "dumb":  # Rich takes a dumb terminal for 80x25, whatever it is: layout without end
            os.environ["TERM"] = "vt100"
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.desk = desk
        self.is_read_only = read_only or desk.read_only
        self.reading = Lane("console-reading")
        self.acting = Lane("console-acting")
        self.bursts = Bursts()
        self.crash_report: Path | None = None
        self.acts = Acting(desk, self.acting)
        self.exit_limit = threading.Event()
        self._failure: BaseException | None = None
        self._is_curtained = True
        self._safe = SafeFilter(ascii_only=ascii_only)
        self.register_theme(theme.DARK)
        self.register_theme(theme.LIGHT)
        self.theme = theme.DEFAULT

    # -- painting ------------------------------------------------------------------------------------------------------

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._safe]

    def get_default_screen(self) -> Screen[Any]:
        return OverviewScreen(self._parts())

    def _parts(self) -> Parts:
        return Parts(self.desk, self.reading, self.acts, self.is_read_only)

    def visit(self, place: Place, about: Thing | None) -> None:
        """Show another screen over the overview, in place of one that is there; `about` is what the cursor was on."""
        screen = _screen_class(place)(self._parts(), about)
        if isinstance(self.screen, OverviewScreen):
            self.push_screen(screen)
        else:
            self.switch_screen(screen)

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        super()._display(screen, None if self._is_curtained else tightened(renderable))

    def raise_curtain(self) -> None:
        """Paint from now on. Until the first picture is there nothing is: the steps towards it are three full
        screens."""
        if self._is_curtained:
            self._is_curtained = False
            self.screen.refresh()

    def _set_pointer_shape(self, shape: str) -> None:
        """No mouse, no pointer: the fewer sequences, the better."""

    def copy_text(self, text: SafeText) -> None:
        """Hand `text` to the terminal's clipboard (OSC 52)."""
        self.copy_to_clipboard(text)

    # -- keys ----------------------------------------------------------------------------------------------------------

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            self.bursts.saw(event.time)
        await super().on_event(event)

    async def action_simulate_key(self, key: str) -> None:
        """Off: a click action in somebody's text could press our keys."""

    def action_leave(self) -> None:
        self.leave(0)

    def flip_theme(self) -> None:
        self.theme = theme.LIGHT.name if self.theme == theme.DARK.name else theme.DARK.name

    # -- leaving -------------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._lost_exception)
        self.set_timer(_CURTAIN_S, self.raise_curtain)
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        if threading.current_thread() is threading.main_thread() and not self.is_headless:
            for number, code in _SIGNALS.items():
                loop.add_signal_handler(number, self.leave, code)
            _watch_terminal(self.exit_limit)

    def leave(self, code: int) -> None:
        """End the app with this exit code. Safe to call twice."""
        if self._exit:
            return
        if not self.is_headless:
            _limit_exit(code, self.exit_limit)
        self.exit(code, return_code=code)

    # -- failing -------------------------------------------------------------------------------------------------------

    def _lost_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody awaited: as bad as any other, and asyncio would print it."""
        error = context.get("exception")
        if isinstance(error, Exception):
            self._handle_exception(error)

    def _handle_exception(self, error: Exception) -> None:
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._fail(error)

    def _fatal_error(self) -> None:
        self._fail(sys.exc_info()[1] or RuntimeError())

    def panic(self, *renderables: object) -> None:
        """Textual hands over a traceback with locals here: it is not printed."""
        self._fail(sys.exc_info()[1] or RuntimeError())

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None:
            return
        self._failure = error
        self._return_code = 1
        self.crash_report = crash.write_report(error)
        if not self.is_headless:
            _limit_exit(1, self.exit_limit)
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        """Nothing of Textual's is printed; `run_console` says what happened."""
        self._exit_renderables.clear()

    @property
    def failure(self) -> BaseException | None:
        return self._failure


def _screen_class(place: Place) -> type[LiveScreen]:
    """Loaded when first asked for: the first picture does not wait for them."""
    if place == "prompts":
        from console.tui.screens.prompts import PromptsScreen  # noqa: PLC0415 -- see above

        return PromptsScreen
    if place == "timeline":
        from console.tui.screens.timeline import TimelineScreen  # noqa: PLC0415 -- see above

        return TimelineScreen
    from console.tui.screens.targets import TargetsScreen  # noqa: PLC0415 -- see above

    return TargetsScreen


def run_console(desk: DeskLike, *, read_only: bool = False) -> int:
    """Run the console on this terminal until it is left; the exit code. The caller has checked that there is a
    terminal.

    0 after `q` or ctrl+c, 1 after a crash, 128 + n after signal n.
    """
    app = ConsoleApp(desk, read_only)
    try:
        return _run(app)
    finally:
        app.exit_limit.set()


def _run(app: ConsoleApp) -> int:
    try:
        code = app.run(mouse=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001 - whatever it was, its locals stay out of sight
        app.crash_report = app.crash_report or crash.write_report(error)
        _say(f"console stopped: {crash.summary(error)}{_report_words(app.crash_report)}")
        return 1
    app.acting.drain(_ACT_GRACE_S)
    for text in app.acts.unseen:
        _say(text)
    if app.failure is not None:
        _say(f"console stopped: {crash.summary(app.failure)}{_report_words(app.crash_report)}")
        return 1
    return app.return_code or code or 0


def _report_words(report: Path | None) -> str:
    return f"; report without values: {report}" if report is not None else ""


def _say(text: str) -> None:
    """One safe line on stderr; a terminal that is gone is no error."""
    safe = line(text, 400)
    try:
        print(to_ascii(safe) if is_ascii_only() else safe, file=sys.stderr)  # noqa: T201 - the screen is closed
    except OSError:
        return


def _watch_terminal(is_over: threading.Event) -> None:
    """Turn a terminal that went away without SIGHUP into one: reading it returns nothing for ever, at full speed."""

    def watch() -> None:
        poll = select.poll()
        poll.register(0, 0)  # asks for no event: it returns only when the other end is gone
        poll.poll()
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGHUP)
            _limit_exit(_SIGNALS[signal.SIGHUP], is_over)

    threading.Thread(target=watch, name="console-terminal-watch", daemon=True).start()


def _limit_exit(code: int, is_over: threading.Event) -> None:
    """Make sure that the process ends: a writer whose terminal is gone blocks for ever."""

    def end() -> None:
        if not is_over.wait(_EXIT_LIMIT_S):
            os._exit(code)

    threading.Thread(target=end, name="console-exit-limit", daemon=True).start()
