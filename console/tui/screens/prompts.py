"""The prompts screen: prompts, the versions of the one under the cursor, and all that is known about one version."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from console.core.text import line
from console.ops.views import Order
from console.tui.cells import row, wrapped
from console.tui.panes import prompts
from console.tui.screens.live import LiveScreen, Parts, Picture
from console.tui.screens.page import TextScreen
from console.tui.things import Thing, feature_named

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from console.core.acts import Place
    from console.ops.views import PromptStatus, VersionView
    from console.tui.desk import DeskLike


class PromptsScreen(LiveScreen):
    """V makes the version under the cursor current, B goes back to the one before, d compares, enter shows the text."""

    PLACE: ClassVar[Place] = "prompts"
    PANES = ("prompts", "versions", "version")
    TITLES = ("1 Prompts", "2 Versions", "3 About")
    LAYOUT = PANES
    HEADS = frozenset({"prompts", "versions"})
    LISTS = frozenset({"prompts", "versions"})

    def __init__(self, parts: Parts, about: Thing | None = None) -> None:
        super().__init__(parts, about)
        self._versions_of: str | None = None

    def _reader(self) -> Callable[[], Picture]:
        return partial(_look, self._parts.desk)

    def _settle(self, picture: Picture) -> None:
        """Begin on the prompt of the row that the engineer came from."""
        about, self._about = self._about, None
        if about is None:
            return
        feature = feature_named(picture.view, about.name) if about.kind == "feature" else None
        name = about.name if about.kind == "prompt" else feature.prompt.name if feature and feature.prompt else None
        if name is not None:
            self._cursors["prompts"].put(Thing("prompt", name))

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _found(self) -> list[PromptStatus]:
        every = self._shown.prompts if self._shown is not None else ()
        return prompts.worst_first([prompt for prompt in every if self._matches(prompt.name)])

    def _prompt(self) -> PromptStatus | None:
        key = self._cursors["prompts"].key
        return next((prompt for prompt in self._found() if Thing("prompt", prompt.name) == key), None)

    def _version(self) -> VersionView | None:
        prompt, key = self._prompt(), self._cursors["versions"].key
        return next((version for version in prompt.versions if version.version == key), None) if prompt is not None else None

    def _keys(self, name: str) -> Sequence[Hashable]:
        if name == "prompts":
            return [Thing("prompt", prompt.name) for prompt in self._found()]
        prompt = self._prompt()
        return [version.version for version in prompt.versions] if prompt is not None else []

    def _moved(self) -> None:
        if self._shown is not None:
            for name in self.PANES:
                self._draw_pane(name, self._shown)

    def _draw_pane(self, name: str, picture: Picture) -> None:
        pane, width = self._lines(name), self._lines(name).row_width
        if name == "prompts":
            found = self._found()
            nothing = prompts.NOTHING if not self._filter.text else "nothing matches; esc clears the filter"
            rows = (
                prompts.prompt_rows(found, width)
                if found
                else [row(("", "")), *(row((p, "dim")) for p in wrapped(nothing, width))]
            )
            self._show_list(name, rows)
            return
        prompt = self._prompt()
        if prompt is None:
            pane.show([])
        elif name == "versions":
            self._begin_on_the_current(prompt)
            pane.entitle(f"2 Versions of {line(prompt.name, 30)}: enter shows the text")
            self._show_list(name, prompts.version_rows(prompt, picture.view.at, width))
        else:
            version = self._version()
            pane.entitle(f"3 {prompt.name} v{version.version}" if version is not None else "3 About")
            pane.show(prompts.version_detail(prompt, version, picture.view.at, width))

    def _begin_on_the_current(self, prompt: PromptStatus) -> None:
        if self._versions_of != prompt.name:
            self._versions_of = prompt.name
            self._cursors["versions"].put(prompt.current[0] if prompt.current else None)

    # -- acts ----------------------------------------------------------------------------------------------------------

    def _thing(self) -> Thing | None:
        key = self._cursors["prompts"].key
        return key if isinstance(key, Thing) else None

    def _do_use(self) -> None:
        prompt, version = self._prompt(), self._version()
        if prompt is None or version is None:
            self.say("no version is under the cursor", "warn")
        elif self._pane != "versions":
            self.say("V uses a version: press 2, move to it, then V", "warn")
        elif prompt.current == (version.version,):
            self.say(f"v{version.version} is what is served already", "warn")
        else:
            self.order(Order("use", prompt=prompt.name, version=version.version), "V")

    def _do_diff(self) -> None:
        """The version under the cursor against the current one; the current one against the one before it."""
        prompt, version = self._prompt(), self._version()
        if prompt is None or version is None:
            self.say("no version is under the cursor", "warn")
            return
        pair = compared(prompt, version.version)
        if pair is None:
            self.say(f"v{version.version} is the only version: there is nothing to compare it with", "warn")
            return
        title = f"{line(prompt.name, 40)} v{pair[0]} → v{pair[1]}"
        load = partial(self._parts.desk.prompt_diff, prompt.name, *pair)
        self.app.push_screen(TextScreen(title, load, self._parts.reading, is_diff=True))

    def _do_open(self) -> None:
        prompt, version = self._prompt(), self._version()
        if prompt is None or version is None:
            return
        if self._pane == "prompts":
            self._go(1)
            return
        title = f"{line(prompt.name, 40)} v{version.version}, {version.state}"
        load = partial(self._parts.desk.prompt_text, prompt.name, version.version)
        self.app.push_screen(TextScreen(title, load, self._parts.reading))


def compared(prompt: PromptStatus, version: int) -> tuple[int, int] | None:
    """(old, new) for the comparison that `d` shows at a version."""
    current = prompt.current[0] if prompt.current else None
    if current is not None and current != version:
        return current, version
    older = [each.version for each in prompt.versions if each.version < version]
    newer = [each.version for each in prompt.versions if each.version > version]
    if older:
        return max(older), version
    return (version, min(newer)) if newer else None


def _look(desk: DeskLike) -> Picture:
    return Picture(desk.status(), prompts=desk.prompts())
