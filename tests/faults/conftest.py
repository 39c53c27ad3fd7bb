"""The helpers of `tests/store` and `tests/sdk`, for the tests here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sdk"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "store"))

import pytest
from store_tools import places_in


@pytest.fixture
def places(tmp_path: Path) -> object:
    return places_in(tmp_path)
