"""YAML read strictly, and the configuration's mistakes with their places."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.core.configuration import DEFAULT, parse_configuration
from console.core.strict_yaml import MAX_CHARS, MAX_DEPTH, read_yaml, typed
from console.errors import ConfigError


def mistakes(text: str) -> list[str]:
    return [str(mistake) for mistake in read_yaml(text, "f.yaml").mistakes]


@pytest.mark.parametrize(
    "written",
    [
        "1.10",
        "no",
        "on",
        "Yes",
        "010",
        "0x1f",
        "1_000",
        "1e3",
        ".inf",
        "12:30:45",
        "2026-11-21",
        "true",
        "=",
        "<<",
        "off",
        "0o7",
        "+1",
    ],
)
def test_a_plain_scalar_stays_the_text_that_was_written(written: str) -> None:
    document = read_yaml(f"version: {written}\nlist: [{written}]\n", "f.yaml")
    assert document.mistakes == []
    assert document.value == {"version": written, "list": [written]}


@pytest.mark.parametrize("written", ["", "~", "null", "Null", "NULL"])
def test_only_nothing_is_none(written: str) -> None:
    assert read_yaml(f"key: {written}\nquoted: '{written}'\n", "f.yaml").value == {"key": None, "quoted": written}


def test_keys_are_text_as_well() -> None:
    assert read_yaml("no: a\n010: b\n1.10: c\n", "f.yaml").value == {"no": "a", "010": "b", "1.10": "c"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: the key 'a' stands twice"),
        ("a:\n  x: 1\n  x: 2\n", "f.yaml:3:3: the key 'x' stands twice"),
        ("a: &x 1\n", "f.yaml:1:4: anchors and aliases"),
        ("a: 1\nb: *x\n", "f.yaml:2:4: not YAML"),
        ("a: {b: [1, 2}\n", "f.yaml:1:13: not YAML"),
        ("a: 1\n\tb: 2\n", "f.yaml:2:1: not YAML"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: not YAML"),
        ("? [a]\n: 1\n", "f.yaml:1:1: a key must be plain text"),
        ("a: \x00\n", "f.yaml: not YAML"),
        ("a: !!int '8'\n", "f.yaml:1:4: tags"),
        ("a: !secret x\n", "f.yaml:1:4: tags"),
        ("a: !!python/object/apply:os.system [id]\n", "f.yaml:1:4: tags"),
        ("a: !!python/object:os.system {x: 1}\n", "f.yaml:1:4: tags"),
        ("a: !!set {x, y}\n", "f.yaml:1:4: tags"),
        ("a: !!binary aGk=\n", "f.yaml:1:4: tags"),
        ("!!str a: 1\n", "f.yaml:1:1: tags"),
    ],
)
def test_what_could_be_misread_is_refused_with_its_place(text: str, place: str) -> None:
    assert [said[: len(place)] for said in mistakes(text)] == [place]


def test_e7_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    begun = time.monotonic()
    found = mistakes("\n".join(lines))
    assert time.monotonic() - begun < 1
    assert found[0].startswith("f.yaml:1:5: anchors and aliases")


def test_e7_depth_and_size_have_a_limit() -> None:
    assert mistakes("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
    assert "nested deeper" in mistakes("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2))[0]
    assert mistakes("[" * 100_000)[0].startswith("f.yaml")
    assert "larger than" in mistakes("a: " + "x" * MAX_CHARS)[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping_or_nothing(text: str) -> None:
    document = read_yaml(text, "f.yaml")
    assert document.mistakes == []
    assert document.value in ({}, None)


@given(st.text(max_size=60) | st.text("abc:-[]{}&*!'\"\n ,#|>", max_size=60))
def test_any_text_is_read_or_refused_but_never_raises(text: str) -> None:
    document = read_yaml(text, "f.yaml")
    assert all(mistake.message for mistake in document.mistakes)


@given(st.recursive(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text("abc", min_size=1), c, max_size=3), max_leaves=8))  # fmt: skip
def test_what_json_says_is_what_is_read(value: object) -> None:
    import json

    assert read_yaml(json.dumps(value, ensure_ascii=False), "f.yaml").value == value


def test_numbers_are_numbers_only_where_they_are_asked_for() -> None:
    value = read_yaml("{a: 1, b: 1.50, c: 010, d: true, e: [no, -3], f: 1e5, g: '2'}", "f.yaml").value
    assert typed(value) == {"a": 1, "b": 1.5, "c": "010", "d": True, "e": ["no", -3], "f": "1e5", "g": 2}


# -- configuration ----------------------------------------------------------------------------------------------------


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_configuration(text, "console.yaml")
    return str(caught.value).splitlines()


def test_an_empty_configuration_is_the_default() -> None:
    assert parse_configuration("", "console.yaml") == DEFAULT
    assert parse_configuration("environment:\nfeatures:\n", "console.yaml") == DEFAULT


def test_a_configuration_is_read() -> None:
    text = """
environment: production
data: /var/lib/console
kill_directories: [/run/a, b]
features:
  support-reply: {degraded: "no"}
  classify: {}
retention: {calls: 12h, rollups: 30d}
"""
    read = parse_configuration(text, "console.yaml")
    assert (read.environment, read.data, read.kill_directories) == ("production", "/var/lib/console", ("/run/a", "b"))
    assert {name: part.degraded for name, part in read.features.items()} == {"support-reply": "no", "classify": None}
    assert (read.retention.calls, read.retention.rollups) == (43_200, 2_592_000)


def test_every_mistake_is_told_at_once_each_with_its_line_and_column() -> None:
    text = """environment: "pro duction"
colour: blue
features:
  support-reply:
    degraded: ""
    retries: 3
  "bad name": {}
retention:
  calls: 5
  rollups: 1y
kill_directories:
  - /a
  - ""
"""
    found = refused(text)
    assert [line.split(": ")[0] for line in found] == [
        "console.yaml:1:1",
        "console.yaml:2:1",
        "console.yaml:5:5",
        "console.yaml:6:5",
        "console.yaml:7:3",
        "console.yaml:9:3",
        "console.yaml:10:3",
        "console.yaml:13:5",
    ]
    assert found[1].endswith("colour: unknown key")
    assert found[3].endswith("features.support-reply.retries: unknown key")
    assert "90s" in found[5]


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "'quoted'\n", "null\n"])
def test_a_configuration_that_is_no_mapping_is_refused(text: str) -> None:
    assert refused(text)[0].startswith("console.yaml:1:1: ")


@pytest.mark.parametrize(
    "text",
    ["features: {x: null}", "features: [x]", "features: x", "retention: {calls: ~}", "data: [x]", "kill_directories: /a"],
)
def test_a_value_of_another_form_is_refused_where_it_stands(text: str) -> None:
    assert refused(text)[0].startswith("console.yaml:1:")


def test_e7_a_hostile_file_is_refused_before_it_is_looked_at() -> None:
    assert refused("environment: &a x\nservice: *a\ncolour: 1\n")[0].startswith("console.yaml:1:14: anchors")


# -- where calls go ----------------------------------------------------------------------------------------------------

ROUTED = """targets:
  sonnet: {model: claude-sonnet-5-5}
  eu: {model: claude-sonnet-5-5, base_url: "https://eu.example/v1", api_key: env:EU_KEY}
  haiku: {model: claude-haiku-5-5, params: {thinking: null, max_tokens: 512, temperature: 0.5}}
features:
  default: {chain: [sonnet, eu, haiku], limits: {answer: 2m}}
  classify: {chain: [haiku, claude-opus-5-5]}
  plain: {limits: {answer: 30s, first_token: 5s, silence: 4s}}
breaker: {window: 1m, minimum_calls: 20, failure_rate: 0.25, slow_rate: 1, consecutive: 5, dwell: 5s, max_dwell: 1m, ramp: 20s}
"""


def test_targets_chains_limits_and_the_breaker_are_read() -> None:
    from console.core.breaker import BreakerPolicy
    from console.core.targets import LimitsPolicy, Target

    routing = parse_configuration(ROUTED, "console.yaml").routing()
    assert routing.targets["eu"] == Target("eu", "claude-sonnet-5-5", base_url="https://eu.example/v1", api_key="env:EU_KEY")
    assert dict(routing.targets["haiku"].params) == {"thinking": None, "max_tokens": 512, "temperature": 0.5}
    assert routing.policy_of("anything").chain == ("sonnet", "eu", "haiku")
    assert routing.policy_of("classify").chain == ("haiku", "claude-opus-5-5")
    assert routing.policy_of("plain").limits == LimitsPolicy(30, 5, 4)
    assert routing.policy_of("classify").limits == LimitsPolicy(answer=120)
    assert routing.breaker == BreakerPolicy(60, 20, 0.25, 1.0, 5, 5, 60, 20)


def test_targets_at_other_providers_say_where_they_are_in_the_words_of_their_clients() -> None:
    text = """targets:
  a: {provider: bedrock, model: claude-sonnet-5-5, region: eu-west-1, profile: support}
  b: {provider: bedrock-mantle, model: anthropic.claude-sonnet-5-5}
  c: {provider: vertex, model: claude-sonnet-5-5, region: global, project: acme, base_url: "https://vertex.internal/v1"}
  d: {provider: aws, model: claude-sonnet-5-5, region: us-east-1, workspace: wrkspc_1, api_key: env:AWS_KEY}
  e: {provider: google-cloud, model: claude-sonnet-5-5, project: acme, workspace: wrkspc_1}
  f: {provider: foundry, model: claude-sonnet-5-5, resource: acme-eu, api_key: "file:/run/secrets/foundry"}
  g: {model: claude-sonnet-5-5, profile: second}
"""
    targets = parse_configuration(text, "console.yaml").routing().targets
    assert [target.has_place for target in targets.values()] == [True, False, True, True, True, True, True]
    assert (targets["a"].region, targets["a"].profile, targets["d"].workspace) == ("eu-west-1", "support", "wrkspc_1")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("provider: foundry, region: eu", "region: foundry takes resource"),
        ("provider: vertex, workspace: w, resource: r", "resource, workspace: vertex takes project, region"),
        ("region: eu", "region: anthropic takes profile"),
        ("provider: bedrock, api_key: client", "api_key: client is for provider anthropic"),
        ("provider: bedrock, profile: p, api_key: env:K", "profile and api_key are two ways to sign"),
        ("provider: foundry, resource: r, base_url: https://f.example", "resource and base_url say the same"),
        ("provider: azure", "Input should be 'anthropic', 'bedrock'"),
    ],
)
def test_what_a_providers_client_would_refuse_is_refused_here(target: str, told: str) -> None:
    (mistake,) = refused(f"targets:\n  x: {{model: claude-haiku-5-5, {target}}}\n")
    assert mistake.startswith("console.yaml:2:")
    assert told in mistake


def test_limits_come_with_a_chain_and_not_without() -> None:
    from console.core.targets import CHAIN_LIMITS, LimitsPolicy

    chained = parse_configuration("features: {a: {chain: [claude-haiku-5-5]}}", "console.yaml").routing()
    assert chained.policy_of("a").limits == CHAIN_LIMITS
    assert chained.policy_of("b").limits == LimitsPolicy()
    assert DEFAULT.routing().policy_of("a").chain is None


def test_every_mistake_about_targets_is_told_at_once_each_with_its_line_and_column() -> None:
    text = """targets:
  "bad name": {model: claude-haiku-5-5}
  a: {provider: openai, model: claude-haiku-5-5}
  b: {model: "claude haiku"}
  c: {}
  d: {model: claude-haiku-5-5, base_url: ftp://x, api_key: client}
  e: {model: claude-haiku-5-5, base_url: "https://x.example"}
  f: {model: claude-haiku-5-5, api_key: sk-ant-secret}
  g:
    model: claude-haiku-5-5
    params: {model: x, stop_sequences: [a]}
  h: {model: claude-haiku-5-5, params: nothing}
features:
  x:
    chain: []
    limits: {answer: 5, pause: 3s}
  y: {limits: {silence: 0s}}
  z: {chain: haiku}
breaker:
  failure_rate: 0
  slow_rate: 1.5
  consecutive: none
  dwell: soon
  open: 1s
"""
    found = refused(text)
    assert [line.split(": ")[0].removeprefix("console.yaml:") for line in found] == [
        *("2:3", "3:7", "4:7", "5:3", "6:32", "7:3", "8:32", "11:5", "12:32"),
        *("15:5", "16:14", "16:25", "17:16", "18:7"),
        *("20:3", "21:3", "22:3", "23:3", "24:3"),
    ]
    assert not any("sk-ant-secret" in line for line in found), "a key that was written out is not repeated"


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("features:\n  a: {chain: [gone]}\n", "2:15", "no target 'gone'"),
        ("targets: {x: {model: claude-y}}\nfeatures:\n  a:\n    chain:\n    - x\n    - y\n", "6:7", "targets: x"),
        ("features:\n  a: {chain: [claude-x, claude-x]}\n", "2:25", "twice"),
        ("breaker:\n  dwell: 20s\n  max_dwell: 10s\n", "1:1", "max_dwell is shorter than dwell"),
        (
            "budget_usd_per_month: 9\nretention:\n  calls: 1d\n  rollups: 30d\n",
            "4:3",
            "retention.rollups: shorter than 31d, so that budget_usd_per_month",
        ),
        ("features: {f: {budget_usd_per_month: 9}}\nretention: {rollups: 30d}\n", "2:13", "features.f.budget_usd_per_month"),
        ("customers: {budget_usd_per_month: 9}\nretention: {rollups: 1d}\n", "2:13", "customers.budget_usd_per_month"),
        (
            "customers: {named: {acme: {budget_usd_per_month: 9}}}\nretention: {rollups: 1d}\n",
            "2:13",
            "customers.named.acme.budget_usd_per_month",
        ),
    ],
)
def test_what_does_not_fit_together_is_told_where_it_stands(text: str, place: str, word: str) -> None:
    (line,) = refused(text)
    assert line.startswith(f"console.yaml:{place}: ") and word in line


@pytest.mark.parametrize(
    "text",
    [
        "budget_usd_per_month: 9\nretention: {rollups: 31d}\n",
        "budget_usd_per_day: 9\nretention: {rollups: 1d}\n",
        "budget_usd_per_month: 9\n",
    ],
)
def test_rollups_that_last_as_long_as_the_budgets_are_accepted(text: str) -> None:
    parse_configuration(text, "console.yaml")


def test_every_target_that_does_not_exist_is_told_at_once() -> None:
    found = refused("features:\n  a: {chain: [gone, claude-x]}\n  b: {chain: [lost]}\n  c: {chain: [claude-y, claude-y]}\n")
    assert [line.split(": ")[0] for line in found] == ["console.yaml:2:15", "console.yaml:3:15", "console.yaml:4:25"]


def test_a_chain_has_ten_targets_at_most() -> None:
    chain = ", ".join(f"claude-{number}" for number in range(11))
    assert refused(f"features:\n  a: {{chain: [{chain}]}}\n")[0].startswith("console.yaml:2:7: ")
