"""Files of the spool: torn, damaged, left behind by dead processes, claimed by one at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.state.spool import Spool, SpoolFile, SpoolFull, Unit


def contents(file: SpoolFile) -> tuple[list[Unit], int]:
    """(whole units, events in damaged ones)."""
    units, lost, position = [], 0, 0
    while (head := file.peek(position)) is not None:
        unit = file.load(head)
        if unit is None:
            lost += head.events
        else:
            units.append(unit)
        position = head.after
    return units, lost


def claimed(spool: Spool) -> SpoolFile:
    """The file that must be there."""
    file = spool.claim()
    assert file is not None
    return file


UNITS = [Unit(number, [b"event-%d" % number, b"x" * number]) for number in range(5)]


def test_units_come_back_whole(tmp_path: Path) -> None:
    """Events, settlements and the name of an earlier attempt survive; the file can be read by its owner only."""
    spool = Spool(tmp_path / "spool", 10**6)
    unit = Unit(3, [b"\x00\xff", b""], [(b"hash", 17, ["o", -5]), (b"set", 0, ["r1"])], "w-1", 9)
    spool.write([*UNITS, unit])
    spool.rotate()
    file = claimed(spool)
    assert contents(file) == ([*UNITS, unit], 0)
    assert os.stat(file.path).st_mode & 0o777 == 0o600
    assert os.stat(file.path.parent).st_mode & 0o777 == 0o700
    file.remove()
    assert spool.claim() is None
    assert spool.waiting_bytes() == 0


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_record_costs_its_own_events_only(tmp_path: Path, cut: int) -> None:
    """Whatever a dying process left of its last record, those before it are read, and its events are counted."""
    spool = Spool(tmp_path, 10**6)
    spool.write(UNITS)
    spool.rotate()
    (path,) = tmp_path.glob("*.spool")
    whole = path.stat().st_size
    spool.write([Unit(9, [b"a", b"b", b"c"], [], "w-1", 1)])
    spool.rotate()
    file = claimed(spool)
    first = path.read_bytes()
    second = next(other for other in tmp_path.glob("*.spool") if other != path).read_bytes()
    file.close()
    path.write_bytes(first + second[:-cut])
    assert len(first) == whole
    file = SpoolFile(path, os.open(path, os.O_RDWR))
    units, lost = contents(file)
    file.close()
    assert units == UNITS
    left = len(second) - cut
    assert lost == (0 if left <= 0 else 1 if left < 12 else 3)


def test_zeros_at_the_end_are_one_damage(tmp_path: Path) -> None:
    """What a file system leaves where power was lost is counted once, and what was written before it is read."""
    spool = Spool(tmp_path, 10**6)
    spool.write(UNITS)
    spool.rotate()
    (path,) = tmp_path.glob("*.spool")
    path.write_bytes(path.read_bytes() + b"\0" * 10_000)
    assert contents(claimed(spool)) == (UNITS, 1)


def test_a_damaged_record_costs_its_own_events_only(tmp_path: Path) -> None:
    """A flipped bit is found by the checksum, and the records behind it are read."""
    spool = Spool(tmp_path, 10**6)
    spool.write(UNITS)
    spool.rotate()
    (path,) = tmp_path.glob("*.spool")
    data = bytearray(path.read_bytes())
    data[12 + 3] ^= 1
    path.write_bytes(data)
    assert contents(claimed(spool)) == (UNITS[1:], 2)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_their_end(data: bytes) -> None:
    """A file of nonsense neither raises nor loops."""
    reading, writing = os.memfd_create("spool"), 0
    os.write(reading, data)
    file = SpoolFile(Path("x.spool"), reading)
    units, _ = contents(file)
    assert units == []
    assert writing == 0
    file.close()


def test_a_file_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    """What another process writes or drains is not claimed; what it gave back is, oldest first."""
    first, second = Spool(tmp_path, 10**6), Spool(tmp_path, 10**6)
    first.write(UNITS[:1])
    assert second.claim() is None
    first.rotate()
    held = claimed(first)
    assert second.claim() is None
    held.close()
    assert contents(claimed(second)) == (UNITS[:1], 0)


def test_what_a_killed_process_wrote_is_taken_over(tmp_path: Path) -> None:
    """The kernel frees the lock of a process that dies without a word."""
    program = (
        "import sys, pathlib; from app.state.spool import Spool, Unit\n"
        "Spool(pathlib.Path(sys.argv[1]), 10**6).write([Unit(1, [b'left'])])\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        spool = Spool(tmp_path, 10**6)
        assert spool.claim() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert contents(claimed(spool)) == ([Unit(1, [b"left"])], 0)


def test_the_bound_holds_over_all_processes(tmp_path: Path) -> None:
    """Files of others count; what does not fit is refused whole."""
    first, second = Spool(tmp_path, 10_000), Spool(tmp_path, 10_000)
    first.write([Unit(0, [b"x" * 6000])])
    with pytest.raises(SpoolFull) as full:
        second.write([Unit(0, [b"y" * 6000])])
    assert full.value.reason == "spool_full"
    second.write([Unit(0, [b"z" * 2000])])
    assert 8000 < first.waiting_bytes() < 8200


def test_a_folder_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    """A disk that refuses is told apart from a full spool."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolFull) as full:
        Spool(tmp_path / "file" / "spool", 10_000).write(UNITS)
    assert full.value.reason == "spool_error"


def test_nothing_is_opened_before_it_is_needed(tmp_path: Path) -> None:
    """A gateway that never loses its state leaves no folder and no file."""
    spool = Spool(tmp_path / "spool", 10_000)
    spool.rotate()
    marker: Any = spool.claim()
    assert marker is None
    assert not (tmp_path / "spool").exists()
