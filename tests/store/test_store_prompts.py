"""The prompt files: what is read, what is refused, and how a new one is written."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
from store_tools import as_nobody, open_to_all

from console.core.prompts import MAX_CHARS
from console.errors import PromptError, UnknownPrompt
from console.store.prompts import MAX_BYTES, PromptDirectory

TEXT = "---\nvariables: []\n---\nHello\n"


@pytest.fixture
def prompts(tmp_path: Path) -> PromptDirectory:
    root = tmp_path / "prompts"
    for name, version in (("reply", 1), ("reply", 2), ("reply", 10), ("classify", 1)):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / f"v{version}.md").write_text(f"{TEXT}{name} {version}\n")
    return PromptDirectory(root)


def listed(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def refused(prompts: PromptDirectory, name: str = "reply", version: int = 2) -> str:
    with pytest.raises(PromptError) as caught:
        prompts.read(name, version)
    return str(caught.value)


def test_prompts_and_their_versions_are_listed_in_order(prompts: PromptDirectory) -> None:
    assert prompts.names() == ("classify", "reply")
    assert prompts.versions("reply") == (1, 2, 10)
    assert prompts.read("reply", 10) == f"{TEXT}reply 10\n"


def test_a_root_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    prompts = PromptDirectory(tmp_path / "none")
    assert prompts.names() == ()
    with pytest.raises(UnknownPrompt, match="console prompt new reply"):
        prompts.versions("reply")


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    prompts = PromptDirectory(tmp_path / "file")
    for asked in (
        prompts.names,
        lambda: prompts.versions("reply"),
        lambda: prompts.read("reply", 1),
        lambda: prompts.write_new("a", "b"),
    ):
        with pytest.raises(PromptError, match="file"):
            asked()


def test_what_has_another_name_is_no_version_and_no_prompt(prompts: PromptDirectory) -> None:
    for name in (
        "v03.md",
        "v0.md",
        "v1.MD",
        "v1.md~",
        ".v4.md",
        "v٣.md",
        "v1000001.md",
        "v99999999.md",
        "vx.md",
        "notes.txt",
        "V5.md",
    ):
        (prompts.root / "reply" / name).write_text(TEXT)
    for name in ("Reply", ".git", "-rf", "rерly", "re ply", "x" * 65):
        (prompts.root / name).mkdir()
    (prompts.root / "readme").write_text("x")
    assert prompts.names() == ("classify", "reply")
    assert prompts.versions("reply") == (1, 2, 10)


def test_an_unknown_prompt_or_version_is_named_with_its_place(prompts: PromptDirectory) -> None:
    with pytest.raises(UnknownPrompt, match=rf"'other': there is no directory {prompts.root}/other"):
        prompts.read("other", 1)
    with pytest.raises(UnknownPrompt, match=rf"{prompts.root}/reply/v3.md: there is no such file"):
        prompts.read("reply", 3)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../outside", "reply/../../outside", "/etc", "re\x00ply", "-rf", "rерly", "ｒeply", "reply/", "reply\n", "~"], ids=ascii
)  # fmt: skip
def test_e8_a_hostile_name_never_meets_the_file_system(
    prompts: PromptDirectory, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (prompts.root.parent / "outside").mkdir()
    (prompts.root.parent / "outside" / "v1.md").write_text("secret")

    def opened(*_: object, **__: object) -> int:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "scandir", opened)
    for ask in (
        lambda: prompts.read(name, 1),
        lambda: prompts.versions(name),
        lambda: prompts.path(name, 1),
        lambda: prompts.write_new(name, TEXT),
    ):
        with pytest.raises(PromptError, match="cannot be a prompt's name"):
            ask()
    assert sorted(path.name for path in prompts.root.parent.iterdir()) == ["outside", "prompts"]


@pytest.mark.parametrize("version", [0, -1, 10**7, True])
def test_e8_a_hostile_version_never_meets_the_file_system(prompts: PromptDirectory, version: int) -> None:
    with pytest.raises(PromptError, match="cannot be a version"):
        prompts.read("reply", version)


def test_e8_links_are_not_followed(prompts: PromptDirectory) -> None:
    outside = prompts.root.parent / "outside"
    outside.mkdir()
    (outside / "v1.md").write_text("secret")
    (prompts.root / "linked").symlink_to(outside)
    (prompts.root / "reply" / "v3.md").symlink_to(outside / "v1.md")
    (prompts.root / "reply" / "v4.md").symlink_to("v1.md")
    (prompts.root / "reply" / "v5.md").symlink_to("nowhere")
    assert prompts.names() == ("classify", "reply")
    assert prompts.versions("reply") == (1, 2, 3, 4, 5, 10)
    for version in (3, 4, 5):
        assert "symbolic link" in refused(prompts, version=version)
    with pytest.raises(PromptError, match="symbolic link"):
        prompts.versions("linked")
    with pytest.raises(PromptError, match="symbolic link"):
        prompts.write_new("linked", TEXT)
    assert listed(outside) == ["v1.md"]


def test_the_root_itself_may_be_a_link(prompts: PromptDirectory, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(prompts.root)
    assert PromptDirectory(tmp_path / "current").read("reply", 1) == prompts.read("reply", 1)


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "device"])
def test_e8_only_regular_files_are_read_and_none_is_waited_for(prompts: PromptDirectory, kind: str) -> None:
    path = prompts.root / "reply" / "v3.md"
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "directory":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            here = os.open(path.parent, os.O_RDONLY)  # a socket's path is 108 characters at most
            listening.bind(f"/proc/self/fd/{here}/v3.md")
            os.close(here)
        else:
            try:
                os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
            except PermissionError:
                pytest.skip("needs the right to make devices")
        assert str(path) in refused(prompts, version=3)


@pytest.mark.parametrize("where", ["", "reply", "reply/v2.md"])
def test_what_everybody_can_write_is_refused(prompts: PromptDirectory, where: str) -> None:
    path = prompts.root / where
    path.chmod(path.stat().st_mode | 0o002)
    assert refused(prompts).startswith(f"{path}: writable by everybody")


def test_a_sticky_directory_may_be_writable_by_everybody(prompts: PromptDirectory) -> None:
    (prompts.root / "reply").chmod(0o1777)
    assert prompts.read("reply", 2)


@pytest.mark.skipif(os.getuid() != 0, reason="giving a file away needs root")
@pytest.mark.parametrize("where", ["", "reply", "reply/v2.md"])
def test_what_a_stranger_owns_is_refused(prompts: PromptDirectory, where: str) -> None:
    os.chown(prompts.root / where, 12_345, -1)
    assert refused(prompts).startswith(f"{prompts.root / where}: owned by user id 12345")


def test_what_root_owns_can_be_read_by_others_and_what_they_may_not_read_is_refused() -> None:
    with open_to_all() as places:
        prompts = PromptDirectory(places.data / "prompts")
        prompts.write_new("reply", TEXT)
        prompts.write_new("reply", TEXT)
        prompts.path("reply", 2).chmod(0o600)
        for path in (prompts.root, prompts.root / "reply"):
            path.chmod(0o755)
        code = f"""
from pathlib import Path
from console.store.prompts import PromptDirectory
prompts = PromptDirectory(Path({str(prompts.root)!r}))
print(prompts.read("reply", 1) == {TEXT!r})
for refused in (lambda: prompts.read("reply", 2), lambda: prompts.write_new("reply", "x"), lambda: prompts.write_new("new", "x")):
    try:
        refused()
    except Exception as error:
        print(type(error).__name__, error)
"""
        said = as_nobody("import console.store.prompts\n" + code).splitlines()
    if os.getuid() == 0:
        assert said[0] == "True"
        assert [line.split()[0] for line in said[1:]] == ["PromptError"] * 3
        assert all("Permission denied" in line for line in said[1:])


def test_a_file_that_is_too_large_is_not_read(prompts: PromptDirectory) -> None:
    path = prompts.root / "reply" / "v2.md"
    with path.open("wb") as file:
        file.truncate(10**12)
    assert refused(prompts) == f"{path}: larger than {MAX_BYTES} bytes"
    path.write_text("x" * (MAX_CHARS + 1))
    assert refused(prompts) == f"{path}: longer than {MAX_CHARS} characters"
    path.write_text("ü" * MAX_CHARS)
    assert prompts.read("reply", 2) == "ü" * MAX_CHARS


def test_what_is_no_utf8_is_refused_and_line_ends_are_kept(prompts: PromptDirectory) -> None:
    path = prompts.root / "reply" / "v2.md"
    path.write_bytes(b"\xff\xfe")
    assert refused(prompts) == f"{path}: not UTF-8 text"
    path.write_bytes(b"a\r\nb\rc\n")
    assert prompts.read("reply", 2) == "a\r\nb\rc\n"


def test_a_stamp_changes_with_the_text_the_mode_and_the_file(prompts: PromptDirectory) -> None:
    path = prompts.root / "reply" / "v2.md"
    stamps = [prompts.stamps("reply")[2]]
    same = path.stat()

    def change() -> None:
        os.utime(path, ns=(same.st_atime_ns, same.st_mtime_ns))  # whoever edits it may hide that
        stamps.append(prompts.stamps("reply")[2])

    path.write_text(path.read_text().replace("2", "3"))
    change()
    path.chmod(0o666)
    change()
    path.with_name("new").write_text(path.read_text())
    path.with_name("new").replace(path)
    change()
    assert len(set(stamps)) == 4


def test_a_new_version_gets_the_next_number(prompts: PromptDirectory) -> None:
    assert prompts.write_new("reply", TEXT) == 11
    assert prompts.write_new("fresh", TEXT) == 1
    assert prompts.write_new("fresh", TEXT, after=7) == 8
    assert prompts.versions("fresh") == (1, 8)
    assert (prompts.read("reply", 11), prompts.read("fresh", 8)) == (TEXT, TEXT)
    assert listed(prompts.root / "fresh") == ["v1.md", "v8.md"]


def test_a_new_version_replaces_nothing_and_many_writers_get_a_number_each(prompts: PromptDirectory) -> None:
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(prompts.write_new("reply", TEXT))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(11, 27))
    assert prompts.read("reply", 10) == f"{TEXT}reply 10\n"
    assert all(name.endswith(".md") for name in listed(prompts.root / "reply"))


def test_a_dangling_link_in_the_way_of_a_new_version_is_left_alone(prompts: PromptDirectory) -> None:
    (prompts.root / "reply" / "v11.md").symlink_to(prompts.root.parent / "outside")
    assert prompts.write_new("reply", TEXT) == 12
    assert not (prompts.root.parent / "outside").exists()


def test_a_new_version_beyond_the_last_number_or_size_is_refused(prompts: PromptDirectory) -> None:
    with pytest.raises(PromptError, match="cannot be a version"):
        prompts.write_new("reply", TEXT, after=1_000_000)
    with pytest.raises(PromptError, match="characters at most"):
        prompts.write_new("reply", "x" * (MAX_CHARS + 1))
    assert prompts.versions("reply") == (1, 2, 10)


def test_no_descriptor_is_left_open(prompts: PromptDirectory) -> None:
    for _ in range(5):
        prompts.names()
        prompts.read("reply", 1)
        refused(prompts, "none", 1)
        refused(prompts, "reply", 5)
        prompts.write_new("reply", TEXT)
    opened = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    assert not [path for path in opened if path.startswith(os.path.realpath(prompts.root))]
