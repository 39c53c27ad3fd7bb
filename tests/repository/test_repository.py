"""What the repository promises about itself: the public surface, the wheel, the README, the borders between packages."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_the_public_surface_is_three_modules() -> None:
    import console
    import console.errors
    import console.testing

    assert console.__all__ == ["CallBlocked", "ChainExhausted", "Console", "RequestRefused", "StreamBroken", "__version__"]
    assert all(
        issubclass(getattr(console, name), console.errors.CallError)
        for name in console.__all__
        if name[:2] in ("Ca", "Ch", "Re", "St")
    )
    assert console.testing.__all__ == ["Fault", "FaultError", "SimulatedAPI", "SimulatedAPIError"]
    assert {name for name in vars(console.errors) if name.endswith("Error") or name[0].isupper()} >= {
        "ActConflict", "CallBlocked", "ChainExhausted", "ConfigError", "ConsoleError", "SchemaTooNew", "StoreBusy", "StoreError",
        "StreamBroken",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "never"),
    [
        ("import console", {"anthropic", "textual", "click", "pydantic", "sqlite3"}),
        (
            "from console import Console",
            {"textual", "click", "console.ops", "console.cli", "console.tui", "sqlite_utils", "yaml"},
        ),
        ("import console.cli.main, console.cli.switches, console.cli.status", {"anthropic", "textual", "pydantic", "httpx2"}),
        ("import console.tui.app", {"anthropic", "pydantic", "numpy", "httpx2"}),
        ("import console.ops.desk", {"anthropic", "textual", "pydantic", "click", "yaml"}),
        ("import console.sim.api, console.sim.server", {"anthropic", "textual"}),
    ],
)
def test_nobody_loads_what_he_does_not_need(code: str, never: set[str]) -> None:
    assert loaded_by(code) & never == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["kill", "a"],
        ["restore", "a"],
        ["undo"],
        ["audit", "verify"],
        ["db", "info"],
        ["switch", "a", "claude-haiku-5-5"],
        ["switch", "a", "--auto"],
        ["target", "list"],
        ["prompt", "list"],
        ["prompt", "check"],
    ],
)
def test_no_command_loads_the_sdk_or_the_screen(tmp_path: Path, arguments: list[str]) -> None:
    words = [*arguments, "--data", str(tmp_path)]
    code = f"from console.cli.main import cli\ntry: cli.main({words!r}, standalone_mode=False)\nexcept Exception: pass"
    assert loaded_by(code) & {"anthropic", "textual", "pydantic", "httpx2"} == set()


def test_the_readme_shows_the_keys_of_the_one_table() -> None:
    from console.core.acts import ACTS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = text.split("<!-- keys:")[1].split("-->", 1)[1].split("<!-- end of keys -->")[0]
    rows = [line for line in part.strip().splitlines()[2:] if line]
    expected = [f"| `{act.shown}` | {act.title} |" for act in ACTS if act.shown and act.is_available]
    assert rows == expected


def test_the_readme_names_every_command() -> None:
    from console.cli.main import COMMANDS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"`console {name}" in text or name == "open", name


def test_every_sample_that_travels_is_in_the_wheel(tmp_path: Path) -> None:
    """Built without the network: only the build backend that is installed already."""
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)],
        check=True, timeout=120, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for kind in ("data", "prompts", "playbooks"):
        for file in (ROOT / kind).rglob("*"):
            if file.is_file():
                assert f"console/_data/{kind}/{file.relative_to(ROOT / kind)}" in names, file
    assert {"console/cli/main.py", "console/sdk/middleware.py"} <= names
    assert any(name.endswith(".tcss") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def test_the_samples_are_readable_strictly() -> None:
    from console.core.strict_yaml import read_yaml

    for file in (ROOT / "playbooks").glob("*.yaml"):
        assert read_yaml(file.read_text(encoding="utf-8"), file.name).mistakes == [], file
    for file in (ROOT / "prompts").glob("*/v*.md"):
        _, front, body = file.read_text(encoding="utf-8").split("---\n", 2)
        document = read_yaml(front, file.name)
        assert document.mistakes == []
        assert isinstance(document.value, dict)
        assert {"description", "variables", "owner"} <= set(document.value)
        assert body.strip()


def test_no_file_names_a_machine_or_a_key() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    suspicious = re.compile(rf"/home/[a-z]+/|/root/\.|{re.escape(str(ROOT))}\b")
    key = re.compile(r"sk-ant-api\d\d-[A-Za-z0-9_-]{8}")
    for name in listed.stdout.splitlines():
        file = ROOT / name
        if file.suffix in {".py", ".md", ".toml", ".yaml", ".tcss", ""} and file.is_file() and file != Path(__file__):
            text = file.read_text(encoding="utf-8", errors="replace")
            assert not suspicious.search(text), name
            assert name.startswith("tests/") or not key.search(text), name  # tests plant made-up ones


def test_no_source_uses_a_shell() -> None:
    for file in (ROOT / "console").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "shell=True" not in text, file
        assert "os.system(" not in text, file
