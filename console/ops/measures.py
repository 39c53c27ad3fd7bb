"""The number that an act should move, before and after it: counted in rollups, never in raw rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from console.core.rollups import US
from console.store.sqlite import reads

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

BEFORE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Measure:
    """What is counted. `count(connection, since_s, until_s)` adds up whole steps of `step_s` seconds."""

    counted: str
    """"calls served by haiku"."""
    expected: Literal["down", "up"]
    count: Callable[[sqlite3.Connection, int, int], int]
    step_s: int = reads.STEP_S


def reaching(kind: str, name: str, expected: Literal["down", "up"]) -> Measure:
    """Calls of a scope that reached the API."""
    return Measure(
        "calls that reached the API",
        expected,
        lambda connection, since_s, until_s: reads.reached(connection, since_s, until_s, kind, name),
        reads.step_of(kind),
    )


def served_by(target: str, feature: str | None) -> Measure:
    """Calls that a target answered, of a feature or of all."""
    return Measure(
        f"calls served by {target}",
        "up",
        lambda connection, since_s, until_s: reads.served(connection, since_s, until_s, target=target, feature=feature),
    )


def got_by(target: str, expected: Literal["down", "up"]) -> Measure:
    """Attempts that were sent to a target."""
    return Measure(
        f"calls that {target} got",
        expected,
        lambda connection, since_s, until_s: reads.sent(connection, since_s, until_s, target=target),
    )


def with_prompt(prompt: str, version: int | None) -> Measure:
    """Calls with a version of a prompt; None: with any."""
    return Measure(
        f"calls with {prompt}" + ("" if version is None else f" v{version}"),
        "up",
        lambda connection, since_s, until_s: reads.prompted(connection, since_s, until_s, prompt=prompt, version=version),
    )


def moved(connection: sqlite3.Connection, measure: Measure, act_us: int, now_us: int) -> tuple[float, float | None]:
    """The measure a minute: in the minute before the act, and in the last full step that lies wholly behind it (None until one
    has passed)."""
    step_s = measure.step_s
    act_s, now_s = act_us // US // step_s * step_s, now_us // US // step_s * step_s
    before = measure.count(connection, act_s - BEFORE_S, act_s) * 60 / BEFORE_S
    if (now_s - step_s) * US < act_us:
        return before, None
    return before, measure.count(connection, now_s - step_s, now_s) * 60 / step_s
