"""Who is acting: the kernel's word for it, and what the environment claims beside it."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.core.redaction import encodable

if TYPE_CHECKING:
    from collections.abc import Mapping

CLAIMS: Final = ("SUDO_USER", "LOGNAME", "USER", "SSH_CONNECTION")
NO_LOGIN: Final = 4294967295
"""What the kernel shows as login uid of a process that nobody logged in for."""


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is of the login uid, which survives sudo and su, else of the real uid. `claimed` proves nothing."""

    name: str
    uid: int
    login_uid: int | None
    claimed: Mapping[str, str]


def current_actor() -> Actor:
    """The person behind this process."""
    login_uid = _login_uid(Path("/proc/self/loginuid"))
    uid = os.getuid()
    claimed = {name: encodable(os.environ[name][:200]) for name in CLAIMS if name in os.environ}
    claimed["uid"] = str(uid)
    return Actor(_name_of(uid if login_uid is None else login_uid), uid, login_uid, claimed)


def _login_uid(file: Path) -> int | None:
    try:
        found = int(file.read_text())
    except (OSError, ValueError):
        return None
    return None if found == NO_LOGIN else found


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid{uid}"
