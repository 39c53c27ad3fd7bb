"""What the simulated API knows about each model: its speed, its limits, and the settings it refuses. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

STRICT_SETTINGS = frozenset({"thinking_budget", "thinking_disabled", "sampling", "prefill", "forced_tool"})
"""The five settings that Sonnet 5.5 answers with 400 and every other model here accepts."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model. Latencies are medians in seconds at speed 1; `skill` in 0..1 says how complete its answers are."""

    id: str
    name: str
    line: str
    created: str
    plain_s: float
    first_token_s: float
    tokens_per_s: float
    skill: float
    requests_per_minute: int
    input_tokens_per_minute: int
    output_tokens_per_minute: int
    context_tokens: int
    max_tokens: int
    refuses: frozenset[str] = frozenset()
    retires: str | None = None


def _haiku(model: str, name: str, created: str) -> ModelSpec:
    return ModelSpec(
        model, name, "haiku", created, 0.6, 0.2, 180.0, 0.55, 6_000, 6_000_000, 1_200_000, 200_000, 64_000
    )  # fmt: skip


def _sonnet(
    model: str, name: str, created: str, *, refuses: frozenset[str] = frozenset(), retires: str | None = None
) -> ModelSpec:
    return ModelSpec(
        model, name, "sonnet", created, 1.4, 0.35, 80.0, 0.85, 4_000, 4_000_000, 800_000, 1_000_000, 64_000,
        refuses, retires,
    )  # fmt: skip


def _opus(model: str, name: str, created: str) -> ModelSpec:
    return ModelSpec(
        model, name, "opus", created, 2.2, 0.6, 60.0, 0.95, 4_000, 2_000_000, 400_000, 1_000_000, 128_000
    )  # fmt: skip


def _fable(model: str, name: str, created: str) -> ModelSpec:
    return ModelSpec(
        model, name, "fable", created, 3.0, 0.9, 45.0, 1.0, 2_000, 1_000_000, 200_000, 1_000_000, 128_000
    )  # fmt: skip


_ALL = (
    _fable("claude-fable-5-1", "Claude Fable 5.1", "2026-09-15T00:00:00Z"),
    _opus("claude-opus-5-5", "Claude Opus 5.5", "2026-10-06T00:00:00Z"),
    _sonnet("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-10-06T00:00:00Z", refuses=STRICT_SETTINGS),
    _haiku("claude-haiku-5-5", "Claude Haiku 5.5", "2026-10-06T00:00:00Z"),
    _opus("claude-opus-5", "Claude Opus 5", "2026-06-02T00:00:00Z"),
    _sonnet("claude-sonnet-5", "Claude Sonnet 5", "2026-06-02T00:00:00Z"),
    _opus("claude-opus-4-8", "Claude Opus 4.8", "2026-04-14T00:00:00Z"),
    _opus("claude-opus-4-7", "Claude Opus 4.7", "2026-03-10T00:00:00Z"),
    _opus("claude-opus-4-6", "Claude Opus 4.6", "2026-02-03T00:00:00Z"),
    _sonnet("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-02-17T00:00:00Z"),
    _opus("claude-opus-4-5", "Claude Opus 4.5", "2025-11-24T00:00:00Z"),
    _haiku("claude-haiku-4-5", "Claude Haiku 4.5", "2025-10-15T00:00:00Z"),
    _sonnet("claude-sonnet-4-5", "Claude Sonnet 4.5", "2025-09-29T00:00:00Z", retires="2026-11-30T00:00:00Z"),
)

MODELS: Mapping[str, ModelSpec] = {spec.id: spec for spec in _ALL}
"""Every known model by id, newest first. The creation dates are made up; the ids are those of the price table."""


def describe(spec: ModelSpec) -> dict[str, object]:
    """The model as `GET /v1/models` shows it."""
    return {
        "type": "model",
        "id": spec.id,
        "display_name": spec.name,
        "created_at": spec.created,
        "lifecycle": "deprecated" if spec.retires else "active",
        "deprecated_at": spec.created if spec.retires else None,
        "retires_at": spec.retires,
        "line": spec.line,
        "max_input_tokens": spec.context_tokens,
        "max_tokens": spec.max_tokens,
        "capabilities": None,
    }
