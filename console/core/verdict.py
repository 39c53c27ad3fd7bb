"""Whose fault it is: ours, our account's, the provider's or the network's, from what the attempts of the last minutes ended
with. Pure: values in, a verdict with its evidence out.

The rules, each with its reason:
1. What cannot be seen is not well: without numbers, or with old ones, the side is "unknown" and says why.
2. Kinds decide (SDK.md "Errors"). 5xx, 529 and silence are the provider's. 401, 402, 403, 429 and spend limits are our
   account's. 400, 404, 413 and what fails before it is sent is ours. A connection that cannot be made is the network's when no
   target can be reached, and the provider's when others can.
3. A target fails when at least FEW attempts of the last minute and SHARE of all have failed: single failures are every day's
   noise, which retries and chains hide. A target whose breaker is not closed fails as long as it is not: it gets one probe a
   dwell, so the minute alone would call it well because nobody asks it. 401, 402 and 403 never come by chance: FEW are enough.
4. Our own requests are judged by feature: one feature's mistake must not drown in the traffic of the others.
5. The most failures decide; everything else is evidence. Only when nothing fails do our own switches, breakers and limits
   explain why calls get no answer.
6. The provider's page agrees, or does not, or could not be read. It never makes a verdict: it lags by ten minutes and more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from console.core.moves import move_in_band
from console.core.statuspage import page_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from console.core.statuspage import StatusPage

Results: TypeAlias = "Mapping[str, int]"
Side = Literal["provider", "account", "us", "network", "well", "unknown"]

FEW: Final = 3
"""As many failures in a row open a breaker (`BreakerPolicy.consecutive`)."""
SHARE: Final = 0.05
"""Of the attempts: from here on the screen calls errors critical."""
ENOUGH: Final = 10
"""Attempts from which on a target that does not fail counts as well, next to one that does."""
BIG_CUSTOMER: Final = 0.3
"""Of the calls: a customer who alone sends so much is named beside a rate limit."""
MAX_EVIDENCE: Final = 12

_ACCOUNT: Final = frozenset(
    {"401", "402", "403", "429", "authentication_error", "billing_error", "permission_error", "rate_limit_error"}
)
_BY_CHANCE: Final = frozenset({"429", "rate_limit_error"})
"""Of these a few are every day's."""
_PROVIDER: Final = frozenset({
    "408", "timeout", "timeout_error", "overloaded_error", "api_error", "truncated_stream", "malformed_event",
    "malformed_answer",
})  # fmt: skip
_NETWORK: Final = frozenset({"connection", "reset"})
_NEUTRAL: Final = frozenset({"ok", "cancelled", "blocked", "degraded", "failed", "kill_switch"})
_ORDER: Final[tuple[Side, ...]] = ("provider", "account", "network", "us")
_NAMES: Final[dict[Side, str]] = {
    "provider": "the provider",
    "account": "our account",
    "us": "us",
    "network": "the network",
    "well": "nothing wrong",
    "unknown": "cannot be told",
}


class Sent(NamedTuple):
    """Where attempts went, and for whom."""

    feature: str
    target: str
    model: str
    provider: str


class Customer(NamedTuple):
    """The customer with the most calls of five minutes. `calls` of `of` calls."""

    name: str
    calls: int
    of: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What a verdict looks at. Attempts are counted by what they ended with: "ok", a status, the name of a failure, or an error
    with its code, where the code says more than the status (a 400 for a spend limit)."""

    minute: Mapping[Sent, Results] = field(default_factory=lambda: MappingProxyType({}))
    window: Mapping[Sent, Results] = field(default_factory=lambda: MappingProxyType({}))
    """Of five minutes."""
    shut: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Target -> why, for each whose own breaker is not closed in a live process."""
    hands: tuple[str, ...] = ()
    """What we hold back ourselves: kill switches, forced breakers, limits that are exceeded."""
    notes: tuple[str, ...] = ()
    """What else may explain it: routes, recent acts."""
    customer: Customer | None = None
    headroom: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    page: StatusPage | None = None
    trouble: str = ""
    """Why the numbers cannot be relied on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose it is, in one line, and what says so. The text holds names as they were recorded."""

    side: Side
    said: str
    evidence: tuple[str, ...] = ()

    @property
    def is_trouble(self) -> bool:
        """Whether something fails."""
        return self.side not in ("well", "unknown")


NOT_LOOKED: Final = Verdict("unknown", "cannot be told: nothing was looked at")


class _Cause(NamedTuple):
    weight: int
    side: Side
    said: str
    evidence: tuple[str, ...] = ()


def side_of(result: str) -> Side | None:
    """Whose a result is; None for what says nothing. What fails without an answer and is not known here is a defect of the
    application's own."""
    kind, _, code = result.partition(": ")  # an error inside a stream is named with its code
    if kind in _NEUTRAL:
        return None
    if kind in _ACCOUNT or (code and is_accounts(result)):
        return "account"
    if kind in _NETWORK:
        return "network"
    if kind in _PROVIDER or (len(kind) == 3 and kind.isdecimal() and kind >= "500"):
        return "provider"
    return "us"


def is_accounts(error: str) -> bool:
    """Whether an error, as it is recorded ("rate_limit_error: enforced_spend_limit_reached"), refuses the account."""
    return move_in_band(error).then == "account"


def verdict(seen: Seen) -> Verdict:
    """Whose fault it is. Never raises."""
    if seen.trouble:
        return Verdict("unknown", f"cannot be told: {seen.trouble}", _rest(seen, ()))
    causes = sorted(_causes(seen), key=lambda cause: (-cause.weight, _ORDER.index(cause.side)))
    if causes:
        first, *others = causes
        also = tuple(f"also {_NAMES[cause.side]}: {cause.said}" for cause in others)
        agrees = f"; {_agreement(seen.page)}" if first.side in ("provider", "network") else ""
        return Verdict(first.side, f"{_NAMES[first.side]}: {first.said}{agrees}", _rest(seen, (*first.evidence, *also)))
    if seen.hands:
        return Verdict("us", f"us: {seen.hands[0]}", _rest(seen, ()))
    return _calm(seen)


def _calm(seen: Seen) -> Verdict:
    """Nothing fails: how much that is worth."""
    for span, counted in (("the last minute", seen.minute), ("five minutes", seen.window)):
        judged = _judged(_sum(counted.values()))
        if judged.total():
            good = judged["ok"]
            bad = judged.total() - good
            if bad and bad >= SHARE * judged.total():
                few = _listed(Counter({result: count for result, count in judged.items() if result != "ok"}), judged)
                return Verdict("unknown", f"cannot be told: {few} attempts of {span}, too few to judge", _rest(seen, ()))
            said = f"nothing wrong: {good:,} of {judged.total():,} attempts of {span} went well"
            reports = seen.page is not None and seen.page.reports_trouble
            return Verdict("well", f"{said}; {page_words(seen.page)}" if reports else said, _rest(seen, ()))
    return Verdict("unknown", "cannot be told: no attempt in five minutes", _rest(seen, ()))


def _rest(seen: Seen, before: tuple[str, ...]) -> tuple[str, ...]:
    """The evidence that every verdict has."""
    customer = seen.customer
    shares = (
        []
        if customer is None or customer.calls < BIG_CUSTOMER * customer.of or not customer.of
        else [f"{customer.name} sends {_share(customer)} of the calls"]
    )
    low = [f"{target} has {room:.0%} of its rate limit left" for target, room in sorted(seen.headroom.items()) if room < 0.2]
    found = [*before, *seen.hands, *shares, *low, *seen.notes, page_words(seen.page)]
    return tuple(dict.fromkeys(found))[:MAX_EVIDENCE]


def _share(customer: Customer) -> str:
    return f"{customer.calls / customer.of:.0%}"


def _agreement(page: StatusPage | None) -> str:
    if page is None or page.state == "asking":
        return "status page not asked" if page is None else "status page not heard yet"
    if page.state == "unreachable":
        return "status page not reachable"
    return "status page agrees" if page.reports_trouble else "status page does not say so (it lags)"


# -- counting ----------------------------------------------------------------------------------------------------------


def _sum(many: Iterable[Results]) -> Counter[str]:
    found: Counter[str] = Counter()
    for counted in many:
        found.update(counted)
    return found


def _judged(counted: Results) -> Counter[str]:
    """Without what says nothing."""
    return Counter({result: count for result, count in counted.items() if result == "ok" or side_of(result) is not None})


def _of(counted: Results, side: Side) -> Counter[str]:
    """What a side has failed with."""
    return Counter({result: count for result, count in counted.items() if side_of(result) == side})


def _grouped(counted: Mapping[Sent, Results], part: Literal["target", "feature"]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for sent, results in counted.items():
        found[getattr(sent, part)].update(_judged(results))
    return found


def _fails(failed: Counter[str], judged: Counter[str]) -> bool:
    """Rule 3, for one side's failures among all."""
    number = failed.total()
    return number >= FEW and number >= SHARE * judged.total()


def _listed(failed: Counter[str], judged: Counter[str]) -> str:
    """ "529 x14, timeout x2 of 20"."""
    said = ", ".join(f"{result} x{count:,}" for result, count in failed.most_common(3))
    return f"{said} of {judged.total():,}"


# -- causes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    name: str
    judged: Counter[str]
    """Of the minute; of five while it is left alone and the minute says too little."""
    span: str
    is_shut: bool


def _targets(seen: Seen) -> list[_Target]:
    minute, window = _grouped(seen.minute, "target"), _grouped(seen.window, "target")
    found = []
    for name in dict.fromkeys((*minute, *window, *seen.shut)):
        is_shut, now = name in seen.shut, minute.get(name, Counter())
        bad = now.total() - now["ok"]
        if is_shut and bad < FEW:
            found.append(_Target(name, window.get(name, Counter()), "in five minutes", is_shut))
        else:
            found.append(_Target(name, now, "in the last minute", is_shut))
    return found


def _causes(seen: Seen) -> list[_Cause]:
    targets = _targets(seen)
    unreached = [target for target in targets if _fails(_of(target.judged, "network"), target.judged)]
    asked = [target for target in targets if target.judged.total() >= FEW]
    causes: list[_Cause] = []
    if unreached and len(unreached) == len(asked):
        causes.append(_no_network(unreached, len(asked)))
        unreached = []
    well = [target.name for target in targets if target.judged.total() >= ENOUGH and not _is_sick(target)]
    for target in targets:
        causes += _of_target(seen, target, [name for name in well if name != target.name], is_unreached=target in unreached)
    return [*causes, *_of_features(seen)]


def _is_sick(target: _Target) -> bool:
    sides: tuple[Side, ...] = ("provider", "account", "network")
    return target.is_shut or any(_fails(_of(target.judged, side), target.judged) for side in sides)


def _no_network(unreached: list[_Target], asked: int) -> _Cause:
    failed = _sum(_of(target.judged, "network") for target in unreached)
    names = ", ".join(target.name for target in unreached[:4])
    doubt = "no other target is asked, so it may be the provider" if asked < 2 else f"to all {asked} targets that are asked"
    said = ", ".join(f"{kind} x{count:,}" for kind, count in failed.most_common())
    return _Cause(failed.total(), "network", f"connections fail to {names} ({said}): {doubt}")


def _said_of(target: _Target, failed: Counter[str], why: str | None = None) -> str:
    """`why`: what its breaker is not closed for. Then the share of all attempts says little: they went well until it opened,
    and nobody asks it since."""
    said = f"{target.name}: {_listed(failed, target.judged)} {target.span}"
    return said if not why else f"{target.name} is left alone: {why} ({_listed(failed, target.judged)} {target.span})"


def _of_target(seen: Seen, target: _Target, well: list[str], *, is_unreached: bool) -> list[_Cause]:
    """What is wrong with one target."""
    judged = target.judged
    account, broken = _of(judged, "account"), _of(judged, "provider")
    if is_unreached or broken:
        broken += _of(judged, "network")
    causes = []
    if _fails(broken, judged) or (target.is_shut and broken):
        others = f" while {', '.join(well[:3])} {'is' if len(well) == 1 else 'are'} well" if well else ""
        causes.append(_Cause(broken.total(), "provider", f"{_said_of(target, broken, seen.shut.get(target.name))}{others}"))
    hard = account.total() - sum(account[result] for result in _BY_CHANCE)
    if _fails(account, judged) or hard >= FEW or (target.is_shut and account):
        causes.append(_account_cause(seen, target, account))
    if target.is_shut and not causes:
        causes.append(_left_alone(target, seen.shut[target.name]))
    return causes


def _account_cause(seen: Seen, target: _Target, account: Counter[str]) -> _Cause:
    said = _said_of(target, account)
    limited = sum(account[result] for result in _BY_CHANCE)
    customer = seen.customer
    if limited and customer is not None and customer.of and customer.calls >= BIG_CUSTOMER * customer.of:
        said += f"; {customer.name} sends {_share(customer)} of the calls"
    return _Cause(account.total(), "account", said)


def _left_alone(target: _Target, why: str) -> _Cause:
    """A breaker that is not closed, without a failure in five minutes: what opened it says whose it was."""
    kind = why.partition(" ")[0]
    is_known = kind in _ACCOUNT or (len(kind) == 3 and kind.isdecimal())
    side: Side = (side_of(kind) if is_known else None) or "provider"
    return _Cause(0, side, f"{target.name} is left alone: {why or 'no reason told'}")


def _of_features(seen: Seen) -> list[_Cause]:
    """Rule 4: what we have sent wrong, by feature."""
    minute, window = _grouped(seen.minute, "feature"), _grouped(seen.window, "feature")
    causes = []
    for name in dict.fromkeys((*minute, *window)):
        judged = minute.get(name, Counter())
        own = _of(judged, "us")
        if _fails(own, judged):
            causes.append(_Cause(own.total(), "us", f"requests of {name}: {_listed(own, judged)} in the last minute"))
    return causes
