"""The one table of what an operator can press or call by name. Bindings, footer, command palette, help and the
README's table are made from it; a test says so. Pure values; knows no screen.

Keys are written as Textual names them. Capitals are for what is risky. `where` names the screens that answer; on any other
the key says where it works. An act that this version cannot do yet is in the table with `missing` set: its key says why
when pressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Risk = Literal["none", "narrow", "wide"]
Place = Literal["overview", "prompts", "timeline", "targets"]

PLACES: Final[tuple[Place, ...]] = ("overview", "prompts", "timeline", "targets")


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do. `name` is also the name of the screen's action; `command` what the palette calls it."""

    name: str
    keys: tuple[str, ...]
    shown: str
    """The keys as people write them; empty when it has no key."""
    title: str
    risk: Risk = "none"
    undo: str = ""
    footer: str = ""
    """Its word in the footer; empty: not there."""
    command: str = ""
    """What the palette calls it; empty: not there."""
    missing: str = ""
    """Why this version cannot do it; empty: it can."""
    where: tuple[Place, ...] = PLACES

    @property
    def is_available(self) -> bool:
        return not self.missing

    def works_on(self, place: Place) -> bool:
        """Whether it does something on that screen."""
        return self.is_available and place in self.where


_RESTORE: Final = "u, or K again"
_NO_JUDGE: Final = "not in this version: no judge scores outputs yet"
_NO_INCIDENTS: Final = "not in this version: incidents are not kept yet"
_NO_HISTORY: Final = "not in this version: the screen shows now only"
_OVERVIEW: Final[tuple[Place, ...]] = ("overview",)
_PROMPTS: Final[tuple[Place, ...]] = ("prompts",)
_TARGETS: Final[tuple[Place, ...]] = ("targets",)
_WITH_FEATURES: Final[tuple[Place, ...]] = ("overview", "prompts", "timeline")
_WITH_PANES: Final[tuple[Place, ...]] = ("overview", "prompts", "targets")

ACTS: Final[tuple[Act, ...]] = (
    Act(
        "kill",
        ("K",),
        "K",
        "kill the row under the cursor, or restore it when it is killed",
        "narrow",
        _RESTORE,
        "kill",
    ),
    Act("kill_all", (), "", "stop every call of every feature", "wide", "u, or restore all", command="kill all"),
    Act("restore_all", (), "", "take the kill of everything back", "wide", "u", command="restore all"),
    Act(
        "model", ("M",), "M", "switch the model of the row, or back to its chain", "narrow", "u", "model", where=_WITH_FEATURES
    ),
    Act(
        "rollback",
        ("B",),
        "B",
        "roll the row's prompt back to the version before",
        "narrow",
        "u",
        "rollback",
        where=_WITH_FEATURES,
    ),
    Act(
        "use",
        ("V",),
        "V",
        "on the prompts screen: use the version under the cursor",
        "narrow",
        "u, or B",
        "use",
        where=_PROMPTS,
    ),
    Act(
        "force_open",
        ("O",),
        "O",
        "on the targets screen: force the target open, no call goes there",
        "wide",
        "u, or A",
        "force open",
        where=_TARGETS,
    ),
    Act(
        "force_closed",
        ("C",),
        "C",
        "on the targets screen: force it closed, calls go there whatever happens",
        "wide",
        "u, or A",
        "closed",
        where=_TARGETS,
    ),
    Act(
        "force_auto",
        ("A",),
        "A",
        "on the targets screen: its breakers decide again",
        "wide",
        "u",
        "auto",
        where=_TARGETS,
    ),
    Act(
        "probe",
        ("P",),
        "P",
        "on the targets screen: ask it now, where its breaker leaves it alone",
        "narrow",
        "nothing to undo: it asks once",
        "probe",
        where=_TARGETS,
    ),
    Act(
        "undo",
        ("u",),
        "u",
        "undo the last act; in a list of changes the one under the cursor",
        "narrow",
        "K, M, B",
        "undo",
        "undo",
    ),
    Act("diff", ("d",), "d", "on the prompts screen: compare the version with the current one", footer="diff", where=_PROMPTS),
    Act("versions", ("v",), "v", "prompts and their versions", footer="prompts", command="prompts"),
    Act("targets", ("s",), "s", "serving targets and their breakers", footer="targets", command="targets"),
    Act("timeline", ("t",), "t", "timeline: every act, newest last", footer="timeline", command="timeline"),
    Act("filter", ("slash",), "/", "filter the list", footer="filter", command="filter"),
    Act("commands", ("colon", "ctrl+p"), ":", "every act by name, also for models and customers", footer="commands"),
    Act("help", ("question_mark",), "?", "this page", footer="help", command="help"),
    Act("pane_1", ("1",), "1", "pane 1; of the overview: features", where=_WITH_PANES),
    Act("pane_2", ("2",), "2", "pane 2; of the overview: quality", where=_WITH_PANES),
    Act("pane_3", ("3",), "3", "pane 3; of the overview: latency and errors", where=("overview", "prompts")),
    Act("pane_4", ("4",), "4", "pane 4, failover", where=_OVERVIEW),
    Act("pane_5", ("5",), "5", "pane 5, what changed", where=_OVERVIEW),
    Act("next_pane", ("tab",), "tab", "next pane", where=_WITH_PANES),
    Act("previous_pane", ("shift+tab",), "shift+tab", "pane before", where=_WITH_PANES),
    Act("down", ("j", "down"), "j ↓", "one row down"),
    Act("up", ("k", "up"), "k ↑", "one row up"),
    Act("page_down", ("pagedown", "ctrl+f"), "PgDn", "one page down"),
    Act("page_up", ("pageup", "ctrl+b"), "PgUp", "one page up"),
    Act("first", ("g", "home"), "g", "first row"),
    Act("last", ("G", "end"), "G", "last row"),
    Act("open", ("enter",), "enter", "all that is known about the row"),
    Act("hold", ("space",), "space", "hold the picture still while data goes on; again goes on", command="hold"),
    Act(
        "zoom",
        ("z",),
        "z",
        "the pane fills the screen; again, or esc, goes back",
        footer="zoom",
        command="zoom",
        where=_WITH_PANES,
    ),
    Act("copy", ("y",), "y", "copy the row as text through the terminal, and show it", command="copy"),
    Act("processes", (), "", "the application processes, and which follow", command="processes"),
    Act("theme", (), "", "dark or light", command="theme"),
    Act("playbook", ("p",), "p", "guided procedure", missing=_NO_INCIDENTS),
    Act("outputs", ("o",), "o", "sampled outputs, worst first", missing=_NO_JUDGE),
    Act("incidents", ("i",), "i", "incidents", missing=_NO_INCIDENTS),
    Act("alerts", ("a",), "a", "alerts", missing=_NO_INCIDENTS),
    Act("look_back", ("left_square_bracket",), "[", "look back in time", missing=_NO_HISTORY),
    Act("look_forward", ("right_square_bracket",), "]", "look forward in time", missing=_NO_HISTORY),
    Act("back", ("escape",), "esc", "one step back; never quits, always safe", footer="back"),
    Act("suspend", ("ctrl+z",), "ctrl+z", "back to the shell; fg returns"),
    Act("quit", ("q", "ctrl+c"), "q ctrl+c", "leave, without a question", command="quit"),
)
"""In the order in which help shows them."""

BY_NAME: Final = {act.name: act for act in ACTS}

DIALOG_KEYS: Final[tuple[tuple[str, str], ...]] = (
    ("1 to 9, or j k and enter", "choose, where there is something to choose; 0 is back to the chain"),
    ("y", "do it (one feature, one prompt)"),
    ("the word, enter", "do it (more than one feature)"),
    ("r, tab", "write a reason; enter goes back"),
    ("j k PgDn PgUp", "scroll the differences, where there are any"),
    ("esc, any other key", "cancel"),
)
"""The keys of the dialog that comes before every act. Not acts: they answer one."""
