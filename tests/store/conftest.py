"""Files of one installation, fresh for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_tools import places_in

if TYPE_CHECKING:
    from pathlib import Path

    from console.store.locations import Locations


@pytest.fixture
def places(tmp_path: Path) -> Locations:
    return places_in(tmp_path)
