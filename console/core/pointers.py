"""Which version of a prompt is current, as a value, and its row in control.db. Pure.

    prompt/NAME    {"versions":{"3":{"hash":"<sha256>","weight":100}},"withdrawn":[4]}; {"versions":null,...}: not chosen

`withdrawn` are the versions that an operator has rolled back: no conversation stays pinned to one of them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from console.core.routes import compact

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_VERSIONS: Final = 20
MAX_VERSION: Final = 1_000_000
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,6}")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A version that is served: its share (a weight among the others') and the sha256 of the registered file."""

    version: int
    weight: int
    hash: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """What an operator decided about a prompt. `chosen` is ordered by version; empty: the highest version that is no draft."""

    name: str
    chosen: tuple[Chosen, ...] = ()
    withdrawn: frozenset[int] = frozenset()
    reason: str | None = None
    actor: str | None = None
    at: int | None = None
    expires_at: int | None = None

    def is_in_force(self, now_us: int) -> bool:
        """Whether it still holds at `now_us` (UTC microseconds)."""
        return self.expires_at is None or now_us < self.expires_at

    def pick(self, bucket: float) -> Chosen | None:
        """Who gets which: the version in whose share `bucket` (0..1) lies, None when nothing is chosen."""
        total = sum(one.weight for one in self.chosen)
        passed = 0
        for one in self.chosen:
            passed += one.weight
            if bucket * total < passed:
                return one
        return self.chosen[-1] if self.chosen else None


def bucket_of(name: str, key: str) -> float:
    """0..1, always the same for a prompt and a key, and unrelated between prompts: the prompt's name is the salt."""
    digest = blake2b(key.encode("utf-8", "replace"), digest_size=8, key=blake2b(name.encode("utf-8", "replace")).digest()[:32])
    return int.from_bytes(digest.digest()) / 2**64


def pointer_key(name: str) -> str:
    """The control key of a prompt's pointer."""
    return f"prompt/{name}"


def pointer_name(key: str) -> str | None:
    """The prompt of a pointer's key, or None when it is no such key."""
    kind, _, name = key.partition("/")
    return name if kind == "prompt" and name else None


def encode_pointer(chosen: Mapping[int, tuple[int, str]] | None, withdrawn: frozenset[int] = frozenset()) -> str:
    """The value of a pointer's row. `chosen`: version -> (weight, hash); None: not chosen."""
    versions = None if chosen is None else {str(v): {"hash": h, "weight": w} for v, (w, h) in sorted(chosen.items())}
    return compact({"versions": versions, "withdrawn": sorted(withdrawn)})


def decode_pointer(value: str) -> tuple[tuple[Chosen, ...], frozenset[int]]:
    """What a pointer's row says. Raises ValueError for anything that we do not write."""
    document = json.loads(value)
    if not isinstance(document, dict) or set(document) != {"versions", "withdrawn"}:
        raise ValueError("not an object with 'versions' and 'withdrawn' alone")
    withdrawn, versions = document["withdrawn"], document["versions"]
    if not isinstance(withdrawn, list) or not all(type(v) is int and 0 < v <= MAX_VERSION for v in withdrawn):
        raise ValueError("withdrawn versions are numbers")
    if versions is None:
        return (), frozenset(withdrawn)
    if not isinstance(versions, dict) or not 0 < len(versions) <= MAX_VERSIONS:
        raise ValueError("a pointer names one to twenty versions")
    return tuple(sorted(map(_chosen, versions, versions.values()), key=lambda one: one.version)), frozenset(withdrawn)


def _chosen(version: str, said: object) -> Chosen:
    if not _NUMBER.fullmatch(version) or not isinstance(said, dict) or set(said) != {"hash", "weight"}:
        raise ValueError("a version is a number with a hash and a weight")
    weight, digest = said["weight"], said["hash"]
    if type(weight) is not int or not 0 < weight <= 10_000 or not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise ValueError("a weight is 1 to 10000, a hash 64 hexadecimal digits")
    return Chosen(int(version), weight, digest)
