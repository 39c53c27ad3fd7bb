"""What the tests of the acts share: a configured desk, prompt files, processes that tell of themselves, and calls."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from store_tools import beat, calls, now_us, write

from console.core.rollups import Rollups
from console.core.targets import FeaturePolicy, Routing, Target
from console.ops.desk import Desk
from console.ops.views import Order
from console.store.configuration import Settings
from console.store.sqlite.control import read_audit, read_control
from console.store.sqlite.telemetry import TelemetryWriter

if TYPE_CHECKING:
    from pathlib import Path

    from console.ops.views import Applied, FeatureView, TargetView
    from console.store.locations import Locations

US = 1_000_000
MINUTE_US = 60 * US

ROUTING = Routing(
    targets=MappingProxyType({
        "sonnet": Target("sonnet", "claude-sonnet-5-5"),
        "bedrock": Target("bedrock", "claude-sonnet-5-5", base_url="http://127.0.0.1:1", api_key="client"),
        "haiku": Target("haiku", "claude-haiku-5-5"),
    }),
    default=FeaturePolicy(("sonnet", "haiku")),
    features=MappingProxyType({"summarize": FeaturePolicy(("sonnet", "bedrock", "haiku")), "classify": FeaturePolicy(("haiku",))}),
)  # fmt: skip


def desk_of(places: Locations, **given: Any) -> Desk:
    """A desk with targets, chains and a prompt directory beside the data."""
    settings: dict[str, Any] = {
        "degraded": {}, "routing": ROUTING, "prompts": prompts_of(places),
        **{name: given.pop(name) for name in ("degraded", "routing", "prompts") if name in given},
    }  # fmt: skip
    degraded = settings.pop("degraded")
    return Desk(Settings(None, "test", None, degraded, 2 * 86400, 400 * 86400, None, places, **settings), **given)


def prompts_of(places: Locations) -> Path:
    return places.data.parent / "prompts"


def prompt_file(places: Locations, name: str, version: int, text: str = "", *, front: str = "description: of it") -> Path:
    """Writes a prompt file and returns its path."""
    file = prompts_of(places) / name / f"v{version}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"---\n{front}\n---\n{text or f'Text of {version}.'}\n", encoding="utf-8")
    return file


def do(places: Locations, act: str, **given: Any) -> Applied:
    """Previews and applies an order."""
    return desk_of(places).act(Order(act, **given), reason="test")[1]  # type: ignore[arg-type]


def row_of(places: Locations, key: str) -> tuple[str, int | None]:
    """The value and the end of a control row."""
    return next((row.value, row.expires_at) for row in read_control(places.control, busy_s=1.0) if row.key == key)


def acts(places: Locations) -> list[str]:
    return [row.act for row in read_audit(places.control)]


def told(state: str, reason: str | None = None, since: int | None = None, probe_at: int | None = None) -> dict[str, Any]:
    return {"state": state, "reason": reason, "since": since, "probe_at": probe_at}


def tell(places: Locations, *states: object, **given: Any) -> None:
    """One live process for each state."""
    writer = TelemetryWriter(places.telemetry)
    for number, state in enumerate(states):
        writer.write([], Rollups(), beat(id=f"p{number}", state=state, **given), f"p{number}")
    writer.close()


def tell_raw(places: Locations, text: object) -> None:
    """A live process whose state is stored exactly so."""
    import sqlite3
    from contextlib import closing

    tell(places, {})
    with closing(sqlite3.connect(places.telemetry)) as connection:
        connection.execute("UPDATE process SET state = ?", (text,))
        connection.commit()


def record(places: Locations, number: int, *, ago_s: int = 30, **given: Any) -> None:
    """Calls that ended `ago_s` seconds ago. An attempt of each: `status` decides its result."""
    writer = TelemetryWriter(places.telemetry)
    write(writer, calls(number, started_us=now_us() - ago_s * US, **given))
    writer.close()


def feature(places: Locations, name: str) -> FeatureView:
    return next(view for view in desk_of(places).status().features if view.feature == name)


def target(places: Locations, name: str) -> TargetView:
    return next(view for view in desk_of(places).status().targets if view.target == name)


def as_json(state: object) -> str:
    return json.dumps(state)
