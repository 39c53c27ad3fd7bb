"""What a provider's status page says, strictly read (Statuspage, version 2, `/api/v2/summary.json`). Pure.

The page lags, and it is somebody else's text: it is shown beside what was measured, and never decides where a call goes. A
page that could not be read says nothing, which is not the same as saying that all is well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from console.core.text import line

PATH: Final = "/api/v2/summary.json"
MAX_BYTES: Final = 512 * 1024
"""The page of a provider with a hundred components has 60 KB; what is longer is not read."""
MAX_LISTED: Final = 20
MAX_TEXT: Final = 160

Indicator = Literal["none", "minor", "major", "critical", "maintenance"]
_INDICATORS: Final[tuple[Indicator, ...]] = ("none", "minor", "major", "critical", "maintenance")
_OVER: Final = frozenset({"resolved", "postmortem", "completed"})


@dataclass(frozen=True, slots=True)
class StatusPage:
    """The page as it was read last. `at`: when it was asked last, UTC microseconds. All text is safe to show."""

    state: Literal["asking", "told", "unreachable"]
    at: int | None = None
    indicator: Indicator | None = None
    description: str = ""
    components: tuple[tuple[str, str], ...] = ()
    """(name, status) of those that are not operational."""
    incidents: tuple[str, ...] = ()
    """Those that are not over."""
    problem: str = ""
    """Why it could not be read."""

    @property
    def reports_trouble(self) -> bool:
        """Whether it says that something is wrong; a page that could not be read does not."""
        return self.state == "told" and (self.indicator != "none" or bool(self.components) or bool(self.incidents))


ASKING: Final = StatusPage("asking")


def unreachable(problem: object, at: int) -> StatusPage:
    """A page that could not be read."""
    return StatusPage("unreachable", at, problem=line(problem, MAX_TEXT))


def read_summary(raw: bytes, at: int) -> StatusPage:
    """The page in an answer's body. Never raises: what is not of the agreed form is a page that could not be read."""
    try:
        document = json.loads(raw.decode("utf-8"))
        status = _mapping(document)["status"]
        indicator = _mapping(status)["indicator"]
        if indicator not in _INDICATORS:
            raise ValueError("an indicator that is not known")
        components = [_component(one) for one in _listed(document.get("components"))]
        incidents = [_incident(one) for one in _listed(document.get("incidents"))]
    except (ValueError, KeyError, TypeError, RecursionError):
        return unreachable("the answer is no status page", at)
    return StatusPage(
        "told",
        at,
        indicator,
        line(_mapping(status).get("description") or "", MAX_TEXT),
        tuple(one for one in components if one is not None)[:MAX_LISTED],
        tuple(one for one in incidents if one is not None)[:MAX_LISTED],
    )


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("a mapping is expected")
    return value


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError("a list is expected")
    return value[:1000]


def _component(value: object) -> tuple[str, str] | None:
    """A component that is not operational; None for one that is, and for the heading of a group."""
    said = _mapping(value)
    name, status = said["name"], said["status"]
    if not isinstance(name, str) or not isinstance(status, str):
        raise TypeError("a name and a status are texts")
    if status == "operational" or said.get("group") is True:
        return None
    return line(name, 60), line(status, 40)


def _incident(value: object) -> str | None:
    said = _mapping(value)
    name, status = said["name"], said["status"]
    if not isinstance(name, str) or not isinstance(status, str):
        raise TypeError("a name and a status are texts")
    return None if status in _OVER else line(name, MAX_TEXT)


def page_words(page: StatusPage | None) -> str:
    """The page in one line; None: nobody is asked."""
    if page is None:
        return "status page: not asked"
    if page.state == "asking":
        return "status page: no answer yet"
    if page.state == "unreachable":
        return f"status page: not reachable ({page.problem})"
    if not page.reports_trouble:
        return "status page: says that all is well (it lags)"
    parts = [page.description or f"{page.indicator}"]
    parts += [f"{name} {status}" for name, status in page.components[:3]]
    parts += [f'"{name}"' for name in page.incidents[:2]]
    return f"status page: {', '.join(dict.fromkeys(parts))}"
