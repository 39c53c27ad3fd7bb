"""The prompts of a process: which version a call gets, and its text, whatever happened to the files.

Which one, in this order:
1. the version that the conversation began with, in this process or in another of the host, unless an operator has withdrawn
   it: a rollback beats every pin;
2. what the pointer in force says: by weight, sticky by key (without one by conversation, without that by a draw);
3. the highest version that is no draft.

Which text: of a version that a pointer names the registered one, which came with the control snapshot and needs no file. Where
that is not at hand, the file's, if it has the registered hash. Every other version's text is its file's.

What cannot be served is replaced, not raised: by another version that can be filled with what the application gives, one that
an operator has withdrawn last of all. Each such case is a problem that the heartbeat tells.

A directory is listed when its prompt is first rendered, a file read when its version is first needed. After that only `tick`
looks, once a second, and it believes a change when two looks agree: a file that is just being copied is not served half.
No locks: what threads share is replaced as a whole, or changed by one operation of a dictionary.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.control import text_hash
from console.core.pointers import Chosen, bucket_of
from console.core.prompts import PromptVersion, check_name, fill, parse_prompt
from console.errors import PromptError, UnknownPrompt
from console.runtime.clock import steady_us
from console.runtime.pins import Pins, beginning_of, pin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from console.core.control import ControlState
    from console.core.pointers import Pointer
    from console.store.pins import Pin, PinFile
    from console.store.prompts import PromptDirectory, Stamp

MAX_PINS: Final = 10_000
MAX_NAMES: Final = 1_000
"""Prompts that are remembered. More than any application has; names that nobody has written a prompt for are names too."""
MAX_TEXTS: Final = 1_000
"""Registered versions that are kept parsed."""
LOOK_EVERY_US: Final = 1_000_000
TOLD_US: Final = 600_000_000
"""For how long what was served, and what went wrong, is told."""
MAX_PROBLEMS: Final = 20
MAX_PROBLEM_CHARS: Final = 300

Rendered = tuple[str, PromptVersion]


class _Ready:
    """A version that can be filled. `served_us`: when it last was; 0: not lately, and then it is not among those told of."""

    __slots__ = ("prompt", "served_us")

    def __init__(self, prompt: PromptVersion) -> None:
        self.prompt = prompt
        self.served_us = 0


class _File(NamedTuple):
    """A file that was read: its stamp from before, the hash of its text, and what it is good for."""

    stamp: Stamp
    hash: str | None
    ready: _Ready | None
    problem: str | None


class _Seen(NamedTuple):
    """What a look at a prompt's directory showed. `problem`: why it showed nothing."""

    stamps: Mapping[int, Stamp]
    problem: str | None


class _Shelf:
    """The files of one prompt as of one look; read when they are needed."""

    def __init__(self, directory: PromptDirectory, name: str, seen: _Seen, known: Mapping[int, _File]) -> None:
        self._directory = directory
        self._name = name
        self.seen = seen
        read = [(number, file) for number, file in list(known.items()) if file.hash is not None]
        self.files = {number: file for number, file in read if seen.stamps.get(number) == file.stamp}
        self._default: _Ready | None = None
        self.has_default = False

    def file(self, version: int) -> _File | None:
        """A version's file, None when there is none."""
        if version not in self.seen.stamps:
            return None
        found = self.files.get(version)
        if found is None:
            found = self.files[version] = self._read(version)
        return found

    def _read(self, version: int) -> _File:
        stamp = self.seen.stamps[version]
        digest = None
        try:
            text = self._directory.read(self._name, version)
            digest = text_hash(text)
            path = str(self._directory.path(self._name, version))
            return _File(stamp, digest, _Ready(parse_prompt(self._name, version, text, path)), None)
        except PromptError as error:
            return _File(stamp, digest, None, str(error))

    def good(self) -> Iterator[_Ready]:
        """The versions that are no drafts and can be read, the highest first."""
        for version in sorted(self.seen.stamps, reverse=True):
            file = self.file(version)
            if file is not None and file.ready is not None and not file.ready.prompt.is_draft:
                yield file.ready

    def default(self) -> _Ready | None:
        """The highest of them."""
        if not self.has_default:
            self._default = next(self.good(), None)
            self.has_default = True
        return self._default


class PromptBook:
    """What one process knows of its prompts. `render` is for every thread, `tick` for the watcher.

    `swallow` counts an exception that must not reach the application.
    """

    def __init__(self, directory: PromptDirectory, swallow: Callable[[Exception], None], pins: PinFile | None = None) -> None:
        self._directory = directory
        self._swallow = swallow
        self._begun = Pins(pins)
        self._pinned_to: dict[tuple[str, int, int], _Ready] = {}
        """What conversations began with, by name, version and the beginning of the hash: its file may be edited or lost."""
        self._shelves: dict[str, _Shelf] = {}
        self._looks: dict[str, _Seen] = {}
        self._registered: dict[tuple[str, int, str], _Ready | None] = {}
        """By name, version and hash; None: cannot be served at the moment."""
        self._last: dict[str, _Ready] = {}
        self._pins: OrderedDict[tuple[str, str], _Ready] = OrderedDict()
        self._served: dict[_Ready, None] = {}
        self._alarms: tuple[str, ...] = ()
        self._events: dict[str, int] = {}
        """What went wrong -> when it last did."""
        self._due_us = 0
        self._is_compared = True
        """Whether the files of everything that is served were compared with what was registered."""

    def render(
        self,
        name: str,
        key: str | None,
        conversation: str | None,
        variables: Mapping[str, object],
        state: ControlState,
        now_us: int,
        draw: Callable[[], float],
    ) -> Rendered:
        """The text of a prompt for this key and conversation, and the version that it is. `now_us`: UTC; `draw`: 0..1.

        Raises UnknownPrompt when there is no version at all, MissingVariables (or PromptError, for a value that is no text)
        when none can be filled; nothing else.
        """
        try:
            return self._render(name, key, conversation, variables, state, now_us, draw)
        except PromptError:
            raise
        except Exception as error:  # noqa: BLE001 -- a mistake of ours must not break the application's call
            self._swallow(error)
        return self._rescued(name, variables)

    def _render(
        self,
        name: str,
        key: str | None,
        conversation: str | None,
        variables: Mapping[str, object],
        state: ControlState,
        now_us: int,
        draw: Callable[[], float],
    ) -> Rendered:
        shelf = self._shelves.get(name) or self._open(name)
        pointer = state.pointers.get(name)
        if pointer is not None and not pointer.is_in_force(now_us):
            pointer = None
        pinned = None
        if conversation is not None:
            is_known = (name, conversation) in self._pins
            pinned = self._pinned(name, conversation, pointer)
            if not is_known:  # what was withdrawn here is not put right by what others wrote down before
                pinned = self._pinned_elsewhere(name, conversation, shelf, pointer, state)
        ready = pinned or self._choice(name, shelf, pointer, state, conversation if key is None else key, draw)
        try:
            text = None if ready is None else fill(ready.prompt, variables)
        except PromptError:
            text = None
        if text is None or ready is None:
            ready, text = self._replacement(name, shelf, pointer, state, ready, variables, now_us)
        if conversation is not None and pinned is None:
            first = self._keep_pin(name, conversation, ready)
            if first is not ready:  # another thread was faster, and a conversation has one version
                return self._render(name, key, conversation, variables, state, now_us, draw)
            self._begun.noted(beginning_of("id", name, conversation), pin_of(ready.prompt, now_us // 1_000_000))
        self._note_served(ready, now_us)
        self._last[name] = ready
        return text, ready.prompt

    def _note_served(self, ready: _Ready, now_us: int) -> None:
        if not ready.served_us:
            self._served[ready] = None
        ready.served_us = now_us

    def began(self, beginning: int, prompt: PromptVersion, now_us: int) -> None:
        """A conversation that nobody has given an id begins with this version. `beginning`: see `runtime.pins`."""
        pin = pin_of(prompt, now_us // 1_000_000)
        self._begun.began(beginning, pin)
        if (slot := (prompt.name, pin.version, pin.hash)) not in self._pinned_to:
            if len(self._pinned_to) >= MAX_TEXTS:
                self._pinned_to.clear()
            self._pinned_to[slot] = _Ready(prompt)

    def instead(
        self,
        beginning: int,
        prompt: PromptVersion,
        variables: Mapping[str, object],
        state_of: Callable[[], ControlState],
        now_us: int,
    ) -> Rendered | None:
        """What a conversation that goes on gets in place of `prompt`, which is what was rendered: the version that it began
        with.

        None: what was rendered, because it is that version; because nobody knows, or more than one conversation began like
        this; because an operator has withdrawn that version; or because it is not to be had, or cannot be filled with
        `variables`.
        """
        pin = self._begun.pinned(beginning, pin_of(prompt, now_us // 1_000_000))
        if pin is None:
            return None
        name, state = prompt.name, state_of()
        pointer = state.pointers.get(name)
        if pointer is not None and pointer.is_in_force(now_us) and pin.version in pointer.withdrawn:
            return None
        ready = self._found(name, pin, self._shelves.get(name) or self._open(name), state)
        try:
            text = None if ready is None else fill(ready.prompt, variables)
        except PromptError:
            text = None
        if ready is None or text is None:
            return None
        self._note_served(ready, now_us)
        return text, ready.prompt

    def _pinned_elsewhere(
        self, name: str, conversation: str, shelf: _Shelf, pointer: Pointer | None, state: ControlState
    ) -> _Ready | None:
        """What another process of the host began the conversation with, as `_pinned`."""
        pin = self._begun.shared(beginning_of("id", name, conversation))
        if pin is None or (pointer is not None and pin.version in pointer.withdrawn):
            return None
        ready = self._found(name, pin, shelf, state)
        if ready is not None:
            self._keep_pin(name, conversation, ready)
        return ready

    def _found(self, name: str, pin: Pin, shelf: _Shelf, state: ControlState) -> _Ready | None:
        """The version with the very text that a conversation began with, None when that is not to be had."""
        known = self._pinned_to.get((name, pin.version, pin.hash))
        if known is not None:
            return known
        head = f"{pin.hash:016x}"
        found = [digest for other, version, digest in list(self._registered) if (other, version) == (name, pin.version)]
        for digest in (*found, *state.texts):
            if digest.startswith(head):
                ready = self._chosen(name, shelf, Chosen(pin.version, 1, digest), state)
                if ready is not None:
                    return ready
        file = shelf.file(pin.version)
        return file.ready if file is not None and file.hash is not None and file.hash.startswith(head) else None

    def _open(self, name: str) -> _Shelf:
        check_name(name)
        shelf = _Shelf(self._directory, name, self._look(name), {})
        if len(self._shelves) < MAX_NAMES:
            shelf = self._shelves.setdefault(name, shelf)
            self._is_compared = False
        return shelf

    def _look(self, name: str) -> _Seen:
        try:
            return _Seen(self._directory.stamps(name), None)
        except PromptError as error:
            return _Seen({}, str(error))

    def _pinned(self, name: str, conversation: str, pointer: Pointer | None) -> _Ready | None:
        pin = (name, conversation)
        ready = self._pins.get(pin)
        if ready is None:
            return None
        try:
            if pointer is not None and ready.prompt.version in pointer.withdrawn:
                del self._pins[pin]
                return None
            self._pins.move_to_end(pin)
        except KeyError:  # another thread has dropped it at this moment
            return None
        return ready

    def _keep_pin(self, name: str, conversation: str, ready: _Ready) -> _Ready:
        first = self._pins.setdefault((name, conversation), ready)
        if len(self._pins) > MAX_PINS:
            self._pins.popitem(last=False)
        return first

    def _choice(
        self,
        name: str,
        shelf: _Shelf,
        pointer: Pointer | None,
        state: ControlState,
        key: str | None,
        draw: Callable[[], float],
    ) -> _Ready | None:
        """The version to serve, None when it cannot be."""
        if pointer is None:
            return shelf.default()
        if not pointer.chosen:
            ready = shelf.default()
            if ready is None or ready.prompt.version not in pointer.withdrawn:
                return ready
            return next((ready for ready in shelf.good() if ready.prompt.version not in pointer.withdrawn), None)
        one: Chosen | None = pointer.chosen[0]
        if len(pointer.chosen) > 1:
            one = pointer.pick(draw() if key is None else bucket_of(name, key))
        return None if one is None else self._chosen(name, shelf, one, state)

    def _chosen(self, name: str, shelf: _Shelf, one: Chosen, state: ControlState) -> _Ready | None:
        """A version that a pointer names, with the text that was registered; None when that is not to be had."""
        slot = (name, one.version, one.hash)
        try:
            return self._registered[slot]
        except KeyError:
            pass
        found: _Ready | None = None
        text = state.texts.get(one.hash)
        if text is not None:
            try:
                found = _Ready(parse_prompt(name, one.version, text, f"{name} v{one.version} as registered"))
            except PromptError:  # made current by another version of this program: told as a replacement
                found = None
        else:
            file = shelf.file(one.version)
            found = file.ready if file is not None and file.hash == one.hash else None
        self._registered[slot] = found
        self._is_compared = False
        return found

    def _replacement(
        self,
        name: str,
        shelf: _Shelf,
        pointer: Pointer | None,
        state: ControlState,
        wanted: _Ready | None,
        variables: Mapping[str, object],
        now_us: int,
    ) -> tuple[_Ready, str]:
        """The first version that can be served in place of the wanted one, and its text."""
        why: PromptError | None = None
        if wanted is not None:
            why = _why_not(wanted, variables)
        for ready in self._candidates(name, shelf, pointer, state, wanted):
            try:
                text = fill(ready.prompt, variables)
            except PromptError as error:
                why = why or error
                continue
            said = _unserved(name, shelf, pointer) if wanted is None else str(why)
            self._happened(f"{said}; v{ready.prompt.version} is served instead", now_us)
            return ready, text
        if why is not None:
            raise why
        raise UnknownPrompt(shelf.seen.problem or _unserved(name, shelf, pointer))

    def _candidates(
        self, name: str, shelf: _Shelf, pointer: Pointer | None, state: ControlState, wanted: _Ready | None
    ) -> Iterator[_Ready]:
        """What may be served in place of the wanted version (None: it is not to be had), the best first."""
        last = self._last.get(name)
        hashes = {} if pointer is None else {one.version: one.hash for one in pointer.chosen}
        withdrawn: frozenset[int] = frozenset() if pointer is None else pointer.withdrawn
        found: dict[_Ready, None] = {}
        if last is not None and wanted is None:
            found[last] = None  # the version before: what never was current may be worse than it looks
        found.update((ready, None) for ready in shelf.good() if hashes.get(ready.prompt.version) in (None, ready.prompt.hash))
        for one in () if pointer is None else pointer.chosen:
            other = self._chosen(name, shelf, one, state)
            if other is not None:
                found[other] = None
        if last is not None:
            found[last] = None
        standing = [ready for ready in found if ready.prompt.version not in withdrawn]
        yield from standing
        yield from (ready for ready in found if ready.prompt.version in withdrawn)

    def _rescued(self, name: str, variables: Mapping[str, object]) -> Rendered:
        """The last version that was rendered, after an exception that should not have been."""
        last = self._last.get(name) if isinstance(name, str) else None
        try:
            if last is not None:
                return fill(last.prompt, variables), last.prompt
        except PromptError:
            raise
        except Exception as error:  # noqa: BLE001 -- as in `render`
            self._swallow(error)
        raise UnknownPrompt("the prompt could not be rendered: the log's first warning of `console` says why")

    def tick(self, state: ControlState, now_us: int) -> None:
        """Looks at the files of the prompts that were rendered, at most once a second; to be called every 50 ms."""
        self._share_pins(now_us)
        now = steady_us()
        is_due = now >= self._due_us
        if not is_due and self._is_compared:
            return
        self._is_compared = True
        if is_due:
            self._due_us = now + LOOK_EVERY_US
            self._forget()
            self._begun.look()
        alarms: list[str] = []
        for name, shelf in list(self._shelves.items()):
            pointer = state.pointers.get(name)
            if pointer is not None and not pointer.is_in_force(now_us):
                pointer = None
            alarms += _alarms(name, self._refreshed(name, shelf) if is_due else shelf, pointer, state)
        self._alarms = tuple(dict.fromkeys(alarms))

    def _share_pins(self, now_us: int) -> None:
        try:
            self._begun.flush()
        except OSError as error:
            self._happened(f"conversations keep their prompt versions in this process only: pins: {error.strerror}", now_us)

    def close(self) -> None:
        """Writes what is new of the conversations, and lets go of the file. Rendering goes on. Never raises."""
        with suppress(OSError):
            self._begun.flush()
        self._begun.close()

    def _forget(self) -> None:
        """Lets what could not be served be tried again, and everything when it has become much."""
        everything = list(self._registered.items())
        for slot, ready in everything:
            if ready is None or len(everything) > MAX_TEXTS:
                self._registered.pop(slot, None)

    def _refreshed(self, name: str, shelf: _Shelf) -> _Shelf:
        """The shelf, or a new one when two looks agree that the directory has changed."""
        seen, before = self._look(name), self._looks.get(name)
        self._looks[name] = seen
        is_read = all(file.hash is not None for file in list(shelf.files.values()))  # else again: descriptors may be back
        if seen != before or (seen == shelf.seen and is_read):
            return shelf
        fresh = _Shelf(self._directory, name, seen, shelf.files)
        if shelf.has_default:
            fresh.default()  # read here what a call would have to read
        self._shelves[name] = fresh
        return fresh

    def served(self, now_us: int) -> dict[str, dict[str, str]]:
        """name -> version -> hash of what was rendered in the last ten minutes."""
        told: dict[str, dict[str, str]] = {}
        for ready in sorted(self._served, key=lambda ready: ready.served_us):
            if abs(now_us - ready.served_us) <= TOLD_US:
                told.setdefault(ready.prompt.name, {})[str(ready.prompt.version)] = ready.prompt.hash
            else:
                self._served.pop(ready, None)
                ready.served_us = 0
        return told

    def problems(self, now_us: int) -> list[str]:
        """What is wrong: files that are not what is served, and what was served instead of something else lately."""
        recent = [text for text, at in list(self._events.items()) if abs(now_us - at) <= TOLD_US]
        return [text[:MAX_PROBLEM_CHARS] for text in dict.fromkeys((*self._alarms, *recent))][:MAX_PROBLEMS]

    def _happened(self, text: str, now_us: int) -> None:
        self._events[text] = now_us
        if len(self._events) > MAX_PROBLEMS:
            oldest = min(list(self._events.items()), key=lambda event: event[1])[0]
            self._events.pop(oldest, None)


def _why_not(ready: _Ready, variables: Mapping[str, object]) -> PromptError | None:
    try:
        fill(ready.prompt, variables)
    except PromptError as error:
        return error
    return None


def _unserved(name: str, shelf: _Shelf, pointer: Pointer | None) -> str:
    """Why the version that is current cannot be had."""
    if pointer is not None and pointer.chosen:
        versions = " or ".join(f"v{one.version}" for one in pointer.chosen)
        return f"prompt {name} {versions}: neither the registered text nor a file like it is to be had"
    broken = [file.problem for file in list(shelf.files.values()) if file.problem]
    return shelf.seen.problem or "; ".join([f"prompt {name}: no version can be read that is no draft", *broken])


def _alarms(name: str, shelf: _Shelf, pointer: Pointer | None, state: ControlState) -> Iterator[str]:
    """What is wrong with the files of what is current."""
    if pointer is None or not pointer.chosen:
        if shelf.seen.problem:
            yield shelf.seen.problem
        yield from (file.problem for file in list(shelf.files.values()) if file.problem)
        return
    for one in pointer.chosen:
        file = shelf.file(one.version)
        if file is not None and file.hash == one.hash:
            continue
        said = "was edited after it was registered"
        if file is None:
            said = "is lost"
        elif file.hash is None:
            said = f"cannot be used: {file.problem}"
        served = "; the registered text is served" if one.hash in state.texts else ""
        yield f"prompt {name} v{one.version}: the file {said}{served}"
