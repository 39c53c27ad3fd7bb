"""The dialog before and after an act: what it would do and to whom, the answer, and what then happened.

A switch without a target begins with a choice among the targets; choosing does nothing yet. A change of a prompt shows its
differences, in what space the question leaves.

Nothing here acts by accident. Narrow acts want `y`, wide ones their word typed and Enter; the key that opened a state
does nothing in it until another was pressed; no key counts for 300 ms; one answer is one act. Success is said only
after processes were seen to follow.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from textual.screen import ModalScreen

from console.core.text import SafeText, line
from console.errors import ActConflict, ConsoleError, NothingToUndo
from console.ops.views import Order
from console.tui import words
from console.tui.acting import DONE_WORDS, can_undo
from console.tui.cells import Row, clipped, row, wrapped
from console.tui.guard import Guard
from console.tui.panes import prompts, targets
from console.tui.screens.page import diff_rows
from console.tui.things import target_named
from console.tui.widgets.entry import Entry
from console.tui.widgets.lines import LineView

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

    from console.ops.views import Acknowledgement, Applied, Preview, StatusView
    from console.tui.acting import Acting

State = Literal["looking", "refused", "choosing", "asking", "typing", "acting", "done"]
"""looking: the preview is being made; refused: it could not be; choosing: where to switch to; typing: in the reason; acting:
being written; done: written."""

_MARK: Final = 4
"""Cells before a choice: the cursor and its digit."""
_QUICK_S: Final = 0.05
_SLOW_S: Final = 1.0
_PATIENCE_S: Final = 10.0
"""Looked at often for so long; then it is said that not all follow, and looked at once a second."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the dialog ended with. `next_order` when the next step was chosen in it."""

    said: str = ""
    applied: Applied | None = None
    next_order: Order | None = None


class ConfirmScreen(ModalScreen["Outcome | None"], inherit_bindings=False):
    """One order from preview to result. Dismissed with None when nothing was done."""

    def __init__(self, order: Order, acts: Acting, *, opener: str | None, view: StatusView | None = None) -> None:
        """`view` is what the screen below shows: how the targets of a choice do."""
        super().__init__()
        self._view = view
        self._choices: list[tuple[str, Order]] = []
        self._at = 0
        self._diff: SafeText | None = None
        self._diff_rows: tuple[int, list[Row]] = (0, [])
        self._diff_top = 0
        self._diff_page = 1
        self._chosen = ""
        self._pane = LineView(id="dialog")
        self._order = order
        self._acts = acts
        self._state: State = "looking"
        self._guard = Guard(float("inf"), opener)
        self._preview: Preview | None = None
        self._trouble = ""
        self._reason = Entry()
        self._word = Entry()
        self._applied: Applied | None = None
        self._seen: Acknowledgement | None = None
        self._is_late = False
        self._followed_ms: float | None = None
        self._is_over = False

    # -- composition ---------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield self._pane

    def on_mount(self) -> None:
        self._draw()
        self.run_worker(self._look(), name="preview", exclusive=True)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _enter(self, state: State, opener: str | None) -> None:
        """Change state; from when it is painted, keys are ignored for a while."""
        self._state = state
        self._guard = Guard(float("inf"), opener)
        self._draw()
        self.call_after_refresh(self._arm, opener)

    def _arm(self, opener: str | None) -> None:
        self._guard = Guard(time.monotonic(), opener)

    # -- the desk ------------------------------------------------------------------------------------------------------

    async def _look(self, opener: str | None = None) -> None:
        """Make the preview; a refusal is shown instead."""
        is_choice = self._order.act == "switch" and not self._order.targets
        try:
            # what the way back to the chain would do tells the choices, what holds now, and whether there is a way back
            self._preview = await self._acts.preview(Order("auto", self._order.scope) if is_choice else self._order)
            self._diff = await self._acts.differences(self._preview) if self._preview.diff is not None else None
        except ConsoleError as error:
            self._trouble = str(line(error, 400))
        except Exception as error:  # noqa: BLE001 - a dialog that dies leaves the engineer without an answer
            self._trouble = f"the preview failed ({type(error).__name__})"
        preview = self._preview
        if preview is None:
            self._trouble = await self._undone_words() or self._trouble
            self._enter("refused", self._opener(opener))
            return
        if preview.order.act == "undo":  # a later look is at this act, never at the next older one
            self._order = replace(self._order, change_id=preview.order.change_id)
        if is_choice:
            self._offer(preview)
            return
        self._pane.set_class(preview.is_wide, "-wide-act")
        self._enter("asking", self._opener(opener))
        if preview.order.prompt is not None:
            await self._look_up(preview.order.prompt)

    def _offer(self, preview: Preview) -> None:
        """Show where it can be switched to; with nothing to choose, say so."""
        scope = self._order.scope
        self._choices = [(target, Order("switch", scope, targets=(target,))) for target in preview.choices]
        if not preview.is_already_so:
            self._choices.append(("", preview.order))
        if not self._choices:
            self._preview = None
            self._trouble = "there is no other target to switch to: console.yaml names none under `targets:`"
            self._enter("refused", self._opener(None))
            return
        self._enter("choosing", self._opener(None))

    async def _look_up(self, name: str) -> None:
        """Who made the present version current: shown when it is known, waited for by nobody."""
        try:
            status = await self._acts.prompt(name)
        except Exception:  # noqa: BLE001 - the question stands without it
            return
        if status is not None:
            self._chosen = (
                f"now {prompts.chosen_words(status, time.time_ns() // 1000 if self._view is None else self._view.at)}"
            )
            self._draw()

    def _opener(self, opener: str | None) -> str | None:
        return opener or self._guard.opener

    async def _act(self, opener: str) -> None:
        """Write it, then watch who follows until the dialog is closed."""
        preview = self._preview
        if preview is None:
            return
        try:
            applied = await self._acts.apply(preview, self._reason.text.strip() or None)
        except (ActConflict, NothingToUndo) as error:
            if preview.order.act == "undo":  # somebody was faster: what would be shown next is another act
                self._close(Outcome(said=await self._undone_words() or f"not undone: {line(error, 300)}"))
                return
            self._trouble = f"not done: {line(error, 300)} Look again:"
            await self._again(opener)
            return
        except ConsoleError as error:
            self._trouble = f"not done: {line(error, 400)}"
            await self._again(opener)
            return
        except Exception as error:  # noqa: BLE001 - the outcome must be said, whatever it was
            self._trouble = f"failed ({type(error).__name__}), outcome unknown: look at what changed before trying again"
            await self._again(opener)
            return
        self._applied, self._trouble = applied, ""
        self._enter("done", opener)
        await self._watch(applied)

    async def _undone_words(self) -> str | None:
        """That another console has undone the act already, when it has."""
        if self._order.act != "undo" or self._order.change_id is None:
            return None
        try:
            return await self._acts.undone_words(self._order.change_id)
        except Exception:  # noqa: BLE001 - then the error itself is said
            return None

    async def _again(self, opener: str) -> None:
        """A new preview after a refusal; the reason stays, the word must be typed again."""
        self._word = Entry()
        before, self._preview = self._preview, None
        try:
            self._preview = await self._acts.preview(self._order)
            self._diff = await self._acts.differences(self._preview) if self._preview.diff is not None else None
            self._diff_rows = (0, [])
        except Exception as error:  # noqa: BLE001 - then the old preview stays: applying it is refused by its version
            self._trouble += f" (no new preview: {type(error).__name__})"
            self._preview = before
        self._enter("asking", opener)

    async def _watch(self, applied: Applied) -> None:
        started = time.monotonic()
        while True:
            try:
                self._seen = await self._acts.acknowledgement(applied)
                self._trouble = ""
                if self._seen.is_complete and self._followed_ms is None:
                    self._followed_ms = self._seen.waited_ms
            except Exception as error:  # noqa: BLE001 - the act is written; only watching it failed
                self._trouble = f"written, but who follows cannot be read ({type(error).__name__})"
            self._is_late = time.monotonic() - started > _PATIENCE_S
            self._draw()
            is_settled = self._is_late or (self._seen is not None and self._seen.is_complete)
            await asyncio.sleep(_SLOW_S if is_settled else _QUICK_S)

    # -- keys ----------------------------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        if self._state == "looking" and event.key == "escape":
            self._close(None)
            return
        if not self._guard.lets(event.key, event.time):
            if event.key == "enter" and self._state == "asking":
                self._trouble = "enter came too soon: once more, when you mean it"
                self._draw()
            return
        if self._state == "refused":
            self._close(None)
        elif self._state == "choosing":
            self._key_in_choice(event.key)
        elif self._state == "typing":
            self._key_in_reason(event)
        elif self._state == "asking":
            self._key_in_question(event)
        elif self._state == "done":
            self._key_in_result(event.key)

    def on_paste(self, event: events.Paste) -> None:
        """Text can be pasted into the reason and nowhere else: the word is to be typed."""
        event.stop()
        if self._state == "typing":
            self._reason.insert(event.text)
            self._draw()

    def _key_in_choice(self, key: str) -> None:
        """A digit chooses at once, j and k move, enter takes; anything else cancels."""
        steps = {"j": 1, "down": 1, "k": -1, "up": -1, "tab": 1, "shift+tab": -1}
        if key in steps:
            self._at = min(max(self._at + steps[key], 0), len(self._choices) - 1)
            self._draw()
        elif key == "enter":
            self._choose(self._at, key)
        elif len(key) == 1 and key in "0123456789":
            number = next((at for at, (_, digit) in enumerate(self._numbered()) if digit == key), None)
            if number is not None:
                self._choose(number, key)
        else:
            self._close(None)

    def _numbered(self) -> list[tuple[str, str]]:
        """(target, its digit or nothing); 0 is the way back to the chain."""
        return [
            (target, "0" if not target else str(number) if number < 10 else "")
            for number, (target, _) in enumerate(self._choices, start=1)
        ]

    def _choose(self, at: int, opener: str) -> None:
        """The usual question, for what was chosen."""
        self._order = self._choices[at][1]
        self._preview = None
        self._enter("looking", opener)
        self.run_worker(self._look(opener), name="preview", exclusive=True)

    def _scroll(self, key: str) -> bool:
        """Move through the differences; whether the key means that."""
        if self._diff is None:
            return False
        page = max(self._diff_page - 1, 1)
        steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pagedown": page, "pageup": -page}
        if key not in steps:
            return False
        self._diff_top = max(self._diff_top + steps[key], 0)
        self._draw()
        return True

    def _key_in_reason(self, event: events.Key) -> None:
        if event.key in {"enter", "tab", "escape", "shift+tab"}:
            self._enter("asking", event.key)
        else:
            self._reason.press(event.key, event.character)
            self._draw()

    def _key_in_question(self, event: events.Key) -> None:
        preview = self._preview
        if preview is None or event.key == "escape":
            self._close(None)
        elif (not preview.is_wide or event.character is None) and self._scroll(event.key):
            return
        elif event.key in {"tab", "shift+tab"} or (event.key == "r" and not preview.is_wide):
            self._state = "typing"
            self._guard = Guard(float("-inf"), None)  # writing harms nothing: every key counts at once
            self._draw()
        elif preview.is_wide:
            self._key_in_word(event, preview)
        elif event.key == "y":
            self._begin("y")
        else:
            self._close(None)

    def _key_in_word(self, event: events.Key, preview: Preview) -> None:
        if event.key != "enter":
            self._word.press(event.key, event.character)
            self._trouble = ""
        elif self._word.text.strip() == line(preview.confirm_word):
            self._begin("enter")
            return
        else:
            self._trouble = f"type {line(preview.confirm_word, 60)} to confirm; esc cancels"
        self._draw()

    def _begin(self, opener: str) -> None:
        """One answer, one act: the state leaves `asking` before anything else can be pressed."""
        self._trouble = ""
        self._enter("acting", opener)
        self.run_worker(self._act(opener), name="act", exclusive=True)

    def _key_in_result(self, key: str) -> None:
        applied = self._applied
        if applied is None:
            return
        if key == "u" and can_undo(applied):
            self._close(Outcome(next_order=Order("undo", change_id=applied.id)))
        elif key in {"escape", "enter", "q"}:
            self._close(
                Outcome(said=f"{line(applied.subject, 60).replace(':', ' ', 1)}: {self._said(applied)}", applied=applied)
            )

    def _close(self, outcome: Outcome | None) -> None:
        """End the dialog; once, however many keys are still in the queue."""
        if not self._is_over:
            self._is_over = True
            self.dismiss(outcome)

    # -- drawing -------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        if not self.is_attached:
            return
        pane = self._pane
        width = max(pane.content_size.width or 70, 20)
        rows = [clipped(each, width) for each in self._rows(width)]
        changes_height = len(rows) != len(pane.rows)
        pane.show(rows)
        if changes_height:
            pane.refresh(layout=True)

    def _rows(self, width: int) -> list[Row]:
        if self._state == "done" and self._applied is not None:
            return [*self._result_rows(self._applied, width), *self._trouble_rows(width)]
        if self._preview is None:
            said = row(("looking at what it would do…", "dim"))
            return [
                *(self._trouble_rows(width) or [said]),
                row(("any key goes back", "dim")) if self._state == "refused" else row(""),
            ]
        room = max(self.app.size.height - 2, 8)
        if self._state == "choosing":
            return self._choice_rows(self._preview, width, room)
        top = [*self._trouble_rows(width), *preview_rows(self._preview, width, self._chosen)]
        answer = self._answer_rows(self._preview, width)
        room -= len(answer)
        if self._diff is None:
            return [*_cut(top, room), *answer]
        top = _cut(top, room - 3)
        return [*top, *self._difference_rows(self._diff, width, room - len(top)), *answer]

    def _difference_rows(self, diff: SafeText, width: int, room: int) -> list[Row]:
        """What changes in the text, as much as there is space for."""
        if self._diff_rows[0] != width:
            self._diff_rows = width, diff_rows(diff, width)
        rows = self._diff_rows[1]
        page = self._diff_page = max(room - 1, 1)
        self._diff_top = min(self._diff_top, max(len(rows) - page, 0))
        shown = rows[self._diff_top : self._diff_top + page]
        said = f"lines {self._diff_top + 1} to {self._diff_top + len(shown)} of {len(rows)}"
        keys: tuple[object, ...] = (("  j k PgDn PgUp", "key"), " scroll") if len(rows) > page else ()
        return [row(("what changes in the text: ", "dim"), (said, "dim"), *keys), *shown]

    def _now_rows(self, preview: Preview) -> list[Row]:
        width = max(self._pane.content_size.width or 70, 20)
        return [row(part) for part in wrapped(f"now: {line(preview.before, 200)}", width)]

    def _choice_rows(self, preview: Preview, width: int, room: int) -> list[Row]:
        """Where to: each target with how it does now."""
        scope = preview.order.scope
        name = "all features" if scope is None or not scope.name else line(scope.name, 60)
        head = [row(("Where to?", "key"), (f"  Switch {name}", "bold")), *self._now_rows(preview), row("")]
        if self._view is not None and any(target_named(self._view, target) is not None for target, _ in self._choices):
            head.append((("    ", ""), *targets.compared_head(self._name_width(), width - _MARK)))
        keys = row(
            ("1-9", "key"), " or ", ("j k enter", "key"), " choose, nothing is done yet  ", ("any other key", "key"), " cancels"
        )
        page = max(room - len(head) - 2, 1)
        top = min(max(self._at - page + 1, 0), max(len(self._choices) - page, 0))
        body = [self._choice_row(at, target, digit, width) for at, (target, digit) in enumerate(self._numbered())]
        return [*head, *body[top : top + page], row(""), keys]

    def _name_width(self) -> int:
        return max(len(line(name, 24)) for name, _ in self._choices)

    def _choice_row(self, at: int, target: str, digit: str, width: int) -> Row:
        mark = ("▶ " if at == self._at else "  ", "key")
        if not target:
            after = line(self._preview.after, 120) if self._preview is not None else ""
            return row(mark, (f"{digit:1} ", "key"), ("back to the chain (auto)", "bold"), (f": {after}", "dim"))
        view = self._view
        known = target_named(view, target) if view is not None else None
        if known is None or view is None:
            return row(mark, (f"{digit:1} ", "key"), (line(target, 60), "bold"), ("  nothing is known about it yet", "dim"))
        shown = targets.compared_row(known, view.at, self._name_width(), max(width - _MARK, 20))
        return (*row(mark, (f"{digit:1} ", "key")), *shown)

    def _trouble_rows(self, width: int) -> list[Row]:
        return [row((part, "crit")) for part in wrapped(self._trouble, width)]

    def _answer_rows(self, preview: Preview, width: int) -> list[Row]:
        if self._state == "acting":
            return [row(""), row(("writing…", "bold"))]
        is_typing = self._state == "typing"
        hint = "optional; " + ("enter goes back" if is_typing else "tab writes one" if preview.is_wide else "r writes one")
        rows = [row(""), self._reason.row(width, label="reason: ", hint=hint, is_active=is_typing)]
        if preview.is_wide:
            label = f"type {line(preview.confirm_word, 60)}: "
            rows.append(self._word.row(width, label=label, is_active=not is_typing))
        if is_typing:
            keys = row(("enter", "key"), " back to the question")
        elif preview.is_wide:
            keys = row(
                ("enter", "key"),
                " does it when the word is typed  ",
                ("tab", "key"),
                " reason  ",
                ("esc", "key"),
                " cancels",
            )
        else:
            keys = row(("y", "key"), " does it  ", ("r", "key"), " reason  ", ("any other key", "key"), " cancels")
        return [*rows, row(""), keys]

    def _said(self, applied: Applied) -> str:
        """The result in one line."""
        done = DONE_WORDS.get(applied.act, "done")
        seen = self._seen
        if seen is None:
            return f"{done}: written, not read back yet"
        if seen.problem is not None:
            return f"{done}: written; telemetry cannot tell who follows"
        if not seen.live:
            return f"{done}: written; no process is live to follow it"
        time_words = f", {words.duration(self._followed_ms / 1000)}" if self._followed_ms is not None else ""
        return f"{done}, {seen.following} of {words.plural(seen.live, 'process', 'processes')}{time_words}"

    def _result_rows(self, applied: Applied, width: int) -> list[Row]:
        seen = self._seen
        is_whole = seen is not None and seen.problem is None and (seen.is_complete or not seen.live)
        title = self._preview.title if self._preview is not None else applied.subject
        rows = [row((line(title, 60), "bold"), (f"  by {line(applied.actor, 30)} {words.clock(applied.at)}", "dim"))]
        if applied.expires_at is not None:
            rows.append(row(f"ends by itself at {words.clock(applied.expires_at)}"))
        if seen is None:
            rows.append(row(("written; reading back…", "dim")))
        else:
            rows.append(row((("● " if is_whole else "▲ ") + self._said(applied), "ok" if is_whole else "warn")))
            aim = "up" if seen.expected == "up" else "down"
            said = f"{line(seen.counted, 120)}, a minute (should go {aim}): "
            moved = _from_to(seen, "about a minute" if applied.subject.startswith("customer:") else "about 10 s", self._is_late)
            if len(said) + max(len(moved), 28) > width:
                rows.append(row(said))
                said = "  "
            rows.append(row(said, (moved, "bold")))
            rows += [row((f"▲ not yet: {_process(process)}", "warn")) for process in seen.laggards[:4]]
            if len(seen.laggards) > 4:
                rows.append(row((f"  and {len(seen.laggards) - 4} more", "warn")))
            rows += [row((f"▲ silent, cannot tell: {_process(process)}", "warn")) for process in seen.silent[:2]]
        if self._is_late and not is_whole:
            rows.append(row(("after 10 s not all follow: see : processes", "crit")))
        if seen is not None and seen.state is not None:
            rows.append(row(("now ", "dim"), line(seen.state, 160)))
        undo: tuple[object, ...] = (("u", "key"), " undoes it  ") if can_undo(applied) else ()
        return [*rows, row(""), row(*undo, ("esc", "key"), " back")]


def _process(process: object) -> str:
    service, host, pid = (getattr(process, name, "?") for name in ("service", "host", "pid"))
    return f"{line(service, 24)} {line(host, 24)} pid {pid}"


def _from_to(seen: Acknowledgement, soon: str, is_late: bool) -> str:
    """The number before and now; while there is none now, when there will be."""
    if seen.calls_per_min_now is None and seen.problem is None:
        said = "not known yet, still looking" if is_late and "minute" not in soon else f"number in {soon}"
        return f"{words.per_min(seen.calls_per_min_before)} before → {said}"
    return f"{words.per_min(seen.calls_per_min_before)} before → {words.per_min(seen.calls_per_min_now)} now"


def _cut(rows: list[Row], room: int) -> list[Row]:
    """At most `room` rows, the last of which says how many more there are: the question below must be seen."""
    room = max(room, 2)
    if len(rows) <= room:
        return rows
    return [*rows[: room - 1], row((f"… {len(rows) - room + 1} lines more", "dim"))]


def preview_rows(preview: Preview, width: int, chosen: str = "") -> list[Row]:
    """From → to, whom it touches, and what to know first. `chosen`: who made the present prompt version current."""
    rows = [row((part, "bold")) for part in wrapped(line(preview.title), width)]
    before, after = line(preview.before, 200), line(preview.after, 200)
    if len(before) + len(after) + 5 <= width and "→" not in before + after:
        rows.append(row(f"{before}  →  ", (after, "bold")))
    else:  # a chain has arrows of its own
        rows += [row(part) for part in wrapped(f"now:  {before}", width)]
        rows += [row((part, "bold")) for part in wrapped(f"then: {after}", width)]
    if preview.order.prompt is not None:
        rows += [
            row((part, "dim"))
            for part in wrapped(line(chosen or "who made the present version current: looking…", 300), width)[:2]
        ]
    touched = [
        f"{words.count(preview.calls_5m)} calls",
        f"{words.count(preview.customers_5m)} customers",
        words.share(preview.share_of_traffic),
    ]
    if preview.calls_5m is None and preview.customers_5m is None:
        rows.append(row(("whom it touches is not known: nothing was recorded", "warn")))
    else:
        rows += [row(part) for part in wrapped(f"in five minutes: {', '.join(touched)}", width)]
    if preview.order.act != "undo":
        rows.append(row((preview.last_time or "no earlier one in the audit", "dim")))
    if preview.order.for_us is not None:
        rows.append(row((f"ends by itself after {words.duration(preview.order.for_us / 1_000_000)}", "bold")))
    if preview.is_already_so:
        rows.append(row(("▲ it is so already: only the audit would change", "warn")))
    for warning in preview.warnings:
        rows += [
            row((("▲ " if first == 0 else "  ") + part, "warn"))
            for first, part in enumerate(wrapped(line(warning, 300), width - 2))
        ]
    return rows
