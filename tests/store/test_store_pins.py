"""The file of pins: what it remembers, and that nothing that happens to it can be worse than forgetting."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from console.store import pins
from console.store.pins import ALIVE_S, BUCKETS, Pin, PinFile

if TYPE_CHECKING:
    from pathlib import Path

AT = 1_800_000_000
ONE, TWO = Pin(1, 0x1111, AT), Pin(2, 0x2222, AT)


def began(*made: tuple[int, Pin]) -> dict[int, tuple[Pin, bool]]:
    return {beginning: (pin, False) for beginning, pin in made}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pins"


def test_what_one_process_writes_another_finds(path: Path) -> None:
    reader, writer = PinFile(path), PinFile(path)
    assert reader.get(7) is None
    writer.put(began((7, ONE), (2**64 - 1, TWO)))
    reader.follow()
    for file in (reader, writer):
        assert (file.get(7), file.get(2**64 - 1), file.get(8)) == (ONE, TWO, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size <= 1_048_576


def test_in_a_directory_for_a_group_the_group_may_write_whatever_the_umask(path: Path) -> None:
    path.parent.chmod(0o3770)
    before = os.umask(0o077)
    try:
        PinFile(path).put(began((7, ONE)))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_two_that_begin_alike_are_mixed_and_no_longer_so_after_a_day(path: Path) -> None:
    file = PinFile(path)
    file.put(began((7, ONE)))
    file.put(began((7, TWO._replace(at_s=AT + 60))))
    assert file.get(7) == Pin(2, 0x2222, AT + 60, AT + 60 + ALIVE_S)
    file.put(began((7, TWO._replace(at_s=AT + 120))))
    assert file.get(7) == Pin(2, 0x2222, AT + 120, AT + 60 + ALIVE_S), "the same again tells nothing new"
    file.put(began((7, ONE._replace(at_s=AT + 121 + ALIVE_S))))
    assert file.get(7) == Pin(1, 0x1111, AT + 121 + ALIVE_S), "nobody from the day before is alive"


def test_the_same_version_with_another_text_is_another(path: Path) -> None:
    file = PinFile(path)
    file.put(began((7, ONE)))
    file.put(began((7, ONE._replace(hash=0x9999))))
    found = file.get(7)
    assert found is not None and found.mixed_until_s == AT + ALIVE_S


def test_of_a_conversations_id_the_last_word_counts(path: Path) -> None:
    file = PinFile(path)
    file.put({7: (ONE, True)})
    file.put({7: (TWO, True)})
    assert file.get(7) == TWO


def test_a_full_bucket_forgets_the_oldest(path: Path) -> None:
    file = PinFile(path)
    same_bucket = [3 + BUCKETS * number for number in range(5)]
    for age, beginning in zip((5, 1, 9, 7), same_bucket, strict=False):
        file.put(began((beginning, ONE._replace(at_s=AT + age))))
    file.put(began((same_bucket[4], TWO)))
    assert [file.get(beginning) is None for beginning in same_bucket] == [False, True, False, False, False]


def test_every_byte_that_is_changed_is_forgotten_and_never_believed(path: Path) -> None:
    file = PinFile(path)
    file.put(began((7, ONE)))
    whole = path.read_bytes()
    start = whole.index((7).to_bytes(8, "little"))
    for offset in range(start, start + 32):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x5A]) + whole[offset + 1 :])
        assert file.get(7) is None, offset
    path.write_bytes(whole)
    assert file.get(7) == ONE


@pytest.mark.parametrize("size", [0, 1, 7, 100, 40_000])
def test_a_file_that_is_cut_or_full_of_noise_is_one_that_knows_nothing(path: Path, size: int) -> None:
    path.write_bytes(random.Random(1).randbytes(size))
    file = PinFile(path)
    assert [file.get(number) for number in (0, 1, 2, 300, 8191)] == [None] * 5
    file.put(began((7, ONE)))
    assert file.get(7) == ONE
    path.write_bytes(b"")
    assert file.get(7) is None


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_what_is_no_file_of_ours_is_neither_read_nor_written(path: Path, tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("precious")
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere)
    file = PinFile(path)
    assert file.get(7) is None
    with pytest.raises(OSError, match=r".+"):
        file.put(began((7, ONE)))
    assert elsewhere.read_text() == "precious"


def test_another_file_in_its_place_is_followed_and_a_deleted_one_let_go(path: Path) -> None:
    file = PinFile(path)
    file.put(began((7, ONE)))
    path.rename(path.with_name("old"))
    PinFile(path).put(began((7, TWO)))
    assert file.get(7) == ONE
    file.follow()
    assert file.get(7) == TWO
    path.unlink()
    file.follow()
    assert file.get(7) is None
    file.close()
    file.close()


def test_a_descriptor_that_is_another_files_by_now_is_neither_written_nor_closed(path: Path, tmp_path: Path) -> None:
    file = PinFile(path)
    file.put(began((7, ONE)))
    number = file._descriptor
    os.close(number)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert other == number
    try:
        file.put(began((8, TWO)))
        assert file.get(8) is None
        file.close()
        os.fstat(other)
        assert (tmp_path / "other").read_bytes() == b""
    finally:
        os.close(other)


def test_without_a_disk_that_can_say_what_is_in_memory_it_is_read_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PinFile(path)
    file.put(began((7, ONE)))
    real = os.preadv

    def refuses(descriptor: int, buffers: list[bytearray], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(95, "Operation not supported")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(pins.os, "preadv", refuses)
    assert [file.get(7), file.get(7)] == [None, ONE]


def test_what_is_not_in_memory_is_not_waited_for_but_sent_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PinFile(path)
    file.put(began((7, ONE)))
    fetched: list[tuple[int, ...]] = []

    def cold(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patching:
        patching.setattr(pins.os, "preadv", cold)
        assert file.get(7) is None
        patching.setattr(pins.os, "posix_fadvise", lambda *given: fetched.append(given))
        file.follow()
        file.follow()
    assert fetched == [(file._descriptor, 0, 0, os.POSIX_FADV_WILLNEED)]
    assert file.get(7) == ONE


def test_many_writers_at_once_never_make_a_pin_that_nobody_wrote(path: Path) -> None:
    code = """
import sys, random
from pathlib import Path
from console.store.pins import Pin, PinFile
me = int(sys.argv[2])
file = PinFile(Path(sys.argv[1]))
draw = random.Random(me)
for _ in range(1500):
    beginning = draw.randrange(40) * 8192 + 5
    file.put({beginning: (Pin(me, beginning ^ me, 1_800_000_000 + draw.randrange(9)), True)})
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(me)]) for me in (1, 2, 3)]
    reader = PinFile(path)
    seen = 0
    while any(writer.poll() is None for writer in writers):
        reader.follow()
        for number in range(40):
            beginning = number * 8192 + 5
            pin = reader.get(beginning)
            if pin is not None:
                seen += 1
                assert (pin.version in (1, 2, 3), pin.hash) == (True, beginning ^ pin.version)
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert seen
