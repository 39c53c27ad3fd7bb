"""What the processes of a host tell each other about targets that are out: one small document per target and process. Pure.

It is advice: whoever reads it probes the target before he sends to it, and believes his own probe. So a document that is not of
the agreed form in every part is refused as a whole, and one that is too old or from the future says nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final, NamedTuple

from console.core.redaction import clean_name

if TYPE_CHECKING:
    from console.core.targets import Target

FORMAT: Final = 1
MAX_CHARS: Final = 4_000
MAX_REASON: Final = 200
US: Final = 1_000_000
SLACK_US: Final = 30 * US
"""How long after the time of its next probe an outage still counts: the probe may be under way. A process that has died leaves
no more than this behind."""
LONGEST_US: Final = 2 * 3600 * US
"""No target is left alone for longer than an hour and its jitter."""
AHEAD_US: Final = 5 * US
"""So far ahead of ours the clock of another process of the same host may seem to be."""


class Refused(ValueError):
    """A document that is none of ours."""


class Outage(NamedTuple):
    """A target that is out in one process. Times in UTC microseconds."""

    target: str
    place: str
    """`place_of` the target: processes with another configuration may call something else by the same name."""
    process: str
    pid: int
    since: int
    """When it stopped being closed there: the same however many probes have failed since."""
    until: int
    """When it is probed next."""
    reason: str

    def is_in_force(self, now_us: int) -> bool:
        """Whether it says something about now. One from the future says nothing: a clock has gone back."""
        return self.since <= now_us + AHEAD_US and self.until - LONGEST_US <= now_us < self.until + SLACK_US

    @property
    def file_name(self) -> str:
        """Of its document: one for each target and process, and no name of anybody's in it."""
        return hashlib.sha256(f"{self.target}\0{self.process}".encode()).hexdigest()[:32] + ".json"


def place_of(target: Target) -> str:
    """What a target is, whatever it is called: equal for all who send to the same model at the same place."""
    where = (*target.account, target.region, target.model)
    return hashlib.sha256(repr(where).encode()).hexdigest()[:16]


def encode_outage(outage: Outage) -> str:
    """The document."""
    said = outage._replace(reason=clean_name(outage.reason)[:MAX_REASON])
    return json.dumps({"format": FORMAT, **said._asdict()}, ensure_ascii=True)


def decode_outage(text: str) -> Outage:
    """What a document says, of whatever time. Raises Refused unless every part of it is as `encode_outage` writes it."""
    if len(text) > MAX_CHARS:
        raise Refused("too long")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("no JSON") from None
    if not isinstance(document, dict) or document.keys() != {"format", *Outage._fields} or document.pop("format") != FORMAT:
        raise Refused("not of this format")
    for name, value in document.items():
        if type(value) is not (int if name in _NUMBERS else str):
            raise Refused(f"{name}: not of its type")
    outage = Outage(**document)
    texts = (outage.target, outage.place, outage.process, outage.reason)
    if not all(text.isprintable() and len(text) <= MAX_REASON for text in texts) or not outage.target:
        raise Refused("not a text of ours")
    if not 0 < outage.since <= outage.until:
        raise Refused("not of any time")
    return outage


_NUMBERS: Final = frozenset({"pid", "since", "until"})
