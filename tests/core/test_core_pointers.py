"""Who gets which version of a prompt, and the rows that say so."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.core.pointers import (
    MAX_VERSIONS,
    Chosen,
    Pointer,
    bucket_of,
    decode_pointer,
    encode_pointer,
    pointer_key,
    pointer_name,
)

H = "a" * 64
shares = st.dictionaries(st.integers(1, 1_000_000), st.integers(1, 10_000), min_size=1, max_size=6)
keys = st.text(max_size=40)


def pointer(**weights: int) -> Pointer:
    chosen = {int(version[1:]): (weight, H) for version, weight in weights.items()}
    return Pointer("p", *decode_pointer(encode_pointer(chosen)))


@given(keys, keys)
def test_a_key_is_always_in_the_same_bucket(name: str, key: str) -> None:
    assert 0 <= bucket_of(name, key) <= 1
    assert bucket_of(name, key) == bucket_of(str(name), str(key))


def test_a_bucket_is_the_same_in_every_process_and_version_of_this_program() -> None:
    assert [round(bucket_of("support-reply", key), 6) for key in ("", "user-1", "ünï")] == [0.053067, 0.588008, 0.612558]


def test_keys_spread_evenly_and_prompts_do_not_follow_each_other() -> None:
    numbers = [bucket_of("a", f"user-{index}") for index in range(20_000)]
    tenths = Counter(int(number * 10) for number in numbers)
    assert all(1_800 < count < 2_200 for count in tenths.values())
    low = [f"user-{index}" for index, number in enumerate(numbers) if number < 0.1]
    assert 0.4 < sum(bucket_of("b", key) for key in low) / len(low) < 0.6


@settings(max_examples=50)
@given(shares)
def test_the_shares_converge_to_the_weights(weights: dict[int, int]) -> None:
    one = Pointer("p", *decode_pointer(encode_pointer({version: (weight, H) for version, weight in weights.items()})))
    got = Counter(one.pick(bucket_of("p", str(index))).version for index in range(2_000))  # type: ignore[union-attr]
    for version, weight in weights.items():
        assert abs(got[version] / 2_000 - weight / sum(weights.values())) < 0.06


@given(shares, st.floats(0, 1))
def test_every_bucket_gets_a_version(weights: dict[int, int], bucket: float) -> None:
    one = Pointer("p", *decode_pointer(encode_pointer({version: (weight, H) for version, weight in weights.items()})))
    picked = one.pick(bucket)
    assert picked is not None
    assert picked.version in weights


def test_a_growing_share_takes_keys_and_gives_none_back() -> None:
    moved = random.Random(3)
    for key in (str(moved.random()) for _ in range(500)):
        had = False
        for weight in (5, 25, 50, 99):
            picked = pointer(v1=weight, v2=100 - weight).pick(bucket_of("p", key))
            assert picked is not None
            assert not had or picked.version == 1
            had = picked.version == 1


def test_nothing_is_picked_where_nothing_is_chosen() -> None:
    assert Pointer("p").pick(0.5) is None


def test_a_pointer_holds_until_it_expires() -> None:
    assert Pointer("p").is_in_force(10**18)
    assert Pointer("p", expires_at=10).is_in_force(9)
    assert not Pointer("p", expires_at=10).is_in_force(10)


@given(st.one_of(st.none(), shares), st.frozensets(st.integers(1, 1_000_000), max_size=20))
def test_a_row_is_read_as_it_was_written(weights: dict[int, int] | None, withdrawn: frozenset[int]) -> None:
    written = None if weights is None else {version: (weight, H) for version, weight in weights.items()}
    chosen, gone = decode_pointer(encode_pointer(written, withdrawn))
    assert gone == withdrawn
    assert chosen == tuple(Chosen(version, weight, H) for version, weight in sorted((weights or {}).items()))


MANY = ",".join(f'"{number}":{{"hash":"{H}","weight":1}}' for number in range(1, MAX_VERSIONS + 2))


@pytest.mark.parametrize(
    "value",
    [
        "", "null", "[]", "{}", '{"versions":null}', '{"versions":{},"withdrawn":[]}', '{"versions":null,"withdrawn":[0]}',
        '{"versions":null,"withdrawn":[true]}', '{"versions":null,"withdrawn":["4"]}', '{"versions":null,"withdrawn":null}',
        '{"versions":null,"withdrawn":[],"more":1}', '{"versions":[3],"withdrawn":[]}',
        *(f'{{"versions":{{"3":{one}}},"withdrawn":[]}}' for one in (
            "null", "{}", f'{{"hash":"{H}"}}', f'{{"hash":"{H}","weight":0}}', f'{{"hash":"{H}","weight":true}}',
            f'{{"hash":"{H}","weight":10001}}', f'{{"hash":"{H}","weight":1.5}}', f'{{"hash":"{H[1:]}","weight":1}}',
            f'{{"hash":"{H.upper()}","weight":1}}', f'{{"hash":"{H}\\n","weight":1}}', '{"hash":null,"weight":1}',
        )),
        *(f'{{"versions":{{"{version}":{{"hash":"{H}","weight":1}}}},"withdrawn":[]}}' for version in ("0", "03", "-1", "x", "", "³", "99999999")),
        f'{{"versions":{{{MANY}}},"withdrawn":[]}}',
    ],
)  # fmt: skip
def test_a_row_that_nobody_of_ours_writes_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_pointer(value)


def test_a_pointer_has_a_key_of_its_own_and_other_keys_are_none() -> None:
    assert pointer_key("reply") == "prompt/reply"
    assert pointer_name("prompt/reply") == "reply"
    assert [pointer_name(key) for key in ("prompt/", "prompt", "kill/all", "route/feature/prompt", "")] == [None] * 5
