"""Health as values: what a probe of a target has found, what that means for the features, and for all of it. Pure; no clock.

A probe counts the tokens of one word (`messages.count_tokens`), which costs nothing. It tells that the address, the key and the
model are good at this moment; it does not tell that a long answer would come.

    target    healthy     it has answered in time
              degraded    it has answered late, is at its rate limit, or is only being tried again by its breaker
              down        it has not answered, has refused the key or the model, or is left alone by its breaker
              unknown     nothing could be asked: no credentials here, no free probe at this provider
              off         a kill switch stops its model
    feature   healthy     the first of its targets is, or every one that could be asked
              degraded    another target is
              down        none is
              unknown     none is known to be
              off         a kill switch stops it: an operator's doing is no failure
    all       down when a feature is, unknown when that is all that is known of a feature or a target lacks credentials,
              degraded when anything else is not healthy, else healthy

A target without a free probe is no reason against the whole as long as its features have others.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from console.core.targets import LimitsPolicy, Routing, Target

Verdict = Literal["healthy", "degraded", "down", "unknown", "off"]

SLOW_S: Final = 5.0
"""An answer to a probe that takes longer is late, where no limit says what late is."""
NO_PROBE: Final = "no_probe"
NO_CREDENTIALS: Final = "no_credentials"
UNUSABLE: Final = "unusable"
"""The application itself cannot ask the target."""
DEFAULT_MODEL: Final = "claude-sonnet-5-5"
"""Asked for where neither a configuration nor traffic names a model."""

HINTS: Final[Mapping[str, str]] = {
    "authentication_error": "the API refuses the key: is it the right one, and has it been revoked?",
    "billing_error": "credit or a spend limit is used up: raise it on the provider's billing page",
    "permission_error": "the key may not use this model, or not from here",
    "not_found_error": "the model is retired or misspelt, or the address is no API",
    "rate_limit_error": "the account's own limit; calls wait or go elsewhere until it resets",
    "overloaded_error": "the provider has more requests than it can answer; its status page may say more",
    "api_error": "a failure at the provider; its status page may say more",
    "timeout_error": "a failure at the provider; its status page may say more",
    "timeout": "nothing came back in time: the provider, or a proxy or firewall on the way",
    "connection": "no connection could be made: name resolution, proxy, firewall or TLS of this host",
    "reset": "the connection was there and broke: a proxy on the way, or the provider",
    "invalid_request_error": "the API is there and refuses the question itself; see what it says about the model",
    NO_CREDENTIALS: "the applications may have what this host's environment lacks: run it where they run, as they run",
    NO_PROBE: "ask the application, or wait for a call",
    UNUSABLE: "see the note in `console status`",
}
_ALIVE: Final = frozenset({"rate_limit_error"})
_REFUSED: Final = frozenset({"invalid_request_error", "request_too_large"})


class Asked(NamedTuple):
    """What one probe has found. `kind`: None for an answer, else the API's `error.type`, a failure without an answer as the
    records call it, NO_PROBE, NO_CREDENTIALS or UNUSABLE. `said`: more of it, for people."""

    kind: str | None = None
    status: int | None = None
    latency_ms: float | None = None
    request_id: str | None = None
    said: str | None = None


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """One target. `kind`, `status`, `latency_ms` and `request_id` are the probe's."""

    target: str
    model: str
    provider: str
    verdict: Verdict
    reason: str
    kind: str | None = None
    status: int | None = None
    latency_ms: float | None = None
    request_id: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class FeatureHealth:
    """One feature, and the targets that its calls try, in order."""

    feature: str
    verdict: Verdict
    reason: str
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """Everything. `at_us`: when the oldest of the probes was made, UTC microseconds."""

    verdict: Verdict
    reason: str
    at_us: int
    targets: tuple[TargetHealth, ...] = ()
    features: tuple[FeatureHealth, ...] = field(default=())

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong, as far as it is known."""
        return self.verdict == "healthy"

    @property
    def is_serving(self) -> bool:
        """Whether no feature is known to be without a target that answers: what a load balancer wants to know."""
        return self.verdict != "down"

    def to_json(self) -> dict[str, Any]:
        """As plain values, for `json.dumps`."""
        at = datetime.fromtimestamp(self.at_us / 1_000_000, UTC).isoformat(timespec="milliseconds")
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "at": at,
            "targets": [asdict(one) for one in self.targets],
            "features": [{**asdict(one), "chain": list(one.chain)} for one in self.features],
        }


def health_from_json(document: Any) -> Health:
    """What `to_json` has made. Raises ValueError, KeyError or TypeError for anything else."""
    at = datetime.fromisoformat(document["at"])
    if at.tzinfo is None or document["verdict"] not in get_args(Verdict):
        raise ValueError("not the health of anything")
    return Health(
        document["verdict"],
        str(document["reason"]),
        round(at.timestamp() * 1_000_000),
        tuple(TargetHealth(**one) for one in document["targets"]),
        tuple(FeatureHealth(**{**one, "chain": tuple(one["chain"])}) for one in document["features"]),
    )


def own_target(model: str) -> Target:
    """Where calls go that no chain decides about: the application's own client, with a model that is named like the target."""
    from console.core.targets import Target  # noqa: PLC0415 -- whoever only reads a health needs no targets

    return Target(model, model, is_configured=False)


def questions(
    routing: Routing, chains: Mapping[str, Sequence[Target] | None], model: str
) -> tuple[dict[str, Target], dict[str, tuple[str, ...]]]:
    """The targets to ask by name, and the chain of every feature. `chains`: None for a feature whose calls go where the
    application sends them; then `model` is asked for there."""
    asked = dict(routing.targets)
    tried: dict[str, tuple[str, ...]] = {}
    for feature, chain in chains.items():
        targets = tuple(chain) if chain is not None else (own_target(model),)
        for target in targets:
            asked.setdefault(target.name, target)
        tried[feature] = tuple(target.name for target in targets)
    return asked, tried


def slow_s(limits: Sequence[LimitsPolicy]) -> float:
    """An answer to a probe is late after half of what the strictest feature allows for its first content."""
    first = [one.first_token for one in limits if one.first_token is not None]
    return min([SLOW_S, *(limit / 2 for limit in first)])


def judged(
    target: Target, asked: Asked, late_s: float, breaker: tuple[str, str | None] | None = None, killed: str | None = None
) -> TargetHealth:
    """The target's health. `breaker`: its state in this process and why; `killed`: what stops its model.

    An open breaker of a target that answers the probe is no reason to call it down: only a call can close it, and who reads
    "down" sends none.
    """
    verdict, reason = _of_probe(asked, late_s)
    if breaker is not None and breaker[0] == "forced_open" and verdict != "unknown":
        verdict, reason = "down", f"an operator holds its breaker open: {breaker[1] or 'no reason told'}; the probe: {reason}"
    elif breaker is not None and breaker[0] == "open" and verdict != "unknown":
        verdict = "degraded" if verdict == "healthy" else verdict
        reason = f"its breaker is open until a call has gone well: {breaker[1] or 'no reason told'}; the probe: {reason}"
    elif breaker is not None and breaker[0] == "half_open" and verdict == "healthy":
        verdict, reason = "degraded", f"its breaker is trying it again: {breaker[1] or 'no reason told'}; the probe: {reason}"
    if killed is not None:
        verdict, reason = "off", f"stopped by the kill switch {killed}; the probe: {reason}"
    hint = None if asked.kind is None else HINTS.get(asked.kind)
    return TargetHealth(target.name, target.model, target.provider, verdict, reason, *asked[:4], hint)


def _of_probe(asked: Asked, late_s: float) -> tuple[Verdict, str]:
    if asked.kind is None:
        took_s = (asked.latency_ms or 0.0) / 1000
        if took_s > late_s:
            return "degraded", f"answered after {took_s:.1f} s; more than {late_s:g} s is late"
        return "healthy", "answered"
    status = "" if asked.status is None else f" {asked.status}"
    reason = f"{asked.kind}{status}" + (f": {asked.said}" if asked.said else "")
    if asked.kind in (NO_PROBE, NO_CREDENTIALS):
        return "unknown", asked.said or asked.kind
    if asked.kind == UNUSABLE:
        return "down", asked.said or asked.kind
    if asked.kind in _REFUSED:
        return "unknown", f"the question was refused: {reason}"
    return ("degraded" if asked.kind in _ALIVE else "down"), reason


def weighed(
    targets: Sequence[TargetHealth], chains: Mapping[str, tuple[str, ...]], off: Mapping[str, str], at_us: int
) -> Health:
    """The health of everything. `off`: feature -> the kill switch that stops it."""
    by_name = {one.target: one for one in targets}
    features = tuple(_feature(name, chain, by_name, off.get(name)) for name, chain in chains.items())
    verdict, reason = _overall(targets, features)
    return Health(verdict, reason, at_us, tuple(targets), features)


def _feature(name: str, chain: tuple[str, ...], by_name: Mapping[str, TargetHealth], killed: str | None) -> FeatureHealth:
    if killed is not None:
        return FeatureHealth(name, "off", f"stopped by the kill switch {killed}", chain)
    targets = [by_name[target] for target in chain if target in by_name]
    on = [one for one in targets if one.verdict != "off"]
    if targets and not on:
        return FeatureHealth(name, "off", "kill switches stop the model of every target", chain)
    verdict, reason = _of_chain(on)
    return FeatureHealth(name, verdict, reason, chain)


def _of_chain(on: Sequence[TargetHealth]) -> tuple[Verdict, str]:
    served = next((one for one in on if one.verdict in ("healthy", "degraded")), None)
    if served is None:
        unknown = next((one for one in on if one.verdict == "unknown"), None)
        if unknown is not None or not on:
            return "unknown", "no target could be asked" if unknown is None else f"{unknown.target}: {unknown.reason}"
        return "down", "; ".join(f"{one.target}: {one.reason}" for one in on)
    before = on[: on.index(served)]
    bad = next((one for one in before if one.verdict == "down"), None)
    if served.verdict == "healthy" and bad is None:
        return "healthy", f"{served.target} answers"
    why = served if bad is None else bad
    return "degraded", f"{why.target}: {why.reason}; {served.target} answers"


def _overall(targets: Sequence[TargetHealth], features: Sequence[FeatureHealth]) -> tuple[Verdict, str]:
    on = [one for one in features if one.verdict != "off"]
    for one in on:
        if one.verdict == "down":
            return "down", f"{one.feature} has no target that answers: {one.reason}"
    for one in on:
        if one.verdict == "unknown":
            return "unknown", f"{one.feature}: nobody knows whether it has a target that answers: {one.reason}"
    for target in targets:
        if target.verdict == "unknown" and target.kind != NO_PROBE:
            return "unknown", f"{target.target}: {target.reason}"
    wrong = [one for one in targets if one.verdict in ("down", "degraded")]
    if wrong:
        said = "; ".join(f"{one.target}: {one.reason}" for one in wrong)
        return "degraded", f"{said}; every feature that is on has a target that answers"
    if features and not on:
        return "healthy", "every feature is stopped by a kill switch; the targets answer"
    unasked = [one.target for one in targets if one.kind == NO_PROBE]
    return "healthy", "every target answers" + (f", except {', '.join(unasked)}, which cannot be asked" if unasked else "")
