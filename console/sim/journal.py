"""The log of what reached the simulated API: bounded in memory, and as JSON lines in a file where one is given."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO

from console.sim.clouds import auth_of, wire_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_ENTRIES = 200_000
MOST_PER_ANSWER = 20_000
_KEY_SHOWN = 4
_SIGNED = b"AWS4-HMAC-SHA256 Credential="

Entry = dict[str, Any]


class Journal:
    """Entries are visible as soon as a request has arrived, and written to the file when its answer has ended.

    One thread only. Indexes count all requests since the start and never repeat, also after `clear`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST_ENTRIES)
        self._next = 0
        self._unwritten: list[Entry] = []
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path else None

    def arrive(self, *, method: str, path: str, headers: list[tuple[bytes, bytes]], query: str = "") -> Entry:
        """A new entry, stamped with the wall clock. `headers` have lower-case names."""
        found = dict(headers)
        entry: Entry = {
            "index": self._next,
            "arrived_us": time.time_ns() // 1000,
            "started_us": _whole(found.get(b"x-call-started-us")),
            "method": method,
            "path": path,
            "wire": wire_of(path),
            "auth": auth_of(found),
            "query": query,
            "headers": _names(tuple(found)),
            "workspace": _text(found.get(b"anthropic-workspace-id")),
            "model": None,
            "stream": False,
            "system": "",
            "parameters": [],
            "key": _key_mark(found),
            "console_headers": sorted(name.decode("latin-1") for name in found if name.startswith(b"x-console")),
            "status": None,
            "fault": None,
            "request_id": None,
            "billed": None,
            "client_closed": False,
            "client_closed_us": None,
            "finished": False,
        }
        self._next += 1
        self._entries.append(entry)
        return entry

    def leave(self, entry: Entry) -> None:
        """The caller has closed the connection before the answer was complete: now, since the server was waiting or sending."""
        entry["client_closed"], entry["client_closed_us"] = True, time.time_ns() // 1000

    def finish(self, entry: Entry) -> None:
        """The answer has ended, one way or another. Twice is harmless."""
        if not entry["finished"]:
            entry["finished"] = True
            if self._file is not None:
                self._unwritten.append(entry)

    def since(self, after: int) -> tuple[list[Entry], int]:
        """Entries with an index of `after` and more (20,000 at most), and the index to ask for next."""
        if not self._entries:
            return [], max(after, self._next)
        first: int = self._entries[0]["index"]
        skipped = max(0, after - first)
        page = list(itertools.islice(self._entries, skipped, skipped + MOST_PER_ANSWER))
        return page, page[-1]["index"] + 1 if page else max(after, self._next)

    def clear(self) -> None:
        """Forget the entries in memory; the file keeps its lines."""
        self._entries.clear()

    def flush(self) -> None:
        """Write what has ended since the last time."""
        if self._file is None or not self._unwritten:
            return
        lines, self._unwritten = self._unwritten, []
        self._file.write("".join(json.dumps(entry) + "\n" for entry in lines))
        self._file.flush()

    def close(self) -> None:
        """Write everything, also the requests that were never answered, and close the file."""
        for entry in self._entries:
            self.finish(entry)
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None


@lru_cache(maxsize=256)
def _names(headers: tuple[bytes, ...]) -> list[str]:
    """Header names for people; one list for all requests that have the same, or 200,000 entries would be large."""
    return sorted(name.decode("latin-1") for name in headers)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _whole(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None


def _key_mark(headers: Mapping[bytes, bytes]) -> str | None:
    """The last four characters of the request's key: enough to tell keys apart, too little to use one."""
    key = key_in(headers)
    return None if key is None else key[-_KEY_SHOWN:]


def key_in(headers: Mapping[bytes, bytes]) -> str | None:
    """The API key, or bearer token, of a request with these (lower-case) headers; of a signed one the id of its key."""
    key = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
    if key.startswith(_SIGNED):
        key = key.removeprefix(_SIGNED).partition(b"/")[0]
    return key.decode("latin-1") or None
