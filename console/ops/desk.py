"""The operator's desk: the one object behind the screen and the command line. Blocking; call it from a worker thread."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING

from console.core.rollups import US
from console.errors import ActForbidden, StoreError
from console.ops import switching
from console.ops.actor import current_actor
from console.ops.control import is_writable
from console.ops.status import FORGOTTEN_S, process_view, status_view
from console.ops.trends import TrendReader
from console.ops.views import Acknowledgement, Applied, Order, Preview, StatusView
from console.store.configuration import Settings, load_prices
from console.store.files import make_private
from console.store.sqlite import reads

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from console.core.prices import Prices
    from console.ops.views import ProcessView

BEFORE_S = 60


class Desk:
    """What an operator can ask and do in one installation. `read_only` refuses every act, also when the screen would not."""

    def __init__(
        self, settings: Settings, *, read_only: bool = False, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self.settings = settings
        self.read_only = read_only
        self._clock_us = clock_us
        self._prices: Prices | None = None
        self._trends = TrendReader()

    def status(self, *, trends: bool = False, feature: str | None = None) -> StatusView:
        """Everything about now; never raises for files that are missing or broken. `feature`: whose trends."""
        if self._prices is None:
            self._prices = load_prices(self.settings.prices_file)
        reader = self._trends if trends else None
        return status_view(self.settings, self._prices, self._clock_us(), trends=reader, feature=feature)

    def preview(self, order: Order) -> Preview:
        """What an order would do and whom it touches. Raises ActError, StoreError."""
        return switching.preview(self.settings.locations, order, self._clock_us())

    def apply(self, preview: Preview, *, reason: str | None = None) -> Applied:
        """Does it, reads it back. Raises ActForbidden, ActConflict, StoreError; then nothing was changed."""
        places = self.settings.locations
        if self.read_only:
            raise ActForbidden("this console is read-only: start it without --read-only to act")
        if not is_writable(places.control):
            raise ActForbidden(
                f"no permission to write {places.control}; act as its owner, or break the glass: {self._glass()}"
            )
        try:
            make_private(places.data)
        except OSError as error:
            raise StoreError(f"{places.data}: cannot be made: {error.strerror}") from None
        return switching.apply(places, preview, current_actor(), reason, self._clock_us())

    def acknowledgement(self, applied: Applied) -> Acknowledgement:
        """How many live processes run with the act now, and the calls before and after. Never raises: what cannot be known is
        said in `problem`."""
        now = self._clock_us()
        views: list[ProcessView] = []
        before = after = problem = None
        try:
            with reads.reading_telemetry(self.settings.locations.telemetry) as connection:
                rows = reads.processes(connection, now - FORGOTTEN_S * US)
                views = [process_view(row, now, platform.node()) for row in rows]
                before, after = _moved(connection, applied, now)
        except reads.NothingRecorded:
            pass
        except StoreError as error:
            problem = str(error)
        live = [view for view in views if view.state == "live"]
        laggards = tuple(view for view in live if (view.control_version or 0) < applied.version)
        return Acknowledgement(
            version=applied.version,
            following=len(live) - len(laggards),
            live=len(live),
            laggards=laggards,
            silent=tuple(view for view in views if view.state == "stale"),
            waited_ms=max(0.0, (now - applied.at) / 1000),
            calls_per_min_before=before,
            calls_per_min_now=after,
            problem=problem,
        )

    def act(self, order: Order, *, reason: str | None = None) -> tuple[Preview, Applied]:
        """Preview and apply in one go, for the command line."""
        shown = self.preview(order)
        return shown, self.apply(shown, reason=reason)

    def followed(self, applied: Applied, *, wait_s: float = 2.0, every_s: float = 0.02) -> Acknowledgement:
        """Waits until every live process runs with the act, `wait_s` at most."""
        deadline = time.monotonic() + wait_s
        while not (seen := self.acknowledgement(applied)).is_complete and time.monotonic() < deadline:
            if seen.problem is not None:
                break  # waiting does not mend it
            time.sleep(every_s)
        return seen

    def close(self) -> None:
        """Nothing is held between calls."""

    def _glass(self) -> str:
        return " or ".join(str(directory) for directory in self.settings.locations.kill_directories)


def _moved(connection: sqlite3.Connection, applied: Applied, now_us: int) -> tuple[float, float | None]:
    """Calls a minute of the act's subject that reached the API: in the minute before it, and in the last full step that lies
    wholly behind it (None until one has passed)."""
    kind, _, name = applied.subject.partition(":")
    step_s = reads.step_of(kind)
    act_s, now_s = applied.at // US // step_s * step_s, now_us // US // step_s * step_s
    before = reads.reached(connection, act_s - BEFORE_S, act_s, kind, name) * 60 / BEFORE_S
    if (now_s - step_s) * US < applied.at:
        return before, None
    return before, reads.reached(connection, now_s - step_s, now_s, kind, name) * 60 / step_s
