"""How long the simulated model takes, at a given speed. Pure: the random draw is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from console.sim.models import ModelSpec

_SIGMA = 0.3
_TYPICAL_TOKENS = 85
_LENGTH_POWER = 0.3


@dataclass(frozen=True, slots=True)
class Pace:
    """Latencies divided by `speed`; an infinite speed waits for nothing. `normal` is a standard normal draw."""

    speed: float = 1.0

    def plain_s(self, spec: ModelSpec, output_tokens: int, normal: float) -> float:
        """The whole answer: log-normal around the model's median, half of it for one word and more for a long text."""
        length = max(0.5, min(2.0, (output_tokens / _TYPICAL_TOKENS) ** _LENGTH_POWER))
        return self._scaled(spec.plain_s * length * math.exp(_SIGMA * normal))

    def first_token_s(self, spec: ModelSpec, normal: float) -> float:
        """From the request to the first content event."""
        return self._scaled(spec.first_token_s * math.exp(_SIGMA * normal))

    def tokens_s(self, spec: ModelSpec, tokens: int) -> float:
        """The generation of so many tokens."""
        return self._scaled(tokens / spec.tokens_per_s)

    def seconds(self, seconds: float) -> float:
        """Any other believable delay."""
        return self._scaled(seconds)

    def _scaled(self, seconds: float) -> float:
        return 0.0 if math.isinf(self.speed) else seconds / self.speed
