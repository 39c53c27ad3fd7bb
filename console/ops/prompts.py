"""Prompts as an operator sees them: the files, what is registered, what is current, and what does not fit together.

A file is read and parsed again only when its stamp has changed; what is registered, only when control.db has.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from console.core.control import text_hash
from console.core.pointers import decode_pointer, pointer_key
from console.core.prompts import PromptVersion, check_name, check_version, parse_prompt
from console.core.rollups import US
from console.errors import PromptError, StoreError, UnknownPrompt
from console.ops.kinds import listed, meant
from console.ops.views import PromptStatus, VersionView
from console.store.prompts import PromptDirectory, Stamp
from console.store.sqlite.control import PromptRow, read_registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from console.core.audit import AuditRow
    from console.core.control import ControlState
    from console.core.pointers import Chosen, Pointer
    from console.ops.heartbeats import Live
    from console.store.sqlite import reads

Registered = dict[tuple[str, int], PromptRow]
Source = Literal["registered", "file"]

TEMPLATE: Final = """---
description: What this prompt is for, in one line.
variables: [product]
owner: your-team
notes: What changed, and what it should improve.
draft: true
---
You are an assistant for ${product}.
"""
SETTLED_US: Final = 11 * 60 * US
"""A process tells what it has served in the last ten minutes: so long after an act that may still be what it served before."""
MAX_TOLD: Final = 20
"""Problems told by processes that become alarms."""
_DRAFT: Final = re.compile(r"^draft:[^\n]*$", re.MULTILINE)
_FRONT_END: Final = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PromptFile:
    """One version's file as it was read last. `parsed` None: it cannot be served, `problem` says why."""

    text: str | None
    hash: str | None
    parsed: PromptVersion | None
    problem: str | None


class PromptReader:
    """The prompt files of one installation, remembered between two looks at them."""

    def __init__(self, root: Path, control: Path) -> None:
        self.directory = PromptDirectory(root)
        self._control = control
        self._files: dict[tuple[str, int], tuple[Stamp, PromptFile]] = {}
        self._registered: tuple[tuple[int, ...], Registered] = ((), {})

    def names(self) -> tuple[str, ...]:
        """The prompts that have a directory. Never raises."""
        try:
            return self.directory.names()
        except PromptError:
            return ()

    def stamps(self, name: str) -> dict[int, Stamp]:
        """The numbers of a prompt's files; reads the directory only. Never raises."""
        try:
            return self.directory.stamps(name)
        except PromptError:
            return {}

    def file(self, name: str, version: int, stamp: Stamp | None) -> PromptFile | None:
        """One file, None without one. Never raises: what is wrong with it is in `problem`."""
        if stamp is None:
            return None
        known = self._files.get((name, version))
        if known is None or known[0] != stamp:
            known = self._files[name, version] = (stamp, self._read(name, version))
        return known[1]

    def files(self, name: str) -> dict[int, PromptFile]:
        """Every file of a prompt by its number. Never raises."""
        found = ((version, self.file(name, version, stamp)) for version, stamp in self.stamps(name).items())
        return {version: file for version, file in found if file is not None}

    def _read(self, name: str, version: int) -> PromptFile:
        text = digest = None
        try:
            text = self.directory.read(name, version)
            digest = text_hash(text)
            return PromptFile(text, digest, parse_prompt(name, version, text, self.where(name, version)), None)
        except PromptError as error:
            return PromptFile(text, digest, None, str(error))

    def where(self, name: str, version: int) -> str:
        """A version's file for people."""
        return f"{name}/v{version}.md"

    def registered(self) -> Registered:
        """Every version that was ever made current. Raises StoreError; without a file there is none."""
        try:
            status = self._control.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"{self._control}: {error.strerror}") from None
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        if self._registered[0] != stamp:
            try:
                rows = {(row.name, row.version): row for row in read_registered(self._control) if isinstance(row.text, str)}
            except (ValueError, TypeError) as error:  # a column that holds what nobody of ours has written
                raise StoreError(f"{self._control}: a registered prompt is damaged ({error})") from None
            self._registered = (stamp, rows)
        return self._registered[1]

    def registered_or_none(self) -> Registered:
        """The same, and nothing when it cannot be read. Never raises."""
        try:
            return self.registered()
        except StoreError:
            return {}

    def all_names(self) -> tuple[str, ...]:
        """The prompts that have a directory or were registered. Never raises."""
        return tuple(sorted({*self.names(), *(name for name, _ in self.registered_or_none())}))

    def versions(self, name: str) -> tuple[int, ...]:
        """The versions that have a file or were registered, sorted. Never raises."""
        return tuple(sorted({*self.stamps(name), *(number for known, number in self.registered_or_none() if known == name)}))

    def text(self, name: str, version: int) -> str:
        """The text of a version: the file's, or the registered one when the file is lost. Raises PromptError."""
        check_name(name)
        check_version(version)
        if version in self.stamps(name):
            return self.directory.read(name, version)
        row = self.registered_or_none().get((name, version))
        if row is None:
            raise unknown_version(self, name, version)
        return row.text

    def shown(self, name: str, version: int) -> tuple[str, Source]:
        """What is served as a version, and where it is from: its file, or the registered text when that file was edited or
        lost. Raises PromptError."""
        check_name(name)
        check_version(version)
        row = self.registered_or_none().get((name, version))
        if row is not None and file_state(self.file(name, version, self.stamps(name).get(version)), row.hash) != "ok":
            return row.text, "registered"
        return self.text(name, version), "file"

    def diff(self, name: str, old: int, new: int) -> str:
        """What changes from one version to another. Raises PromptError."""
        return unified(f"{name} v{old}", self.text(name, old), f"{name} v{new}", self.text(name, new))

    def write_copy(self, name: str) -> int:
        """A new version as a draft: a copy of the highest one, or a template. Returns its number. Raises PromptError."""
        check_name(name)
        versions = self.versions(name)
        text = as_draft(self.text(name, versions[-1])) if versions else TEMPLATE
        return self.directory.write_new(name, text, after=versions[-1] if versions else 0)

    def mistakes(self, current: Iterable[tuple[str, int]] = ()) -> list[str]:
        """Everything that is wrong with the files, each as file:line:column, lost ones of `current` versions included. Raises
        PromptError, StoreError."""
        registered = self.registered()
        found = [
            f"{self.where(name, version)}: lost: put it back (`console prompt show {name} --version {version}` prints the "
            "registered text, which is served)"
            for name, version in sorted(current)
            if (name, version) in registered and version not in self.stamps(name)
        ]
        for name in self.directory.names():
            for version, file in self.files(name).items():
                row = registered.get((name, version))
                if file.problem is not None:
                    found += file.problem.splitlines()
                if row is not None and file.hash is not None and file.hash != row.hash:
                    found.append(
                        f"{self.where(name, version)}: edited after it was made current; put it back, and make a new version "
                        f"with `console prompt new {name}`"
                    )
        return found


def unified(old_name: str, old: str, new_name: str, new: str) -> str:
    """A unified diff of two texts; empty when they are the same."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="")
    return "\n".join(lines)


def as_draft(text: str) -> str:
    """A prompt file's text with `draft: true` in its front matter."""
    ends = list(_FRONT_END.finditer(text))[:2]
    if len(ends) < 2:
        return text
    front = text[: ends[1].start()]
    if _DRAFT.search(front):
        return _DRAFT.sub("draft: true", front, count=1) + text[ends[1].start() :]
    return f"{front}draft: true\n{text[ends[1].start() :]}"


def unknown_version(reader: PromptReader, name: str, version: int | None) -> UnknownPrompt:
    """The error for a prompt, or a version of it, that does not exist: it names what does."""
    names = reader.all_names()
    if name not in names or version is None:
        known = listed(names, 20) if names else "none: `console prompt new NAME` makes one"
        return UnknownPrompt(f"no prompt {name!r}{meant(name, names)} (prompts: {known})")
    said = listed((f"v{number}" for number in reader.versions(name)), 20) or "none"
    return UnknownPrompt(f"{name} has no version v{version} (versions: {said})")


def in_force(state: ControlState, name: str, now_us: int) -> Pointer | None:
    """The operator's pointer, when one holds and names versions."""
    pointer = state.pointers.get(name)
    return pointer if pointer is not None and pointer.chosen and pointer.is_in_force(now_us) else None


def highest(files: Mapping[int, PromptFile]) -> int | None:
    """The version that is served when nobody has chosen: the highest one that can be served and is no draft."""
    return max((number for number, file in files.items() if file.parsed is not None and not file.parsed.is_draft), default=None)


def version_number(text: str) -> int | None:
    """The number in a call's prompt version: "3" or "v3"."""
    digits = text.removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 7 else None


@dataclass(frozen=True, slots=True)
class Prompts:
    """All prompts of one moment."""

    reader: PromptReader
    state: ControlState
    live: Sequence[Live]
    now_us: int
    sums: Sequence[reads.SeriesSums] = ()
    """The last five minutes."""
    audit: Sequence[AuditRow] = ()

    def statuses(self) -> tuple[PromptStatus, ...]:
        """Every prompt with its versions. Never raises."""
        registered = self.reader.registered_or_none()
        names = sorted({*self.reader.all_names(), *self.state.pointers})
        problems = self._alarms()
        return tuple(self._status(name, registered, problems.get(name, [])) for name in names)

    def alarms(self) -> tuple[str, ...]:
        """The alarms of all prompts. Reads no file but those of versions that an operator has chosen. Never raises."""
        found = self._alarms()
        return tuple(dict.fromkeys(alarm for name in sorted(found) for alarm in found[name]))

    def _alarms(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        seen = self._add_changed_files(found)
        self._add_unregistered(found)
        told = Counter(problem for live in self.live for problem in dict.fromkeys(live.state.problems))
        names = self.reader.all_names() if told else ()
        for problem, count in told.most_common(MAX_TOLD):
            if not any(version in problem for version in seen):
                of = next((name for name in names if f"prompt {name} " in problem or f"prompt {name}:" in problem), "")
                found[of].append(f"{problem} (told by {count} {_processes(count)})")
        return found

    def _add_changed_files(self, found: dict[str, list[str]]) -> list[str]:
        """Adds the alarms about files of current versions; returns those versions. A console that does not see the directory
        of the prompts (it runs elsewhere, or with another configuration) cannot tell."""
        seen: list[str] = []
        if not self.reader.directory.root.is_dir():
            return seen
        for name in self.state.pointers:
            pointer = in_force(self.state, name, self.now_us)
            stamps = self.reader.stamps(name) if pointer is not None else {}
            for one in pointer.chosen if pointer is not None else ():
                file = self.reader.file(name, one.version, stamps.get(one.version))
                state = file_state(file, one.hash)
                if state != "ok":
                    found[name].append(f"{name} v{one.version}: its file was {state}; the registered text is served")
                    seen.append(f"{name} v{one.version}")
        return seen

    def _add_unregistered(self, found: dict[str, list[str]]) -> None:
        registered = self.reader.registered_or_none()
        serving: dict[tuple[str, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for live in self.live:
            for version, digest in live.state.prompts.items():
                serving[version][digest] += 1
        for (name, number), digests in sorted(serving.items()):
            row = registered.get((name, number))
            others = [digest for digest in digests if row is None or digest != row.hash]
            count = sum(digests[digest] for digest in others)
            pointer = in_force(self.state, name, self.now_us)
            is_settled = pointer is not None and (pointer.at or 0) + SETTLED_US < self.now_us
            if others and is_settled:
                what = "which nobody has registered" if row is None else "with another text than the registered one"
                found[name].append(f"{name} v{number} is served by {count} {_processes(count)}, {what}")
            elif len(digests) > 1:
                found[name].append(f"{name} v{number} is served with {len(digests)} different texts")

    def _status(self, name: str, registered: Registered, alarms: list[str]) -> PromptStatus:
        files = self.reader.files(name)
        pointer = in_force(self.state, name, self.now_us)
        top = highest(files)
        weights = {one.version: one.weight for one in pointer.chosen} if pointer else {} if top is None else {top: 1}
        rows = {number: row for (known, number), row in registered.items() if known == name}
        numbers = sorted({*files, *rows, *weights}, reverse=True)
        calls: dict[int | None, int] = defaultdict(int)
        for row in self.sums:
            if row.prompt == name:
                calls[version_number(row.prompt_version)] += row.calls
        known = self.state.pointers.get(name)
        made = self._made_current(name)
        chosen = _Chosen(weights, known.withdrawn if known else frozenset(), made)
        return PromptStatus(
            name=name,
            versions=tuple(_version(n, files.get(n), rows.get(n), calls[n], chosen) for n in numbers),
            current=tuple(sorted(weights)),
            chosen_by=pointer.actor if pointer else None,
            chosen_at=pointer.at if pointer else None,
            reason=pointer.reason if pointer else None,
            features=tuple(sorted({row.feature for row in self.sums if row.prompt == name})),
            alarms=tuple(alarms),
        )

    def _made_current(self, name: str) -> dict[int, tuple[int, str]]:
        """version -> when and by whom it was made current last."""
        found: dict[int, tuple[int, str]] = {}
        before: set[int] = set()
        for row in self.audit:
            if row.key == pointer_key(name):
                now = {one.version for one in decoded(row.after)}
                found.update(dict.fromkeys(now - before, (row.at, row.actor)))
                before = now
        return found


def decoded(value: str) -> tuple[Chosen, ...]:
    """The versions that a pointer's value names; none for a value that is not ours."""
    try:
        return decode_pointer(value)[0]
    except (ValueError, RecursionError):
        return ()


def file_state(file: PromptFile | None, digest: str) -> Literal["ok", "edited", "lost"]:
    """What has become of a registered version's file. One that cannot be read counts as edited."""
    if file is None:
        return "lost"
    return "ok" if file.hash == digest else "edited"


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What operators have decided about a prompt's versions."""

    weights: Mapping[int, int]
    withdrawn: frozenset[int]
    made: Mapping[int, tuple[int, str]]
    """version -> when and by whom it was made current last."""


def _version(number: int, file: PromptFile | None, row: PromptRow | None, calls: int, chosen: _Chosen) -> VersionView:
    weights = chosen.weights
    parsed = file.parsed if file is not None else _parsed(row)
    state: Literal["current", "draft", "available", "withdrawn"] = "available"
    if number in weights:
        state = "current"
    elif number in chosen.withdrawn:
        state = "withdrawn"
    elif parsed is not None and parsed.is_draft:
        state = "draft"
    since, by = chosen.made.get(number, (None, None))
    return VersionView(
        version=number,
        hash=file.hash if file is not None else row.hash if row is not None else None,
        state=state,
        share=weights[number] / sum(weights.values()) if number in weights else None,
        file="ok" if row is None and file is not None else file_state(file, row.hash if row is not None else ""),
        is_registered=row is not None,
        description=parsed.description if parsed else None,
        owner=parsed.owner if parsed else None,
        notes=parsed.notes if parsed else None,
        variables=parsed.variables if parsed else (),
        calls_5m=calls,
        current_since=since,
        current_by=by,
        problem=file.problem if file is not None else None,
    )


def _parsed(row: PromptRow | None) -> PromptVersion | None:
    return None if row is None else parsed_text(row.name, row.version, row.text)


def parsed_text(name: str, version: int, text: str) -> PromptVersion | None:
    """A version's text, parsed; None when it cannot be served."""
    try:
        return parse_prompt(name, version, text, f"{name}/v{version}.md")
    except PromptError:
        return None


def _processes(number: int) -> str:
    return "process" if number == 1 else "processes"
