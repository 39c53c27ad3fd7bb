"""The operator's desk: the one object behind the screen and the command line. Blocking; call it from a worker thread."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from console.core.rollups import US
from console.errors import ActError, ActForbidden, StoreError, UnknownPrompt
from console.ops import acts
from console.ops.actor import current_actor
from console.ops.control import is_writable, read_all
from console.ops.failures import FailureReader
from console.ops.heartbeats import heard
from console.ops.installation import missing_installation
from console.ops.kinds import Scene, window_start
from console.ops.measures import moved
from console.ops.prompts import PromptReader, Prompts, in_force, unknown_version
from console.ops.status import status_view
from console.ops.statuspage import PageWatch
from console.ops.targets import known_targets
from console.ops.timeline import timeline_view
from console.ops.trends import TrendReader
from console.ops.views import Acknowledgement, Applied, Order, Preview, PromptStatus, StatusView, TimelineView
from console.store.configuration import Settings, load_prices
from console.store.files import make_private
from console.store.sqlite import reads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from console.core.audit import AuditRow
    from console.core.prices import Prices
    from console.core.statuspage import StatusPage
    from console.ops.heartbeats import Live
    from console.ops.prompts import Source
    from console.ops.views import ProcessView


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
        self._failures = FailureReader()
        self._pages = None if settings.status_page is None else PageWatch(settings.status_page)
        self._page: StatusPage | None = None
        self._watches_page = False
        self._prompts = PromptReader(settings.prompts, settings.locations.control)

    def status(self, *, trends: bool = False, feature: str | None = None) -> StatusView:
        """Everything about now; never raises for files that are missing or broken. `feature`: whose trends."""
        if self._prices is None:
            self._prices = load_prices(self.settings.prices_file)
        if self._pages is not None and self._watches_page:
            self._page = self._pages.look()
        return status_view(
            self.settings,
            self._prices,
            self._prompts,
            self._clock_us(),
            trends=self._trends if trends else None,
            feature=feature,
            failures=self._failures,
            page=self._page,
        )

    def watch_status_page(self, delay_s: float = 1.0) -> None:
        """From now on the provider's status page is asked once a minute, unless the configuration says `status_page: off`.
        Nothing waits for it; the first question is asked after `delay_s` seconds, when the first picture stands."""
        if self._pages is not None:
            self._watches_page = True
            self._page = self._pages.look(delay_s)

    def ask_status_page(self, wait_s: float) -> bool:
        """Asks the page once, and waits so long for its answer. False when there is none to ask."""
        if self._pages is None:
            return False
        self._page = self._pages.wait(wait_s)
        return True

    def preview(self, order: Order) -> Preview:
        """What an order would do and whom it touches. Raises ActError, PromptError, StoreError."""
        self._refuse_nowhere()
        return acts.preview(self._scene(), order)

    def apply(self, preview: Preview, *, reason: str | None = None) -> Applied:
        """Does it, reads it back. Raises ActForbidden, ActConflict, PromptError, StoreError; then nothing was changed."""
        places = self.settings.locations
        self._refuse_read_only()
        self._refuse_nowhere()
        if not is_writable(places.control):
            raise ActForbidden(
                f"no permission to write {places.control}; act as its owner, or break the glass: {self._glass()}"
            )
        try:
            make_private(places.data)
        except OSError as error:
            raise StoreError(f"{places.data}: cannot be made: {error.strerror}") from None
        return acts.apply(self._scene(), preview, current_actor(), reason)

    def acknowledgement(self, applied: Applied) -> Acknowledgement:
        """How many live processes run with the act now, and the calls before and after. Never raises: what cannot be known is
        said in `problem`."""
        now = self._clock_us()
        measure = acts.measure_of(self._scene(), applied)
        views: list[ProcessView] = []
        state: str | None = None
        before = after = problem = None
        try:
            with reads.reading_telemetry(self.settings.locations.telemetry) as connection:
                heard_of, telling = heard(connection, now)
                views, state = list(heard_of), acts.state_of(applied, telling)
                before, after = moved(connection, measure, applied.at, now)
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
            counted=measure.counted,
            expected=measure.expected,
            state=state,
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

    def prompts(self) -> tuple[PromptStatus, ...]:
        """Every prompt with its versions. Never raises for files that are missing or broken."""
        now = self._clock_us()
        reading = read_all(self.settings.locations)
        live: tuple[Live, ...] = ()
        sums: list[reads.SeriesSums] = []
        audit: list[AuditRow] = []
        with suppress(StoreError):  # the status says so; prompts can be looked at without
            audit = self._scene().audit
        with suppress(StoreError), reads.reading_telemetry(self.settings.locations.telemetry) as connection:
            live = heard(connection, now)[1]
            sums = reads.series_sums(connection, 10, window_start(now // US))
        return Prompts(self._prompts, reading.state, live, now, sums, audit).statuses()

    def prompt_text(self, name: str, version: int) -> str:
        """What is served as a version: its file, or the registered text when that was edited or lost. Raises PromptError."""
        return self.prompt_source(name, version)[0]

    def prompt_source(self, name: str, version: int) -> tuple[str, Source]:
        """The same text, and whether it is the file's or the registered one. Raises PromptError."""
        return self._prompts.shown(name, version)

    def prompt_diff(self, name: str, old: int, new: int) -> str:
        """A unified diff of two versions' files. Raises PromptError."""
        return self._prompts.diff(name, old, new)

    def new_prompt(self, name: str) -> tuple[int, Path]:
        """Makes the next version as a draft, from the highest one or a template. Raises ActForbidden, PromptError."""
        self._refuse_read_only()
        version = self._prompts.write_copy(name)
        return version, self._prompts.directory.path(name, version)

    def prompt_mistakes(self) -> list[str]:
        """Everything that is wrong with the prompt files, those that are gone included. Raises PromptError, StoreError."""
        state, now = read_all(self.settings.locations).state, self._clock_us()
        chosen = {name: pointer.chosen for name in state.pointers if (pointer := in_force(state, name, now)) is not None}
        return self._prompts.mistakes((name, one.version) for name, versions in chosen.items() for one in versions)

    def prompt_versions(self, name: str) -> tuple[int, ...]:
        """The versions of a prompt that there are: files, and what was registered. Never raises."""
        return self._prompts.versions(name)

    def prompt_files(self, name: str) -> tuple[int, ...]:
        """The versions of a prompt that have a file. Never raises."""
        return tuple(self._prompts.stamps(name))

    def unknown_prompt(self, name: str) -> UnknownPrompt:
        """The error for a prompt that does not exist: it names those that do."""
        return unknown_version(self._prompts, name, None)

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of a kind (feature, model, customer, target, prompt) that are known: for completion and messages. Never
        raises."""
        scene = self._scene()
        if kind == "target":
            return known_targets(scene)
        if kind == "prompt":
            return self._prompts.all_names()
        return tuple(scene.features() if kind == "feature" else scene.traffic.names.get(kind, []))

    def timeline(self, limit: int = 200) -> tuple[TimelineView, ...]:
        """Acts, and processes that came and went, newest first. Raises StoreError."""
        return timeline_view(self.settings, self._clock_us(), limit)

    def _scene(self) -> Scene:
        return Scene(self.settings, self._prompts, self._clock_us())

    def _refuse_read_only(self) -> None:
        if self.read_only:
            raise ActForbidden("this console is read-only: start it without --read-only to act")

    def _refuse_nowhere(self) -> None:
        nowhere = missing_installation(self.settings)
        if nowhere is not None:
            raise ActError(nowhere)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _glass(self) -> str:
        return " or ".join(str(directory) for directory in self.settings.locations.kill_directories)
