"""What an application's tests can use of ours: the simulated Claude API and its faults. Part of the public surface.

from console.testing import Fault, SimulatedAPI

with SimulatedAPI(speed=float("inf")) as api:
    client = Anthropic(base_url=api.url, api_key="any", middleware=[console.middleware])
    api.set_faults([Fault(status=529, times=2)])
"""

from __future__ import annotations

from console.sim.faults import Fault, FaultError
from console.sim.server import SimulatedAPI, SimulatedAPIError

__all__ = ["Fault", "FaultError", "SimulatedAPI", "SimulatedAPIError"]
