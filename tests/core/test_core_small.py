"""Keys, durations, prices, redaction."""

from __future__ import annotations

import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.calls import NAME_LIMIT, AttemptEnd, Facts
from console.core.durations import MAX_S, age, ago, parse_duration_s
from console.core.ids import uuid7, uuid7_floor
from console.core.prices import KINDS, Price, Prices, cost_usd, parse_prices
from console.core.redaction import REDACTED, clean_name, redact, redact_name
from console.store.configuration import load_prices

TIMES = st.integers(0, (1 << 48) * 1000 - 1)
BITS = st.integers(0, 2**74 - 1)


@given(TIMES, TIMES, BITS, BITS)
def test_keys_sort_by_time_whatever_their_random_bits(one: int, other: int, bits: int, more: int) -> None:
    early, late = sorted((one, other))
    if early != late:
        assert uuid7(early, bits) < uuid7(late, more)
    assert uuid7_floor(late) <= uuid7(late, more)
    if late // 1000 > early // 1000:
        assert uuid7(early, bits) < uuid7_floor(late)


@given(TIMES, BITS)
def test_a_key_is_a_uuid_of_version_seven_with_its_time(at_us: int, bits: int) -> None:
    key = UUID(uuid7(at_us, bits))
    assert (key.version, key.variant) == (7, "specified in RFC 4122")
    assert key.int >> 80 == at_us // 1000


@given(BITS, BITS)
def test_keys_of_one_moment_differ_by_their_random_bits(bits: int, more: int) -> None:
    assert (uuid7(5, bits) == uuid7(5, more)) == ((bits ^ more) & (2**62 - 1) == 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), (" 5M ", 300), ("1s", 1), ("3650d", MAX_S)],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: int) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "m", "-5m", "1.5h", "5 m", "1h 30m", "0s", "3651d", "99999999999s", "1y", "nan", "1e3s", "5m\n6", "5m;", "٣ m"],
)
def test_a_duration_that_nobody_meant_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a number and a unit|out of range"):
        parse_duration_s(text)


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds
    if total:
        assert parse_duration_s(f"{days}d{hours}h{minutes}m{seconds}s") == total


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 < parse_duration_s(text) <= MAX_S


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "now"), (0.9, "now"), (42.9, "42 s"), (60, "1 m"), (899, "14 m"), (7200, "2 h"), (90_000, "1 d")]
)
def test_an_age_is_rounded_to_one_unit(seconds: float, told: str) -> None:
    assert age(seconds) == told
    assert ago(seconds) == ("just now" if told == "now" else f"{told} ago")


# -- prices -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prices() -> Prices:
    return load_prices(None)


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("claude-fable-5-1", (10, 50, 0.25, 12.5, 20)),
        ("claude-opus-5-5", (4, 20, 0.2, 5, 8)),
        ("claude-opus-4-5", (5, 25, 0.5, 6.25, 10)),
        ("claude-sonnet-5-5", (2, 10, 0.1, 2.5, 4)),
        ("claude-sonnet-4-5", (3, 15, 0.3, 3.75, 6)),
        ("claude-haiku-5-5", (0.1, 0.5, 0.01, 0.125, 0.2)),
        ("claude-haiku-4-5", (1, 5, 0.1, 1.25, 2)),
    ],
)
def test_the_shipped_prices_are_those_of_the_list(prices: Prices, model: str, price: tuple[float, ...]) -> None:
    assert prices.price_of(model) == pytest.approx(price)


def test_a_long_prompt_has_its_own_price_where_the_model_has_one(prices: Prices) -> None:
    assert prices.price_of("claude-haiku-5-5", "long") == pytest.approx((0.5, 2.5, 0.05, 0.625, 1.0))
    assert prices.price_of("claude-sonnet-5-5", "long") == prices.price_of("claude-sonnet-5-5")


@pytest.mark.parametrize(
    "name", ["anthropic.claude-sonnet-4-5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", "global.anthropic.claude-sonnet-4-5"]
)  # fmt: skip
def test_another_providers_name_and_a_dated_snapshot_have_the_models_price(prices: Prices, name: str) -> None:
    assert prices.price_of(name) == prices.price_of("claude-sonnet-4-5")


@pytest.mark.parametrize("name", ["", "unknown", "claude-sonnet-9", "claude-sonnet-5-5-mini", "gpt-5", "anthropic."])
def test_an_unknown_model_has_no_price_rather_than_none_to_pay(prices: Prices, name: str) -> None:
    assert prices.price_of(name) is None


def test_the_cost_is_per_million_tokens_of_each_kind() -> None:
    assert cost_usd(Price(1, 2, 3, 4, 5), (1_000_000, 500_000, 0, 0, 200_000)) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="argument"):
        cost_usd(Price(1, 2, 3, 4, 5), (1, 2))


@pytest.mark.parametrize("value", ["x", None, -1, float("nan"), float("inf"), 1e9, []])
def test_a_price_that_is_none_is_refused_with_its_model(value: object) -> None:
    entry = dict.fromkeys(KINDS, 1.0) | {"output": value}
    with pytest.raises(ValueError, match="some-model"):
        parse_prices({"models": {"some-model": entry}})


@pytest.mark.parametrize("document", [None, [], {}, {"models": []}, {"models": {"m": 5}}, {"models": {"m": {"input": 1}}}])
def test_a_prices_file_of_another_form_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"prices|expected"):
        parse_prices(document)


# -- redaction --------------------------------------------------------------------------------------------------------

SECRETS = (
    "sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
    "AKIAABCDEFGHIJKLMNOP",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "xoxb-1234567890-abcdef",
    "AIzaabcdefghijklmnopqrstuvwxyz012345678901",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sflKxwRJSMeKKF2QT4",
    "Bearer abcdefghijklmnop1234",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\ncut off",
)


@pytest.mark.parametrize("secret", SECRETS)
@given(before=st.text(max_size=20), after=st.sampled_from(["", " tail", ",x", "\n"]))
def test_a_secret_is_taken_out_of_any_text(secret: str, before: str, after: str) -> None:
    assert secret not in redact(f"{before} {secret}{after}")
    assert REDACTED in redact(f"{before} {secret}{after}")


@pytest.mark.parametrize("text", ["support-reply", "acme", "task-manager", "a bearer of news", "eyJ", "sk-short"])
def test_an_ordinary_name_is_left_alone(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=NAME_LIMIT * 6))
def test_a_recorded_name_is_short_and_can_be_encoded(name: str) -> None:
    clean = redact_name(AttemptEnd(Facts(), 0, 0, "ok", "primary", name, error=name))
    for kept in (clean_name(name), clean.target, clean.error):
        assert kept is not None
        assert len(kept) <= NAME_LIMIT
        kept.encode()


@pytest.mark.parametrize(
    "name", ["task-classification-v2", "risk-assessment-summary", "helpdesk-ticket-summarizer", "desk-0123456789abcdef"]
)
def test_an_ordinary_name_is_kept_as_it_is(name: str) -> None:
    assert clean_name(name) == name
