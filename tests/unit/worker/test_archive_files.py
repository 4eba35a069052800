"""Files of the archive: what their names say, what a listing takes in, and what a check finds."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from app.errors import BadInput
from app.state.row_store import RowPlan
from app.worker import rows
from app.worker.archive import check, drop_key, last_archived, list_files, path_of, read_file, remove_days
from detectors.event import Event
from detectors.fingerprint import fingerprint

MS = 1_790_812_800_000
"""2026-10-01 00:00 UTC."""

DAY_MS = 86_400_000


def _row(entry_id: str, key_id: str = "k1") -> rows.Row:
    event = Event(event_id=entry_id, at_us=int(entry_id.partition("-")[0]) * 1000, key_id=key_id)
    return rows.Row(entry_id, event, fingerprint(event))


def _write(folder: Path, ids: list[str], partition: int = 7, first: str = "", last: str = "") -> Path:
    path = path_of(folder, partition, RowPlan(first or ids[0], last or ids[-1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_frame([_row(entry_id) for entry_id in ids]).write_parquet(path)
    return path


def test_a_name_says_day_partition_and_range(tmp_path: Path) -> None:
    """The day is that of the first id, in UTC."""
    path = path_of(tmp_path, 7, RowPlan(f"{MS}-0", f"{MS + DAY_MS}-12"))
    assert path == tmp_path / "day=2026-10-01" / f"p0007-{MS}-0-{MS + DAY_MS}-12.parquet"
    assert path_of(tmp_path, 0, RowPlan(f"{MS - 1}-0", f"{MS}-0")).parent.name == "day=2026-09-30"


def test_ids_order_files_as_numbers(tmp_path: Path) -> None:
    """By partition, then in stream order, where 9 comes before 10."""
    for first in (f"{MS}-10", f"{MS}-9", f"{MS - 5}-0"):
        _write(tmp_path, [first])
    _write(tmp_path, [f"{MS}-0"], partition=2)
    assert [(file.partition, file.first) for file in list_files(tmp_path)] == [
        (2, f"{MS}-0"),
        (7, f"{MS - 5}-0"),
        (7, f"{MS}-9"),
        (7, f"{MS}-10"),
    ]


def test_unfinished_and_foreign_files_are_not_listed(tmp_path: Path) -> None:
    """A file appears under its name complete or not at all; what somebody else put there is told by the check."""
    path = _write(tmp_path, [f"{MS}-0"])
    path.with_name(f"{path.name}.writing-ab12cd34").write_bytes(b"half")
    (path.parent / "notes.txt").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    assert [file.path for file in list_files(tmp_path)] == [path]
    assert check(tmp_path).problems == ("day=2026-10-01/notes.txt: the name is not that of an archive file",)


def test_the_last_archived_id_is_known_from_the_names_alone(tmp_path: Path) -> None:
    """Over days, by number, for one partition; none where there is no folder or file."""
    _write(tmp_path, [f"{MS}-1"])
    _write(tmp_path, [f"{MS + DAY_MS}-9"])
    _write(tmp_path, [f"{MS + DAY_MS}-10"])
    _write(tmp_path, [f"{MS + 2 * DAY_MS}-0"], partition=3)
    assert last_archived(tmp_path, 7) == f"{MS + DAY_MS}-10"
    assert last_archived(tmp_path, 5) is None
    assert last_archived(tmp_path / "none", 7) is None


def test_a_sound_archive_has_no_problems(tmp_path: Path) -> None:
    """Files, rows and bytes are counted, and rows read back."""
    path = _write(tmp_path, [f"{MS}-0", f"{MS}-1", f"{MS + 5}-0"])
    report = check(tmp_path)
    assert (report.files, report.rows, report.problems) == (1, 3, ())
    assert report.size_bytes == path.stat().st_size
    assert [row.entry_id for row in read_file(list_files(tmp_path)[0])] == [f"{MS}-0", f"{MS}-1", f"{MS + 5}-0"]


def test_a_check_names_each_fault(tmp_path: Path) -> None:
    """Order, range, overlap, day, damage, text and missing columns, each with the file it is in."""
    faults = {
        1: (_write(tmp_path, [f"{MS}-1", f"{MS}-0"], 1, f"{MS}-0", f"{MS}-1"), "rows are not in stream order"),
        2: (_write(tmp_path, [f"{MS}-10"], 2, first=f"{MS}-0", last=f"{MS}-9"), "its name says ids"),
        3: (_write(tmp_path, [f"{MS}-0"], 3), "cannot be read"),
        4: (_write(tmp_path, [f"{MS}-0"], 4), "has the text column user_head"),
        5: (_write(tmp_path, [f"{MS}-0"], 5), "lacks the column key_id"),
        6: (_write(tmp_path, [f"{MS}-0"], 6), "has type"),
        7: (_write(tmp_path, [f"{MS}-0"], 7), "it lies under 2026-12-24"),
    }
    faults[3][0].write_bytes(b"PAR1 and no more")
    frame = pl.read_parquet(faults[4][0])
    frame.with_columns(pl.lit("hello").alias("user_head")).write_parquet(faults[4][0])
    frame.drop("key_id").write_parquet(faults[5][0])
    frame.with_columns(pl.col("at_us").cast(pl.String)).write_parquet(faults[6][0])
    wrong = tmp_path / "day=2026-12-24" / faults[7][0].name
    wrong.parent.mkdir()
    faults[7][0].rename(wrong)
    problems = check(tmp_path).problems
    for partition, (_, words) in faults.items():
        (problem,) = [text for text in problems if f"/p{partition:04d}-" in text]
        assert words in problem
    _write(tmp_path, [f"{MS}-5", f"{MS}-7"], 9)
    _write(tmp_path, [f"{MS}-6", f"{MS}-8"], 9)
    assert any("overlaps" in text and "/p0009-" in text for text in check(tmp_path).problems)


def test_a_damaged_file_is_bad_input_when_read(tmp_path: Path) -> None:
    """With its path and no traceback."""
    _write(tmp_path, [f"{MS}-0"]).write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="cannot be read"):
        list(read_file(list_files(tmp_path)[0]))


def test_an_archive_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """For a listing and for a check."""
    for read in (list_files, check):
        with pytest.raises(BadInput, match="archive folder"):
            read(tmp_path / "none")


def test_a_key_is_taken_out_of_its_partition_files_up_to_a_time(tmp_path: Path) -> None:
    """Its older rows go, all other rows stay in order, the archive stays whole, and a second run finds nothing."""
    path = path_of(tmp_path, 7, RowPlan(f"{MS}-0", f"{MS + 2}-0"))
    path.parent.mkdir(parents=True)
    mixed = [_row(f"{MS}-0", "k2"), _row(f"{MS}-1", "k1"), _row(f"{MS + 1}-0", "k2"), _row(f"{MS + 2}-0", "k2")]
    rows.to_frame(mixed).write_parquet(path)
    _write(tmp_path, [f"{MS + 3}-0"])
    elsewhere = _write(tmp_path, [f"{MS}-0"], partition=8)
    assert drop_key(tmp_path, 7, "k2", (MS + 1) * 1000) == 2
    assert [row.entry_id for row in read_file(list_files(tmp_path)[0])] == [f"{MS}-1", f"{MS + 2}-0"]
    assert drop_key(tmp_path, 7, "k1", (MS + 9) * 1000) == 2
    assert [row.event.key_id for file in list_files(tmp_path)[:2] for row in read_file(file)] == ["k2"]
    assert check(tmp_path).problems == ()
    assert elsewhere.stat().st_size == check(tmp_path).size_bytes - sum(f.size_bytes for f in list_files(tmp_path)[:2])
    assert drop_key(tmp_path, 7, "k1", (MS + 9) * 1000) == 0
    assert last_archived(tmp_path, 7) == f"{MS + 3}-0"


def test_days_whose_retention_has_ended_are_deleted(tmp_path: Path) -> None:
    """Whole days by their folder's date, in UTC; the day that many days ago is kept, and so is what is not ours."""
    for back in (0, 1, 2, 3):
        _write(tmp_path, [f"{MS - back * DAY_MS}-0"])
    (tmp_path / "notes").mkdir()
    assert remove_days(tmp_path, 2, (MS + DAY_MS - 1) * 1000) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "day=2026-09-29",
        "day=2026-09-30",
        "day=2026-10-01",
        "notes",
    ]
    assert remove_days(tmp_path, 2, (MS + DAY_MS - 1) * 1000) == 0
    assert remove_days(tmp_path / "none", 2, MS * 1000) == 0
