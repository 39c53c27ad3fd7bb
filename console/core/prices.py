"""What tokens cost: prices as values, and the money of a usage. Pure. Tokens are stored, money is computed on reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.models import base_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
"""The kinds of tokens, in the order of `core.calls.Usage`."""


class Price(NamedTuple):
    """US dollars per million tokens, in the order of `KINDS`."""

    input: float
    output: float
    cache_read: float
    cache_write_5m: float
    cache_write_1h: float


class Prices(NamedTuple):
    """All known prices and the day they were true."""

    as_of: str
    by_model: Mapping[str, Mapping[str, Price]]
    """model -> band ("" or "long") -> price."""

    def price_of(self, model: str, band: str = "") -> Price | None:
        """The price of a model id, or None when it is not known. A dated snapshot and another provider's id of the same
        model have the model's own price."""
        bands = self.by_model.get(model) or self.by_model.get(base_model(model))
        return None if bands is None else bands.get(band, bands[""])


def cost_usd(price: Price, tokens: Sequence[int]) -> float:
    """The cost of token counts in the order of `KINDS`, in US dollars."""
    return sum(per_million * count for per_million, count in zip(price, tokens, strict=True)) / 1_000_000


def parse_prices(document: object) -> Prices:
    """Prices from a parsed prices file. Raises ValueError with the model and the field that is wrong."""
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        raise ValueError("a prices file has the keys `as_of` and `models`")
    by_model = {str(name): _bands(str(name), entry) for name, entry in document["models"].items()}
    return Prices(str(document.get("as_of", "unknown")), by_model)


def _bands(model: str, entry: object) -> dict[str, Price]:
    if not isinstance(entry, dict):
        raise ValueError(f"{model}: expected the prices of {', '.join(KINDS)}")
    bands = {"": _price(model, {kind: value for kind, value in entry.items() if kind != "long"})}
    if "long" in entry:
        bands["long"] = _price(f"{model}.long", entry["long"])
    return bands


def _price(where: str, entry: object) -> Price:
    if not isinstance(entry, dict) or set(entry) != set(KINDS):
        raise ValueError(f"{where}: expected exactly the prices of {', '.join(KINDS)}")
    try:
        values = [float(entry[kind]) for kind in KINDS]
    except (TypeError, ValueError):
        raise ValueError(f"{where}: a price is not a number") from None
    if not all(0 <= value < 1e6 for value in values):
        raise ValueError(f"{where}: a price is out of range")
    return Price(*values)
