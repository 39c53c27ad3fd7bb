"""The control rows as values: their hash, their strict parsing, how a newer reading merges with what is already in force.

Rules, in the order in which they apply:
1. A row whose hash does not match, or whose value is not exactly of its kind's form, refuses the whole reading.
2. Per key the row with the highest version wins; a row that is missing or older in a newer reading changes nothing. What was
   killed stays killed until a row with a higher version says otherwise, whatever happened to the file in between.
3. Keys of a kind that this version does not know are kept, ignored and reported.

Pure; no clock, no files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from console.core.pointers import Pointer, decode_pointer, pointer_name
from console.core.routes import (
    Forced,
    Probe,
    Route,
    breaker_target,
    check_probe,
    decode_force,
    decode_route,
    probe_target,
    route_scope,
)
from console.core.switches import SCOPE_KINDS, Scope, Switch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_VALUE_CHARS: Final = 65_536
"""A switch is 20 characters; anything near this limit is not ours, and parsing it would cost the caller time."""


class ControlRefused(ValueError):
    """A reading of the control rows that must not be applied; says which row and why."""


@dataclass(frozen=True, slots=True)
class ControlRow:
    """One row of `control`, as stored. `value` is JSON text; `version`, `at`, `expires_at` are microseconds UTC."""

    key: str
    value: str
    version: int
    actor: str
    reason: str | None
    at: int
    expires_at: int | None
    hash: str = ""

    def sealed(self) -> ControlRow:
        """The same row with its hash set."""
        return ControlRow(self.key, self.value, self.version, self.actor, self.reason, self.at, self.expires_at, row_hash(self))


def row_hash(row: ControlRow) -> str:
    """sha256 over everything else in the row, as canonical JSON. SQLite itself does not notice a flipped byte."""
    fields = [row.key, row.value, row.version, row.actor, row.reason, row.at, row.expires_at]
    return sha256(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class ControlState:
    """What is in force: the newest row per key, and what follows from them."""

    rows: Mapping[str, ControlRow] = field(default_factory=lambda: MappingProxyType({}))
    switches: Mapping[Scope, Switch] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[Scope, Route] = field(default_factory=lambda: MappingProxyType({}))
    forced: Mapping[str, Forced] = field(default_factory=lambda: MappingProxyType({}))
    """By target."""
    probes: Mapping[str, Probe] = field(default_factory=lambda: MappingProxyType({}))
    """The newest order to probe, by target."""
    pointers: Mapping[str, Pointer] = field(default_factory=lambda: MappingProxyType({}))
    """By prompt."""
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The registered prompt files that the pointers name, by their sha256."""
    version: int = 0
    """The highest version among the rows; 0 when there is none."""
    ignored: tuple[str, ...] = ()
    """Keys of kinds that this version does not know."""


EMPTY: Final = ControlState()


def kill_key(scope: Scope) -> str:
    """The control key of a scope's kill switch."""
    return f"kill/{scope.kind}/{scope.name}" if scope.name else f"kill/{scope.kind}"


def kill_scope(key: str) -> Scope | None:
    """The scope of a kill switch's key, or None when it is no such key or of a kind unknown here."""
    parts = key.split("/", 2)
    if parts[0] != "kill" or len(parts) < 2 or parts[1] not in SCOPE_KINDS:
        return None
    kind = parts[1]
    name = parts[2] if len(parts) == 3 else ""
    if (kind == "all") != (name == ""):
        return None
    return Scope(kind, name)


KILL_ENGAGED: Final = '{"engaged":true}'
KILL_RESTORED: Final = '{"engaged":false}'


def is_engaged(row: ControlRow) -> bool:
    """What a kill switch's row says. Raises ControlRefused when its value is anything but the two that we write."""
    if row.value == KILL_ENGAGED:
        return True
    if row.value == KILL_RESTORED:
        return False
    raise ControlRefused(f"{row.key!r}: the value is not one of a kill switch")


def merge(previous: ControlState, rows: Iterable[ControlRow], texts: Mapping[str, str] = MappingProxyType({})) -> ControlState:
    """`previous` with every newer row of `rows` applied, and the prompt texts that these need of both. Raises ControlRefused,
    and then nothing is applied. A text that is not what its hash says is left out: it must not keep a kill from working."""
    newest = dict(previous.rows)
    for row in rows:
        check(row)
        known = newest.get(row.key)
        if known is None or row.version > known.version:
            newest[row.key] = row
    whole = {digest: text for digest, text in texts.items() if digest not in previous.texts and text_hash(text) == digest}
    return _state(newest, {**previous.texts, **whole})


def missing_texts(state: ControlState) -> frozenset[str]:
    """The hashes of prompt texts that the pointers name and the state does not hold."""
    named = {one.hash for pointer in state.pointers.values() for one in pointer.chosen}
    return frozenset(named - state.texts.keys())


def text_hash(text: str) -> str:
    """The sha256 by which a prompt file's text is known."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check(row: ControlRow) -> None:
    """Raises ControlRefused unless the row is whole: types, size, hash and, for a kind known here, its value."""
    texts = (row.key, row.value, row.actor, row.hash)
    if not all(isinstance(text, str) for text in texts) or not isinstance(row.reason, str | None):
        raise ControlRefused(f"{str(row.key)[:80]!r}: a column has the wrong type")
    if type(row.version) is not int or type(row.at) is not int or type(row.expires_at) not in (int, type(None)):
        raise ControlRefused(f"{row.key[:80]!r}: a time or version is not a whole number")
    if len(row.value) > MAX_VALUE_CHARS or len(row.key) > 1_000:
        raise ControlRefused(f"{row.key[:80]!r}: longer than any row that we write")
    if row_hash(row) != row.hash:
        raise ControlRefused(f"{row.key[:80]!r}: the row's hash does not match its content")
    _meaning(row)


def _meaning(row: ControlRow) -> Switch | Route | Forced | Probe | Pointer | str | None:
    """What a row says: a value of its kind, None when it takes one back, its key when the kind is not known here. Raises
    ControlRefused when the value is not one of its kind."""
    said = (row.reason, row.actor, row.at, row.expires_at)
    scope, route, target, prompt = kill_scope(row.key), route_scope(row.key), breaker_target(row.key), pointer_name(row.key)
    try:
        if scope is not None:
            return Switch(scope, *said) if is_engaged(row) else None
        if route is not None:
            targets = decode_route(row.value)
            return None if targets is None else Route(route, targets, *said)
        if target is not None:
            state = decode_force(row.value)
            return None if state is None else Forced(target, state, *said)
        if (probed := probe_target(row.key)) is not None:
            check_probe(row.value)
            return Probe(probed, row.version, row.at)
        if prompt is not None:
            chosen, withdrawn = decode_pointer(row.value)
            return Pointer(prompt, chosen, withdrawn, *said)
    except ControlRefused:
        raise
    except (ValueError, RecursionError) as error:
        raise ControlRefused(f"{row.key[:80]!r}: {error}") from None
    return row.key


def _state(rows: dict[str, ControlRow], texts: Mapping[str, str]) -> ControlState:
    switches: dict[Scope, Switch] = {}
    routes: dict[Scope, Route] = {}
    forced: dict[str, Forced] = {}
    probes: dict[str, Probe] = {}
    pointers: dict[str, Pointer] = {}
    ignored: list[str] = []
    for row in rows.values():
        match _meaning(row):
            case Switch() as switch:
                switches[switch.scope] = switch
            case Route() as route:
                routes[route.scope] = route
            case Forced() as force:
                forced[force.target] = force
            case Probe() as probe:
                probes[probe.target] = probe
            case Pointer() as pointer:
                pointers[pointer.name] = pointer
            case str(key):
                ignored.append(key)
    needed = {one.hash for pointer in pointers.values() for one in pointer.chosen}
    return ControlState(
        rows=MappingProxyType(rows),
        switches=MappingProxyType(switches),
        routes=MappingProxyType(routes),
        forced=MappingProxyType(forced),
        probes=MappingProxyType(probes),
        pointers=MappingProxyType(pointers),
        texts=MappingProxyType({digest: text for digest, text in texts.items() if digest in needed}),
        version=max((row.version for row in rows.values()), default=0),
        ignored=tuple(sorted(ignored)),
    )


def encode_kept(state: ControlState) -> str:
    """The text of a kept snapshot: JSON with a hash over the rows and the prompt texts that they need."""
    rows = [
        [row.key, row.value, row.version, row.actor, row.reason, row.at, row.expires_at, row.hash]
        for row in sorted(state.rows.values(), key=lambda row: row.key)
    ]
    texts = dict(sorted(state.texts.items()))
    document = {"format": 2, "rows": rows, "texts": texts, "hash": _kept_hash([rows, texts])}
    return json.dumps(document, ensure_ascii=False, indent=0)


def decode_kept(text: str) -> ControlState:
    """The state of a kept snapshot. Raises ControlRefused when the text is not exactly what `encode_kept` wrote (format 1, of
    the version before, held no texts)."""
    try:
        document = json.loads(text)
        rows, texts = document["rows"], document.get("texts", {})
        hashed = {1: rows, 2: [rows, texts]}[document["format"]]
        is_whole = document["hash"] == _kept_hash(hashed)
        parsed = [ControlRow(*row) for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise ControlRefused(f"the kept snapshot cannot be read: {type(error).__name__}") from None
    if not is_whole or not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ControlRefused("the kept snapshot's hash does not match its content")
    return merge(EMPTY, parsed, texts)


def _kept_hash(document: object) -> str:
    return sha256(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")).hexdigest()


def next_version(previous: int, now_us: int) -> int:
    """The version of a new act: later than every one before, even when the file was made anew or the clock went back."""
    return max(previous + 1, now_us)
