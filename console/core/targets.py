"""Targets, chains and limits as values: where a call can go, in which order, and how long each may take. Pure; no clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from console.core.allowances import BudgetPolicy, CustomerPolicy, RatePolicy
from console.core.breaker import BreakerPolicy
from console.core.caching import CACHE_BYTES, CachePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.core.routes import Route

PATCHABLE: Final = frozenset(
    {"max_tokens", "thinking", "output_config", "speed", "temperature", "top_p", "top_k", "tool_choice", "service_tier"}
)
"""Parameters that a target may change: the SDK's own hop grammar (`BetaFallbackParam`), and those that one model accepts and
another refuses with a 400."""

OnBreak = Literal["continue", "error"]
OnKill = Literal["finish", "abort"]
Provider = Literal["anthropic", "bedrock", "bedrock-mantle", "vertex", "aws", "google-cloud", "foundry"]

EXTRAS: Final = MappingProxyType(
    {"bedrock": "bedrock", "bedrock-mantle": "bedrock", "vertex": "vertex", "aws": "aws", "google-cloud": "google-cloud"}
)
"""Which extra of this distribution brings a provider's libraries."""

PLACES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "anthropic": frozenset({"profile"}),
        "bedrock": frozenset({"region", "profile"}),
        "bedrock-mantle": frozenset({"region", "profile"}),
        "vertex": frozenset({"region", "project"}),
        "aws": frozenset({"region", "profile", "workspace"}),
        "google-cloud": frozenset({"region", "project", "workspace"}),
        "foundry": frozenset({"resource"}),
    }
)
"""What a provider's client can be told of where it goes. What it is not told it looks for in its environment."""

KEY_OF_CLIENT: Final = "client"
"""The `api_key` of a target with a `base_url` of its own that takes the key of the application's client."""


@dataclass(frozen=True, slots=True)
class Target:
    """One place a call can go. `params` is applied to the application's request, never on top of another target's."""

    name: str
    model: str
    provider: str = "anthropic"
    base_url: str | None = None
    """None: where the application's client sends, or the provider's own address."""
    api_key: str | None = None
    """A reference (env:NAME, file:PATH, client), never the secret. None: the client's own, which needs no `base_url`."""
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    is_configured: bool = True
    """False for a model that was only named: by the application, or by an operator's route."""
    region: str | None = None
    project: str | None = None
    workspace: str | None = None
    resource: str | None = None
    profile: str | None = None
    """Where a provider's own client goes, as its SDK client calls it. None: what that client finds in its environment."""

    @property
    def account(self) -> tuple[str | None, ...]:
        """What answers alike to a wrong or exhausted key."""
        return self.provider, self.base_url, self.api_key, self.project, self.workspace, self.resource, self.profile

    @property
    def has_place(self) -> bool:
        """Whether it says where it is, and so cannot be the application's own client's."""
        places = (self.base_url, self.api_key, self.region, self.project, self.workspace, self.resource, self.profile)
        return any(place is not None for place in places)


@dataclass(frozen=True, slots=True)
class LimitsPolicy:
    """Seconds; None: no limit. `answer`: a whole plain answer; `first_token`: until a stream's first content; `silence`:
    between two events of a stream; `thinking`: until the first content of a request that lets the model think (None:
    THINKING_TIMES first_token)."""

    answer: float | None = None
    first_token: float | None = None
    silence: float | None = None
    thinking: float | None = None

    @property
    def thinking_s(self) -> float | None:
        """How long a stream may show nothing while the model thinks or uses a tool, as long as it sends pings; None: ever."""
        if self.thinking is not None or self.first_token is None:
            return self.thinking
        return THINKING_TIMES * self.first_token


THINKING_TIMES: Final = 5
"""A model that thinks before it shows anything gets so much more time for its first content than one that does not."""
USUAL_TOKENS: Final = 8_192
"""Of a plain answer for which the limit of a feature is meant."""
LONGEST_S_PER_TOKEN: Final = 3600 / 128_000
"""How long a plain answer may take for each token that it may have: what the SDK itself reckons with (2.11,
`_calculate_nonstreaming_timeout`)."""


def answer_limit_s(limits: LimitsPolicy, max_tokens: object) -> float | None:
    """Seconds for a plain answer that may have `max_tokens`; None: no limit. `answer` holds up to USUAL_TOKENS and grows in
    proportion above: 64,000 tokens do not come in 120 s. Never to more than the SDK expects such an answer to take."""
    answer = limits.answer
    if answer is None or type(max_tokens) is not int or max_tokens <= USUAL_TOKENS:
        return answer
    return max(answer, min(answer * max_tokens / USUAL_TOKENS, LONGEST_S_PER_TOKEN * max_tokens))


def limits_for(limits: LimitsPolicy, body: object) -> LimitsPolicy:
    """A feature's limits for one request: more time for an answer that may be very long, and for one before which the model
    thinks. `limits` itself when nothing differs, which is nearly always."""
    if not isinstance(body, dict):
        return limits
    thinking, max_tokens = body.get("thinking"), body.get("max_tokens")
    thinks = isinstance(thinking, dict) and thinking.get("type") != "disabled"
    is_usual = limits.answer is None or type(max_tokens) is not int or max_tokens <= USUAL_TOKENS
    return limits if is_usual and not thinks else _limits_for(limits, thinks, 0 if is_usual else max_tokens)


@lru_cache(maxsize=256)
def _limits_for(limits: LimitsPolicy, thinks: bool, max_tokens: object) -> LimitsPolicy:
    return replace(
        limits,
        answer=answer_limit_s(limits, max_tokens),
        first_token=limits.thinking_s if thinks else limits.first_token,
        thinking=limits.thinking_s,
    )


CHAIN_LIMITS: Final = LimitsPolicy(answer=300.0, first_token=60.0, silence=60.0)
"""Of a feature that has a chain and says nothing about limits: without any, a silent target would hold every call for the
ten minutes of the SDK's own limit. Generous, because a long answer that is cut is paid for twice; who knows their own answers
writes shorter ones."""


@dataclass(frozen=True, slots=True)
class FeaturePolicy:
    """What a feature's configuration says about its calls. `chain` None: they go wherever the application sends them."""

    chain: tuple[str, ...] | None = None
    limits: LimitsPolicy = LimitsPolicy()
    on_break: OnBreak | None = None
    """What becomes of a stream that breaks after its first content. None: it goes on where there is a chain; without one it is
    passed on as it is."""
    on_kill: OnKill = "finish"
    cache: CachePolicy | None = None
    rate: RatePolicy | None = None
    budget: BudgetPolicy | None = None
    max_tokens: int | None = None
    """The most that a request may ask for."""
    max_input_chars: int | None = None
    """The most text that a request may carry."""

    @property
    def is_limited(self) -> bool:
        """Whether a call can be refused for what it asks, or for how much was asked before."""
        asked = self.max_tokens is not None or self.max_input_chars is not None
        return asked or self.rate is not None or self.budget is not None


@dataclass(frozen=True, slots=True)
class Routing:
    """Everything that the configuration says about where calls go."""

    targets: Mapping[str, Target] = field(default_factory=lambda: MappingProxyType({}))
    default: FeaturePolicy = FeaturePolicy()
    features: Mapping[str, FeaturePolicy] = field(default_factory=lambda: MappingProxyType({}))
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    shares_breakers: bool = True
    """Whether the processes of a host tell each other that a target is out."""
    exercises_fallbacks: bool = True
    """Whether a target that has not answered for a day is tried with a call, so that an outage is not its first use."""
    budget: BudgetPolicy | None = None
    """Of everything together."""
    customers: CustomerPolicy = field(default_factory=CustomerPolicy)
    cache_bytes: int = CACHE_BYTES
    """Of all answers that a process keeps."""

    def policy_of(self, feature: str) -> FeaturePolicy:
        """The feature's own policy, or the one that every feature inherits."""
        return self.features.get(feature, self.default)

    def target_named(self, name: str) -> Target | None:
        """The target of that name, or a Claude model by its id on the application's own client; None for anything else."""
        known = self.targets.get(name)
        if known is None and name.startswith("claude-"):
            return Target(name, name, is_configured=False)
        return known

    def chain_of(self, feature: str, route: Route | None) -> tuple[Target, ...] | None:
        """The targets that a feature's calls try in order; None when nothing decides it and the application does.

        A target that this process does not know is left out; a route of which none is known changes nothing.
        """
        if route is not None:
            routed = self._known(route.targets)
            if routed:
                return routed
        chain = self.policy_of(feature).chain
        return self._known(chain) if chain is not None else None

    def _known(self, names: tuple[str, ...]) -> tuple[Target, ...]:
        found = (self.target_named(name) for name in names)
        return tuple(target for target in found if target is not None)


def model_at(provider: str, model: str) -> str:
    """What a provider calls a model: as it is written, except that a first-party id gets Bedrock's prefix where it is missing
    (a region's in front of it, `us.` or `global.`, only when it is written)."""
    return f"anthropic.{model}" if provider in ("bedrock", "bedrock-mantle") and model.startswith("claude-") else model


def patched(body: Mapping[str, Any], target: Target) -> Mapping[str, Any]:
    """The body for a target: its model, and its parameters after the SDK's hop grammar. A value overrides, None takes the
    parameter away (except `max_tokens`, which every request needs), `output_config` is merged one level deep and taken away
    when nothing of it is left. The body itself is not changed, and returned as it is when nothing differs."""
    changes: dict[str, Any] = {}
    if body.get("model") != target.model:
        changes["model"] = target.model
    gone = set()
    for name, value in target.params.items():
        if value is None:
            if name != "max_tokens" and name in body:
                gone.add(name)
        elif name == "output_config" and isinstance(value, dict):
            own = body.get(name)
            merged = {**(own if isinstance(own, dict) else {}), **value}
            left = {key: part for key, part in merged.items() if part is not None}
            if not left:
                gone.add(name)
            elif left != own:
                changes[name] = left
        elif body.get(name) != value:
            changes[name] = value
    if not changes and gone.isdisjoint(body):
        return body
    return {name: value for name, value in {**body, **changes}.items() if name not in gone}
