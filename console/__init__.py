"""Incident console and middleware for applications built on Claude.

    from console import Console

Everything is loaded on first use: `import console` costs nothing, and the command line never loads the SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from console.sdk.answers import CallBlocked, ChainExhausted, RequestRefused, StreamBroken
    from console.sdk.console import Console

__all__ = ["CallBlocked", "ChainExhausted", "Console", "RequestRefused", "StreamBroken", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Console":
        from console.sdk.console import Console  # noqa: PLC0415 -- PEP 562: the SDK only for who uses it

        return Console
    if name in __all__:
        from console.sdk import answers  # noqa: PLC0415

        return getattr(answers, name)
    raise AttributeError(f"module 'console' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
