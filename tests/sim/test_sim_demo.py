"""What the demo brings along: its prompts, and faults that show a failover."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sim_prompts import parts_of

from console.core.configuration import parse_configuration
from console.sim.demo import CONFIGURATION, FAULTS, copy_prompts
from console.sim.faults import choose, fault_to_json, parse_faults
from console.store.shipped import shipped

if TYPE_CHECKING:
    from pathlib import Path

SONNET, HAIKU = "claude-sonnet-5-5", "claude-haiku-5-5"


def test_the_sample_prompts_are_copied_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        copy_prompts(tmp_path / "prompts")
    finally:
        os.umask(before)
    source = shipped("prompts")
    for file in source.glob("*/v*.md"):
        copy = tmp_path / "prompts" / file.relative_to(source)
        assert copy.read_bytes() == file.read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o600
        assert copy.parent.stat().st_mode & 0o777 == copy.parent.parent.stat().st_mode & 0o777 == 0o700


def test_prompts_that_were_edited_are_kept(tmp_path: Path) -> None:
    copy_prompts(tmp_path / "prompts")
    file = tmp_path / "prompts" / "classify" / "v2.md"
    file.write_text("mine")
    (tmp_path / "prompts" / "summarize" / "v1.md").unlink()
    copy_prompts(tmp_path / "prompts")
    assert file.read_text() == "mine"
    assert not (tmp_path / "prompts" / "summarize" / "v1.md").exists()


def test_the_bad_prompt_waits_for_an_operator() -> None:
    assert parts_of("support-reply", 3)[0]["draft"] == "true"
    assert "draft" not in parts_of("support-reply", 2)[0]


def test_sonnet_is_overloaded_now_and_then_after_a_quiet_minute_and_haiku_takes_over() -> None:
    assert list(parse_faults([fault_to_json(fault) for fault in FAULTS])) == list(FAULTS)

    def hits(model: str, at_s: int) -> int:
        return sum(choose(FAULTS, model, draw / 100, at_s) is not None for draw in range(100))

    overloaded = [at_s for at_s in range(600) if hits(SONNET, at_s) == 100]
    assert overloaded == [*range(60, 80), *range(210, 230), *range(360, 380), *range(510, 530)]
    assert max(hits(HAIKU, at_s) for at_s in range(600)) <= 2


def test_the_configuration_is_accepted_and_names_known_models() -> None:
    found = parse_configuration(CONFIGURATION, "console.yaml")
    assert {name: target.model for name, target in found.targets.items()} == {"sonnet": SONNET, "haiku": HAIKU}
    assert found.prompts == "prompts"
    assert found.features["default"].chain == ("sonnet", "haiku")
    assert found.features["classify"].chain == ("haiku", "sonnet")
    assert found.features["support-reply"].degraded
