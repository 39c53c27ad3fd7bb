"""The fixture of the tests of failover; a plugin that their modules name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from failover_tools import Chained, routed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from console.core.targets import Routing


@pytest.fixture
def chained(tmp_path: Path) -> Iterator[Callable[..., Chained]]:
    """Makes an installation with a chain: `chained(routed(...), feature="its text")`."""
    made: list[Chained] = []

    def make(routing: Routing | None = None, **degraded: str) -> Chained:
        root = tmp_path / str(len(made))
        root.mkdir()
        made.append(Chained(root, routing or routed(), degraded))
        return made[-1]

    yield make
    for one in made:
        one.close()
