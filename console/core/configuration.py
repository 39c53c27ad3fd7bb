"""The configuration as values: what a file may say, and every mistake in it at once with its position. Pure.

A key that this version does not act upon is refused: silence would look like obedience.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from console.core.allowances import BudgetPolicy, CustomerPolicy, OnExceed, RatePolicy
from console.core.breaker import BreakerPolicy
from console.core.caching import CACHE_BYTES, CacheMode, CachePolicy
from console.core.durations import parse_duration_s
from console.core.strict_yaml import Document, read_yaml, typed
from console.core.targets import (
    CHAIN_LIMITS,
    KEY_OF_CLIENT,
    PATCHABLE,
    PLACES,
    FeaturePolicy,
    LimitsPolicy,
    OnBreak,
    OnKill,
    Provider,
    Routing,
    Target,
)
from console.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator


def _seconds(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("write a duration such as 90s, 30m, 12h or 2d")
    return parse_duration_s(value)


def _flag(value: object) -> bool:
    if value not in ("true", "false", True, False):
        raise ValueError("write true or false")
    return value in ("true", True)


Seconds = Annotated[int, BeforeValidator(_seconds)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Model = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$")]
BaseURL = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(?:/[A-Za-z0-9._~/-]*)?$", max_length=500)]
KeyReference = Annotated[str, StringConstraints(pattern=r"^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:.+|client)$", max_length=500)]
Place = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$")]
StatusPage = Annotated[
    str,
    StringConstraints(
        pattern=r"^(?:off|https://[A-Za-z0-9.:\[\]_-]+(?:/[A-Za-z0-9._~/-]*)?"
        r"|http://(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?)$",
        max_length=500,
    ),
]
Share = Annotated[float, Field(gt=0, le=1)]
Dollars = Annotated[float, Field(ge=0, le=1e9)]
Flag = Annotated[bool, BeforeValidator(_flag)]
DEFAULT_NAME: Final = "default"
MAX_CHAIN: Final = 10
MONTH_S: Final = 31 * 86400
"""The longest."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class TargetConfig(_Part):
    """A model at a provider."""

    provider: Provider = "anthropic"
    model: Model
    region: Place | None = None
    project: Place | None = None
    workspace: Place | None = None
    resource: Place | None = None
    profile: Place | None = None
    base_url: BaseURL | None = None
    api_key: KeyReference | None = None
    """Where the key is: env:NAME, file:PATH, or `client` for the key of the application's client."""
    params: dict[str, Any] = Field(default_factory=dict)

    @field_validator("params", mode="before")
    @classmethod
    def _patches(cls, value: object) -> object:
        """Numbers and truth values are meant as such here: they go into the request."""
        found = typed(value)  # type: ignore[arg-type]
        if not isinstance(found, dict):
            raise ValueError("write parameters and their values, null to take one away")
        unknown = sorted(set(found) - PATCHABLE)
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: a target can change {', '.join(sorted(PATCHABLE))}")
        return found

    @model_validator(mode="after")
    def _keyed(self) -> TargetConfig:
        if self.provider == "anthropic" and self.base_url is not None and self.api_key is None and self.profile is None:
            raise ValueError(
                "a target with a base_url of its own says whose key it gets: api_key: env:NAME, file:PATH, or client for the "
                "key of the application's client"
            )
        return self

    @model_validator(mode="after")
    def _placed(self) -> TargetConfig:
        """What the provider's own client would refuse, or never look at."""
        known = PLACES[self.provider]
        given = {name for name in ("region", "project", "workspace", "resource", "profile") if getattr(self, name) is not None}
        if given - known:
            raise ValueError(f"{', '.join(sorted(given - known))}: {self.provider} takes {', '.join(sorted(known))}")
        if self.provider != "anthropic" and self.api_key == KEY_OF_CLIENT:
            raise ValueError("api_key: client is for provider anthropic; other providers take env:NAME, file:PATH or nothing")
        if self.profile is not None and self.api_key is not None:
            raise ValueError("profile and api_key are two ways to sign: write one of them")
        if self.resource is not None and self.base_url is not None:
            raise ValueError("resource and base_url say the same: write one of them")
        return self


class LimitsConfig(_Part):
    """How long an answer may take."""

    answer: Seconds | None = None
    first_token: Seconds | None = None
    silence: Seconds | None = None
    thinking: Seconds | None = None


class BreakerConfig(_Part):
    """When a target is left alone: `core.breaker.BreakerPolicy`."""

    window: Seconds = 30
    minimum_calls: Annotated[int, Field(ge=1, le=100_000)] = 10
    failure_rate: Share = 0.5
    slow_rate: Share = 0.8
    consecutive: Annotated[int, Field(ge=1, le=1_000)] = 3
    dwell: Seconds = 10
    max_dwell: Seconds = 900
    ramp: Seconds = 10
    shared: Flag = True
    exercise: Flag = True

    @model_validator(mode="after")
    def _ordered(self) -> BreakerConfig:
        if self.max_dwell < self.dwell:
            raise ValueError("max_dwell is shorter than dwell")
        return self


class CacheConfig(_Part):
    """Which answers are kept to be given again."""

    mode: CacheMode = "off"
    ttl: Seconds = 3600
    stale: Seconds = 86400

    @model_validator(mode="after")
    def _ordered(self) -> CacheConfig:
        if self.stale < self.ttl:
            raise ValueError("stale is shorter than ttl")
        return self


class RateConfig(_Part):
    """How much may be asked for in a minute."""

    requests_per_minute: Annotated[float, Field(gt=0, le=1e9)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0, le=1e12)] | None = None
    on_exceed: OnExceed = "block"


class BudgetedConfig(_Part):
    """A part of the configuration that can have a budget."""

    budget_usd_per_day: Dollars | None = None
    budget_usd_per_month: Dollars | None = None
    on_exceed: OnExceed = "alert"

    def budget(self) -> BudgetPolicy | None:
        """As a value; None: there is none."""
        if self.budget_usd_per_day is None and self.budget_usd_per_month is None:
            return None
        return BudgetPolicy(self.budget_usd_per_day, self.budget_usd_per_month, self.on_exceed)


class CustomerConfig(BudgetedConfig):
    """What a customer may use."""

    rate: RateConfig | None = None

    def policy(self) -> CustomerPolicy:
        """As a value."""
        return CustomerPolicy(_rate(self.rate), self.budget())


class CustomersConfig(CustomerConfig):
    """What each customer may use."""

    named: dict[Text, CustomerConfig] = Field(default_factory=dict)


class FeatureConfig(BudgetedConfig):
    """What one feature does differently from the application's own code; `default` is what every feature inherits, except
    for the defined text, which a classifier would take for a label."""

    degraded: Text | None = None
    """The defined text that is served when a kill switch stops the feature, or every target of its chain has failed; without it
    an error is raised."""
    chain: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_CHAIN)] | None = None
    """Targets in order. Without any the application's own model is asked, and retries stay the SDK's."""
    limits: LimitsConfig | None = None
    on_break: OnBreak | None = None
    on_kill: OnKill | None = None
    cache: CacheConfig | None = None
    rate: RateConfig | None = None
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    max_input_chars: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None


class RetentionConfig(_Part):
    """How long telemetry is kept, in seconds."""

    calls: Seconds = 2 * 86400
    rollups: Seconds = 400 * 86400


class Configuration(BudgetedConfig):
    """Everything a `console.yaml` may say. The defaults are those of an installation without a file."""

    environment: Name = "development"
    service: Name | None = None
    data: Text | None = None
    kill_directories: tuple[Text, ...] = ()
    prompts: Text | None = None
    targets: dict[Name, TargetConfig] = Field(default_factory=dict)
    features: dict[Name, FeatureConfig] = Field(default_factory=dict)
    customers: CustomersConfig = CustomersConfig()
    breaker: BreakerConfig = BreakerConfig()
    cache_megabytes: Annotated[int, Field(ge=1, le=100_000)] = CACHE_BYTES // 1024**2
    status_page: StatusPage = "https://status.claude.com"
    """Where the console asks how the provider says it is; "off": nowhere."""
    retention: RetentionConfig = RetentionConfig()
    prices: Text | None = None

    def routing(self) -> Routing:
        """Where calls go, as values."""
        inherited = self.features.get(DEFAULT_NAME, FeatureConfig())
        policies = {name: _policy(part, inherited) for name, part in self.features.items()}
        targets = {
            name: Target(
                name,
                part.model,
                part.provider,
                part.base_url,
                part.api_key,
                MappingProxyType(part.params),
                region=part.region,
                project=part.project,
                workspace=part.workspace,
                resource=part.resource,
                profile=part.profile,
            )
            for name, part in self.targets.items()
        }
        return Routing(
            targets=MappingProxyType(targets),
            default=_policy(inherited, inherited),
            features=MappingProxyType(policies),
            breaker=BreakerPolicy(**self.breaker.model_dump(exclude={"shared", "exercise"})),
            shares_breakers=self.breaker.shared,
            exercises_fallbacks=self.breaker.exercise,
            budget=self.budget(),
            customers=replace(
                self.customers.policy(),
                named=MappingProxyType(
                    {
                        name: CustomerPolicy(_rate(part.rate), _budget(part, self.customers))
                        for name, part in self.customers.named.items()
                    }
                ),
            ),
            cache_bytes=self.cache_megabytes * 1024**2,
        )


def _policy(part: FeatureConfig, inherited: FeatureConfig) -> FeaturePolicy:
    """What a feature's own part says, else what every feature inherits. The amounts of a budget are inherited together."""

    def said(name: str) -> Any:
        own = getattr(part, name)
        return own if own is not None else getattr(inherited, name)

    chain, limits, cache = said("chain"), said("limits"), said("cache")
    if limits is None:
        limits_policy = CHAIN_LIMITS if chain is not None else LimitsPolicy()
    else:
        limits_policy = LimitsPolicy(limits.answer, limits.first_token, limits.silence, limits.thinking)
    return FeaturePolicy(
        chain,
        limits_policy,
        on_break=said("on_break"),
        on_kill=said("on_kill") or "finish",
        cache=None if cache is None or cache.mode == "off" else CachePolicy(cache.mode, cache.ttl, cache.stale),
        rate=_rate(said("rate")),
        budget=_budget(part, inherited),
        max_tokens=said("max_tokens"),
        max_input_chars=said("max_input_chars"),
    )


def _budget(part: BudgetedConfig, inherited: BudgetedConfig) -> BudgetPolicy | None:
    """The amounts of a part, else those that it inherits; what happens beyond them is said by the part, else inherited too."""
    budget = part.budget() or inherited.budget()
    said = part if "on_exceed" in part.model_fields_set else inherited
    return None if budget is None else replace(budget, on_exceed=said.on_exceed)


def _rate(part: RateConfig | None) -> RatePolicy | None:
    return None if part is None else RatePolicy(part.requests_per_minute, part.tokens_per_minute, part.on_exceed)


DEFAULT: Final = Configuration()


def parse_configuration(text: str, file: str) -> Configuration:
    """The configuration in `text`. Raises ConfigError with every mistake, each as file:line:column."""
    document = read_yaml(text, file)
    if document.mistakes:
        raise ConfigError(tuple(document.mistakes))
    if not isinstance(document.value, dict):
        raise ConfigError((Mistake(file, 1, 1, "a configuration is a mapping of keys to values"),))
    try:
        parsed = Configuration.model_validate({key: value for key, value in document.value.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_mistakes(document, error)) from None
    if wrong := (*_unknown_targets(document, parsed), *_forgotten_months(document, parsed)):
        raise ConfigError(wrong)
    return parsed


def _unknown_targets(document: Document, parsed: Configuration) -> Iterator[Mistake]:
    """Chains name targets, or Claude models by their ids."""
    for feature, part in parsed.features.items():
        for index, name in enumerate(part.chain or ()):
            path = ("features", feature, "chain", index)
            if name not in parsed.targets and not name.startswith("claude-"):
                known = ", ".join(sorted(parsed.targets)) or "none is defined"
                yield document.mistake(path, f"features.{feature}.chain: no target {name!r} (targets: {known})")
            elif name in (part.chain or ())[:index]:
                yield document.mistake(path, f"features.{feature}.chain: {name} stands there twice")


_WORDS: Final = {
    "extra_forbidden": "unknown key",
    "tuple_type": "write a list, such as [sonnet, haiku]",
    "too_short": "an empty list says nothing; leave the key away",
    "model_type": "write a mapping of keys to values",
    "dict_type": "write a mapping of names to values",
}
"""What pydantic says of Python's types, for who writes YAML."""


def _forgotten_months(document: Document, parsed: Configuration) -> Iterator[Mistake]:
    """What a month has cost is known from the rollups: a process that starts would not know of the days that are gone."""
    budgeted: dict[str, BudgetedConfig] = {"": parsed, "customers.": parsed.customers}
    budgeted |= {f"features.{name}.": part for name, part in parsed.features.items()}
    budgeted |= {f"customers.named.{name}.": part for name, part in parsed.customers.named.items()}
    found = next((name for name, part in budgeted.items() if part.budget_usd_per_month is not None), None)
    if found is not None and parsed.retention.rollups < MONTH_S:
        told = f"shorter than 31d, so that {found}budget_usd_per_month would forget a month's first days at every restart"
        yield document.mistake(("retention", "rollups"), f"retention.rollups: {told}")


def _mistakes(document: Document, error: ValidationError) -> tuple[Mistake, ...]:
    found = []
    for problem in error.errors(include_url=False, include_context=False):
        path = tuple(part for part in problem["loc"] if part != "[key]")
        name = ".".join(str(part) for part in path)
        message = problem["msg"].removeprefix("Value error, ")
        message = _WORDS.get(problem["type"], message)
        found.append(document.mistake(path, f"{name}: {message}"))
    return tuple(sorted(found, key=lambda mistake: (mistake.line, mistake.column)))
