"""The archive of a live deployment as the input of a replay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import BadInput
from app.offline.archive_reader import ArchiveFeed
from app.offline.feeds import Item
from app.offline.progress import Silent
from app.worker import rows
from detectors.event import Event
from detectors.fingerprint import fingerprint

MINUTE_US = 60_000_000


def _write(archive: Path, partition: int, numbers: range) -> None:
    """One file: the `number`-th exchange came at minute `number`, but every fifth stands one behind its successor."""
    made = []
    for number in numbers:
        at = number + 1 if number % 5 == 0 else number - 1 if number % 5 == 1 else number
        event = Event(event_id=f"p{partition}-{number}", at_us=at * MINUTE_US, key_id=f"k{partition}")
        made.append(rows.Row(f"{1000 + number}-0", event, fingerprint(event)))
    folder = archive / "day=1970-01-01"
    folder.mkdir(exist_ok=True)
    name = f"p{partition:04d}-{made[0].entry_id}-{made[-1].entry_id}.parquet"
    rows.to_frame(made).write_parquet(folder / name)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three partitions of 40 exchanges, in files of 20, 20 and 13 + 27."""
    for partition in range(3):
        for numbers in (range(1, 14), range(14, 41)) if partition == 2 else (range(1, 21), range(21, 41)):
            _write(tmp_path, partition, numbers)
    return tmp_path


def _ids(items: Iterator[Item]) -> list[str]:
    return [event.event_id for event, _ in items]


@pytest.mark.parametrize("border_min", [0, 1, 5, 13, 14, 20, 21, 22, 39, 40, 41, 1000])
def test_history_and_rest_are_everything_once_and_in_order(archive: Path, border_min: int) -> None:
    """Wherever the border lies, each partition's exchanges come in its order, and none is lost or repeated."""
    feed = ArchiveFeed(archive)
    history = list(feed.history(border_min * MINUTE_US))
    assert all(event.at_us < border_min * MINUTE_US for event, _ in history)
    assert feed.share == pytest.approx(1.0)
    rest = _ids(feed.rest())
    assert feed.share == pytest.approx(1.0)
    for partition in range(3):
        mine = [name for name in [*_ids(iter(history)), *rest] if name.startswith(f"p{partition}")]
        assert mine == [f"p{partition}-{number}" for number in range(1, 41)]


def test_without_history_everything_is_the_rest(archive: Path) -> None:
    """With a saved model an archive is read once, partition by partition."""
    assert len(_ids(ArchiveFeed(archive).rest())) == 120


def test_the_span_is_that_of_the_event_times(archive: Path) -> None:
    """First and last exchange by time, not by place."""
    assert ArchiveFeed(archive).span(Silent()) == (0, 41 * MINUTE_US)


def test_a_damaged_file_is_named(archive: Path) -> None:
    """An archive with a gap would give states that live never had, so the run stops with the file's name."""
    path = sorted(archive.glob("*/p0001-*"))[1]
    path.write_bytes(path.read_bytes()[:200])
    feed = ArchiveFeed(archive)
    with pytest.raises(BadInput, match=f"archive file .*{path.name}: cannot be read"):
        list(feed.rest())
    with pytest.raises(BadInput, match=f"archive file .*{path.name}: cannot be read"):
        feed.span(Silent())


def test_the_rest_of_all_partitions_comes_in_the_order_of_the_event_log(archive: Path) -> None:
    """What is judged together has one order, whichever partition it lies in: looks at the whole fleet need it."""
    numbers = [int(name.partition("-")[2]) for name in _ids(ArchiveFeed(archive).rest())]
    assert numbers == sorted(numbers)
