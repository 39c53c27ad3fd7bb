"""What the processes of one host tell each other about their breakers, in small files beside the telemetry; no database.

A process whose breaker of a target has opened writes one file, and takes it away when the target has answered a probe. The
others look at the directory's time four times a second (one `stat`), read it when it has changed, and suspect the target
(`core.breaker`): their next call is a probe. Each outage is believed once: what comes of the probe is a process's own
knowledge, and a suspicion is not passed on, or two processes would keep each other's alive. It ends with the word that it came
from: when nobody's file says so any more, or its time is over.

Files are written by the recorder thread, because a disk that hangs must not delay a kill switch; they are read by the watcher,
once, and again when they have changed. One that is no document of ours is counted and left alone. Nothing here is on the path
of a call, and nothing raises.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.outages import MAX_CHARS, SLACK_US, Outage, Refused, decode_outage, encode_outage, place_of
from console.core.redaction import clean_name
from console.runtime.clock import now_us, steady_us
from console.store.files import mode_in, read_regular, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from console.core.targets import Target
    from console.runtime.gate import Gate

LOOK_EVERY_US: Final = 250_000
SETTLED_US: Final = 1_000_000
MAX_FILES: Final = 500
"""So many are looked into, those that were written last."""
MAX_NAMES: Final = 5_000
"""A directory with more is not ours any more."""
PATIENCE: Final = 20
"""After a look that took long nothing is read for so many times as long: a full directory must not keep a core busy."""
PRUNE_AFTER_US: Final = 3_600_000_000


class SharedView:
    """Of one process. `publish` is the recorder thread's, `tick` the watcher's."""

    def __init__(self, directory: Path, gate: Gate, targets: Mapping[str, Target], process: str) -> None:
        self._directory, self._gate, self._process = directory, gate, process
        self._places = {name: place_of(target) for name, target in targets.items()}
        self._published: dict[str, Outage] = {}
        self._known: dict[str, tuple[tuple[int, int, str], Outage]] = {}
        """Target -> what the gate says (steady clock) and the outage that was made of it: one outage keeps its times."""
        self._looked_at = 0
        self._seen_mtime: int | None = None
        self._believed: dict[tuple[str, str], int] = {}
        """(process, target) -> the outage of it that was taken note of last."""
        self._read_already: dict[str, tuple[_Identity, Outage | None]] = {}
        """File -> what it was when it was read, and what it said; None: nothing of ours."""
        self._said_until: dict[str, int] = {}
        """Target -> until when (steady clock) another process's word about it stands."""
        self._suspected: set[str] = set()
        """Targets that the gate has come to suspect on such a word."""
        self._rests_until = 0
        self.is_due = False
        """A breaker has changed its state since `publish` was called."""
        self.refused = 0
        """Files that were no document of ours, at the last look."""
        self.problem: str | None = None
        """Why this process cannot tell the others, or None."""

    def after_fork(self, process: str) -> None:
        """In the child: what the parent has written is the parent's to take away."""
        self._process, self._published, self._known, self._seen_mtime, self.is_due = process, {}, {}, None, True

    def problems(self) -> list[str]:
        """For people."""
        found = [] if self.problem is None else [self.problem]
        if self.refused:
            found.append(f"{self.refused} files in {self._directory.name} that no process of ours has written")
        return found

    # -- telling ---------------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Brings this process's files up to date, if a breaker has changed its state."""
        if not self.is_due:
            return
        self.is_due = False
        try:
            self._publish(now_us())
            self.problem = None
        except OSError as error:
            self.is_due = True
            self.problem = f"breakers are not shared: {self._directory.name} cannot be written: {error.strerror}"

    def _publish(self, now: int) -> None:
        out = self._outages(now)
        if out and not self._directory.is_dir():
            _make(self._directory)
        for target, outage in out.items():
            if self._published.get(target) != outage:
                text, mode = encode_outage(outage), mode_in(self._directory, shared=0o640)
                self._published[target] = outage  # before the file: the watcher must not take it for another's
                try:
                    write_whole(self._directory / outage.file_name, text, mode=mode)
                except OSError:
                    self._published.pop(target)
                    raise
        for target in [target for target in self._published if target not in out]:
            (self._directory / self._published.pop(target).file_name).unlink(missing_ok=True)
        if out:
            self._prune(now)

    def _outages(self, now: int) -> dict[str, Outage]:
        known, self._known, ahead_us = self._known, {}, now - steady_us()
        for target, since, until, reason in self._gate.outages():
            if target not in self._places:
                continue
            before = known.get(target)
            if before is not None and before[0] == (since, until, reason):
                self._known[target] = before
                continue
            at = before[1].since if before is not None and before[0][0] == since else since + ahead_us
            outage = Outage(target, self._places[target], self._process, os.getpid(), at, max(until + ahead_us, at), reason)
            self._known[target] = (since, until, reason), outage
        return {target: outage for target, (_, outage) in self._known.items()}

    def _prune(self, now: int) -> None:
        """Takes away what processes have left behind that are long gone."""
        for path, identity in self._files():
            with suppress(OSError):
                if identity.written_ns // 1000 < now - PRUNE_AFTER_US and not self._is_own(path.name):
                    path.unlink()

    # -- being told ------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Looks whether others have told anything."""
        now = steady_us()
        if now - self._looked_at < LOOK_EVERY_US:
            return
        self._looked_at = now
        self._look(now)
        for target in [target for target in self._suspected if self._said_until.get(target, now) <= now]:
            if self._gate.trust(target):  # it was not asked here: should its outage be told of again, that is news
                self._believed = {who: since for who, since in self._believed.items() if who[1] != target}
            if not self._gate.is_suspected(target):
                self._suspected.discard(target)

    def _look(self, now: int) -> None:
        """Reads the directory if it has changed."""
        try:
            mtime = self._directory.stat().st_mtime_ns
        except OSError:  # nobody has ever told anything
            self._said_until = {}
            return
        wall = now_us()
        if mtime != self._seen_mtime and now >= self._rests_until:
            # A directory's time has the grain of the kernel's tick: what is younger may be followed by a change that it hides.
            self._seen_mtime = mtime if wall - mtime // 1000 > SETTLED_US else None
            self._read(wall)
            self._rests_until = now + PATIENCE * (steady_us() - now)

    def _read(self, now: int) -> None:
        before, self._read_already, self._said_until, refused = self._read_already, {}, {}, 0
        newest = sorted(self._files(), key=lambda found: found[1], reverse=True)[:MAX_FILES]
        for path, identity in newest:
            if self._is_own(path.name):
                continue
            known = before.get(path.name)
            try:
                outage = known[1] if known is not None and known[0] == identity else _outage_in(path)
            except FileNotFoundError:
                continue
            self._read_already[path.name] = identity, outage
            if outage is None:
                refused += 1
            else:
                self._heed(outage, now)
        self.refused = refused

    def _heed(self, outage: Outage, now: int) -> None:
        who = outage.process, outage.target
        if outage.process == self._process or self._places.get(outage.target) != outage.place or not outage.is_in_force(now):
            return
        until = outage.until + SLACK_US - (now - steady_us())
        self._said_until[outage.target] = max(until, self._said_until.get(outage.target, until))
        if self._believed.get(who, -1) >= outage.since:
            return
        if len(self._believed) >= MAX_FILES:
            self._believed.clear()
        self._believed[who] = outage.since
        ahead_us = now - steady_us()
        reason = f"{clean_name(outage.reason)} (said by pid {outage.pid})"
        if self._gate.suspect(outage.target, outage.since - ahead_us, reason):
            self._suspected.add(outage.target)

    def _is_own(self, name: str) -> bool:
        return any(outage.file_name == name for outage in tuple(self._published.values()))

    def _files(self) -> list[tuple[Path, _Identity]]:
        found = []
        with suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    with suppress(OSError):
                        found.append((self._directory / entry.name, _Identity.of(entry.stat(follow_symlinks=False))))
                if len(found) >= MAX_NAMES:
                    break
        return found


class _Identity(NamedTuple):
    """What tells one version of a file from another; the younger one is the greater."""

    written_ns: int
    changed_ns: int
    number: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Identity:
        return cls(found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)


def _outage_in(path: Path) -> Outage | None:
    """What a file says; None: it is none of ours. Raises FileNotFoundError."""
    try:
        outage = decode_outage(read_regular(path, MAX_CHARS))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeError, Refused):
        return None
    return outage if outage.file_name == path.name else None


def _make(directory: Path) -> None:
    """For its owner alone, or, in a directory that was made for a group, for the group: its processes may be several users'."""
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.parent.stat().st_mode & stat.S_ISGID:
        directory.chmod(0o2770)
