"""What the screens ask of a desk: the part of `console.ops.desk.Desk` that they use. All of it blocks; call it in a
lane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from console.ops.views import Acknowledgement, Applied, Order, Preview, PromptStatus, StatusView, TimelineView


class DeskLike(Protocol):
    """See `console.ops.desk.Desk` for the contract."""

    @property
    def read_only(self) -> bool: ...

    def status(self, *, trends: bool = False, feature: str | None = None) -> StatusView: ...

    def preview(self, order: Order) -> Preview: ...

    def apply(self, preview: Preview, *, reason: str | None = None) -> Applied: ...

    def acknowledgement(self, applied: Applied) -> Acknowledgement: ...

    def prompts(self) -> tuple[PromptStatus, ...]: ...

    def prompt_text(self, name: str, version: int) -> str: ...

    def prompt_diff(self, name: str, old: int, new: int) -> str: ...

    def timeline(self, limit: int = 200) -> tuple[TimelineView, ...]: ...
