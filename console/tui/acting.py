"""Acts from the screen: preview, apply, acknowledgement, each in the acting lane, and what is left to say when the app
ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.core.text import SafeText, block, line
from console.errors import ConsoleError
from console.tui import words

if TYPE_CHECKING:
    from console.ops.views import Acknowledgement, Applied, Order, Preview, PromptStatus
    from console.tui.desk import DeskLike
    from console.tui.lanes import Lane

DONE_WORDS = {
    "kill": "stopped",
    "restore": "restored",
    "undo": "undone",
    "switch": "switched",
    "auto": "back to the chain",
    "force_open": "forced open",
    "force_closed": "forced closed",
    "force_auto": "its breakers decide",
    "probe": "the next call is a probe",
    "use": "made current",
    "rollback": "rolled back",
}
LASTING_NOTHING: Final = frozenset({"undo", "probe"})
"""Acts that cannot be undone: the one is an undo, the other leaves nothing."""
DIFF_LINES: Final = 400


def can_undo(applied: Applied) -> bool:
    """Whether an act has left something that can be taken back."""
    return applied.act not in LASTING_NOTHING and not applied.is_already_so


class Acting:
    """The desk's acts for one app. Acts run one after the other."""

    def __init__(self, desk: DeskLike, lane: Lane) -> None:
        self._desk = desk
        self._lane = lane
        self._unseen: dict[int, str] = {}
        self._count = 0

    async def preview(self, order: Order) -> Preview:
        return await self._lane.run(self._desk.preview, order)

    async def differences(self, preview: Preview) -> SafeText:
        """The preview's diff as safe text, made beside the event loop: it may be long."""
        return await self._lane.run(block, preview.diff or "", DIFF_LINES)

    async def prompt(self, name: str) -> PromptStatus | None:
        """What is known about a prompt; None when there is no such prompt."""
        found = await self._lane.run(self._desk.prompts)
        return next((status for status in found if status.name == name), None)

    async def apply(self, preview: Preview, reason: str | None) -> Applied:
        """Write it. Should the app be left before the caller resumes, `unseen` holds the outcome."""
        self._count += 1
        number = self._count
        title = line(preview.title)
        self._unseen[number] = f"{title}: outcome unknown, look at `console status`"

        def work() -> Applied:
            try:
                applied = self._desk.apply(preview, reason=reason)
            except ConsoleError as error:
                self._unseen[number] = f"{title}: NOT done: {line(error)}"
                raise
            self._unseen[number] = f"{title}: written"
            return applied

        try:
            applied = await self._lane.run(work)
        except Exception:
            self._unseen.pop(number, None)
            raise
        self._unseen.pop(number, None)
        return applied

    async def undone_words(self, change_id: str | None) -> str | None:
        """ "already undone by op2 04:12Z …" when this act was taken back meanwhile; None when it was not."""
        view = await self._lane.run(self._desk.status)
        found = next((change for change in view.changes if change.id == change_id), None)
        if found is None or not found.is_undone:
            return None
        undo = next((each for each in view.changes if each.act == "undo" and each.subject == found.subject), None)
        who = f" by {line(undo.actor, 30)} {words.clock(undo.at)}" if undo is not None else ""
        return f"already undone{who}: {line(found.act, 20)} {line(found.subject, 60)}"

    async def acknowledgement(self, applied: Applied) -> Acknowledgement:
        return await self._lane.run(self._desk.acknowledgement, applied)

    @property
    def unseen(self) -> list[str]:
        """Outcomes of acts that nobody was shown, oldest first."""
        return list(self._unseen.values())
